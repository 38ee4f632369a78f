"""What a request may say beside its tensors: the rules that are the same in every protocol."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from tidegate_runtime.errors import BadRequest
from tidegate_runtime.interfaces import Kind

LONGEST_ID: Final = 256
MICROSECONDS: Final = 1e-6
PINNED: Final = "x-tidegate-pinned"  # a header over HTTP, metadata over gRPC
SHARED_MEMORY: Final = "shared_memory_region"


def kind_of(*, pinned: bool) -> Kind:
    """Whether the split chose the request's version, or the client did with `PINNED`."""
    return "pinned" if pinned else "requests"


def request_id(given: Any) -> str:
    """The client's own name for its request; raises BadRequest."""
    if type(given) is not str or len(given) > LONGEST_ID:
        raise BadRequest(f"id must be a text of at most {LONGEST_ID} characters")
    return given


def plain_values(given: Any, where: str) -> dict[str, Any]:
    """The parameters of a request or a tensor; raises BadRequest where they are no plain values."""
    if given is None:
        return {}
    if type(given) is not dict or any(isinstance(value, dict | list) for value in given.values()):
        raise BadRequest(f"{where} must be an object of plain values")
    return given


def timeout(given: Any) -> float:
    """Seconds that the client will wait, from its microseconds; 0.0 sets no limit. Raises BadRequest."""
    if type(given) is not int or given < 0:
        raise BadRequest("parameters.timeout must be a whole number of microseconds")
    return given * MICROSECONDS


def null_for_nonfinite(parameters: Mapping[str, Any]) -> bool:
    """Whether NaN and infinity are to be answered as null where JSON cannot carry them; raises BadRequest."""
    if "nonfinite" not in parameters:
        return False
    if parameters["nonfinite"] != "null":
        raise BadRequest('parameters.nonfinite must be "null"')
    return True


def refuse_shared_memory(tensor: str, parameters: Container[str]) -> None:
    """Raises BadRequest when the values of `tensor`, "input 'x'" say, are to be somewhere else than in the request."""
    if SHARED_MEMORY in parameters:
        raise BadRequest(f"{tensor}: shared memory is not offered")
