"""How much each part of an input adds to each output: for `tidegate explain`, and for servers that explain.

    players.py     the parts of an input: columns, patches, steps
    game.py        what a model answers when parts of a row are taken away
    methods.py     how answers are shared out among the parts
    explaining.py  from rows to tensors

Whoever uses it brings the model, as a function from inputs to answers, and says how much it may cost.
"""
