"""Reusing a published model: a part of it, other weights in it, a new head on it, another model behind it.

from tidegate.author.derive.deriving import derive
derive("s3://models/backbone/1.0.0", TrainHead("logistic", "features"), PackRequest(out, "digits", "1.0.0", data=data))
"""
