"""What a bundle is: the manifest, its digest, the signature, golden samples, stores.

Every other part uses this package, the model server too, so nothing here imports pydantic, click or rich, and
whatever is heavy (boto3, onnx, model_signing) is imported where it is used.
"""
