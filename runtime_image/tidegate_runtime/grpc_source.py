"""A call of ModelInfer as what counts and traces requests sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tidegate_runtime.errors import RequestError
from tidegate_runtime.interfaces import Kind
from tidegate_runtime.parameters import PINNED, kind_of
from tidegate_runtime.trace_context import PARENT, STATE

METHOD: Final = "inference.GRPCInferenceService/ModelInfer"
# gRPC's names for the statuses of HTTP that inference ends with.
CODES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# What OpenTelemetry's conventions call a server's error; the others are the client's.
FAULTS: Final = frozenset({"DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE"})


def code_of(error: RequestError) -> str:
    """What gRPC calls it."""
    return error.grpc or CODES.get(error.status, "INTERNAL")


class GrpcSource:
    """See `interfaces.Source`."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: Mapping[str, str | bytes]) -> None:
        self._metadata = metadata

    @property
    def kind(self) -> Kind:
        """Whether the request's version was chosen by the split or pinned by the client."""
        return kind_of(pinned=PINNED in self._metadata)

    def trace_headers(self) -> tuple[str, str]:
        """See `interfaces.Source`."""
        return str(self._metadata.get(PARENT, "")), str(self._metadata.get(STATE, ""))

    def described(self, error: RequestError | None, *, tls: bool) -> tuple[str, dict[str, str | int | bool]]:  # noqa: ARG002
        """See `interfaces.Source`."""
        code = "OK" if error is None else code_of(error)
        attributes: dict[str, str | int | bool] = {
            "rpc.system.name": "grpc",
            "rpc.method": METHOD,
            "rpc.response.status_code": code,
        }
        if code in FAULTS:
            attributes["error.type"] = code
        return METHOD, attributes
