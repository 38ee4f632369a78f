"""A thin client for the Open Inference Protocol: numpy arrays in and out, and no run that nobody asked for.

from tidegate.client import Client

with Client("http://localhost:8080") as client:
    prediction = client.infer("fraud", {"x": rows})
    prediction["scores"], prediction.version
"""

from tidegate.client.client import Client, ModelAddress, model_address
from tidegate.client.errors import (
    ClientError,
    NotConnected,
    NotTrusted,
    RequestRefused,
    ServerBusy,
    ServerFailed,
    TimedOut,
    Unanswered,
)
from tidegate.client.messages import ModelMetadata, Prediction, TensorMetadata

__all__ = [
    "Client",
    "ClientError",
    "ModelAddress",
    "ModelMetadata",
    "NotConnected",
    "NotTrusted",
    "Prediction",
    "RequestRefused",
    "ServerBusy",
    "ServerFailed",
    "TensorMetadata",
    "TimedOut",
    "Unanswered",
    "model_address",
]
