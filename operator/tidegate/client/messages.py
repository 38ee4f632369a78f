"""What is asked and what is answered, whichever way it travels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from tidegate.client.errors import ServerFailed
from tidegate.client.tensors import Array, datatype_of, to_bytes
from tidegate.errors import Invalid

LONGEST_SENTENCE = 500
MOST_ANSWER = 2**30
REVISION = "x-tidegate-revision"  # only the servers themselves answer with it, so their "unavailable" is no proxy's
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what reading it as an answer ends with


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """An input or output; -1 in `shape` is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model takes and gives, by name and in order."""

    name: str
    versions: tuple[str, ...]
    inputs: Mapping[str, TensorMetadata]
    outputs: Mapping[str, TensorMetadata]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction(Mapping[str, Array]):
    """The outputs by name, and which version gave them.

    `version` is the bundle's, `revision` the rollout's (empty when the server is none of Tidegate's).  Arrays of
    numbers are views of the answer and cannot be written to.
    """

    outputs: Mapping[str, Array]
    datatypes: Mapping[str, str]
    model: str
    version: str
    revision: str

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input as it is sent: `raw` holds its elements as the binary extension and gRPC have them."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, made once, however often it is sent; no `outputs` stands for all, no `version` for any."""

    model: str
    version: str
    inputs: Sequence[Tensor]
    outputs: Sequence[str]


class Transport(Protocol):
    """One try of each question; `seconds` is the time until an answer begins. Everything raises ClientError."""

    def infer(self, asked: Asked, seconds: float) -> Prediction: ...

    def metadata(self, model: str, version: str, seconds: float) -> ModelMetadata: ...

    def ready(self, model: str, version: str, seconds: float) -> bool:
        """Whether the server, or this model where one is named, can be asked now."""

    def close(self) -> None: ...


def tensors(inputs: Mapping[str, npt.ArrayLike]) -> list[Tensor]:
    """Inputs of the types that they have: nothing is converted; raises Invalid for what cannot be sent."""
    found = []
    for name, given in inputs.items():
        array = np.asarray(given)
        try:
            datatype = datatype_of(array)
            found.append(Tensor(name, datatype, array.shape, to_bytes(array, datatype)))
        except ValueError as error:
            raise Invalid(str(error), where=f"input {name!r}") from None
    return found


def not_of_the_protocol(error: Exception) -> NoReturn:
    """Raise ServerFailed for an answer that could not be read as one."""
    raise ServerFailed(
        f"the answer is not of the Open Inference Protocol: {type(error).__name__}: {error}", status=200
    ) from None
