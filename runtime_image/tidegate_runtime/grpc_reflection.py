"""`grpc.reflection`: what lets clients ask for the protocol itself, from the descriptors that protobuf keeps.

The package of gRPC has the messages; its servicer would import grpc, 15 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from tidegate.protocol.open_inference_pb2 import DESCRIPTOR
from tidegate_runtime.grpc_calls import Call, Method, Methods, parsed

VERSIONS: Final = ("v1alpha", "v1")  # they differ in nothing but their name
NAMES: Final = tuple(f"grpc.reflection.{version}.ServerReflection" for version in VERSIONS)
NOT_FOUND: Final = 5


class ReflectionService:
    """Tells of the given services, and of itself."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted((*services, *NAMES))
        self._pools = (DESCRIPTOR.pool, descriptor_pool.Default())

    def methods(self) -> Methods:
        return {f"/{name}/ServerReflectionInfo": Method(self._asked, many=True, streams=True) for name in NAMES}

    def _asked(self, call: Call, raw: bytes | memoryview) -> None:
        request = parsed(ServerReflectionRequest, raw)
        try:
            answer = self._answer(request)
        except KeyError:
            answer = {"error_response": {"error_code": NOT_FOUND, "error_message": "not found"}}
        call.send(ServerReflectionResponse(original_request=request, **answer).SerializeToString())

    def _answer(self, request: ServerReflectionRequest) -> dict[str, Any]:
        """The field of the answer; raises KeyError for what is not known."""
        question = request.WhichOneof("message_request")
        if question == "list_services":
            names = [{"name": name} for name in self._services]
            return {"list_services_response": {"service": names}}
        if question == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            known = self._first(lambda pool: pool.FindAllExtensions(pool.FindMessageTypeByName(name)))
            numbers = sorted(extension.number for extension in known)
            return {"all_extension_numbers_response": {"base_type_name": name, "extension_number": numbers}}
        return {"file_descriptor_response": {"file_descriptor_proto": _with_dependencies(self._file(request))}}

    def _file(self, request: ServerReflectionRequest) -> FileDescriptor:
        question = request.WhichOneof("message_request")
        if question == "file_by_filename":
            return self._first(lambda pool: pool.FindFileByName(request.file_by_filename))
        if question == "file_containing_symbol":
            return self._first(lambda pool: pool.FindFileContainingSymbol(request.file_containing_symbol))
        asked = request.file_containing_extension  # KeyError for an empty question, too
        return self._first(
            lambda pool: (
                pool.FindExtensionByNumber(
                    pool.FindMessageTypeByName(asked.containing_type), asked.extension_number
                ).file
            )
        )

    def _first(self, find: Callable[[Any], Any]) -> Any:
        """What the first pool knows that knows anything; raises KeyError when none does."""
        for pool in self._pools:
            try:
                return find(pool)
            except KeyError:
                continue
        raise KeyError


def _with_dependencies(file: FileDescriptor) -> list[bytes]:
    """The file and all that it imports, serialized, each once."""
    found: dict[str, bytes] = {}
    to_do = [file]
    while to_do:
        one = to_do.pop()
        if one.name not in found:
            found[one.name] = one.serialized_pb
            to_do += one.dependencies
    return list(found.values())
