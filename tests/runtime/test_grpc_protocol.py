"""That the server speaks the protocol that is written down: its own copy of it, and what reflection tells of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor
from grpc_reflection.v1alpha import reflection_pb2
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.grpc_client import Client
from tritonclient.grpc import service_pb2 as tritons

REFLECTION = "ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module", params=["v1alpha", "v1"])
def reflect(
    request: pytest.FixtureRequest,
    bundles: Callable[..., Path],
    serve: Callable[..., Running],
    grpc_on: tuple[str, ...],
) -> Callable[..., Any]:
    """Asks the server about itself in one of the protocol's versions, which differ in their name only."""
    server = serve(bundles(small.linear()), *grpc_on)

    def ask(**question: str) -> Any:
        with Client(server.grpc) as client:
            method = client.channel.stream_stream(
                f"/grpc.reflection.{request.param}.{REFLECTION}",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            asked = reflection_pb2.ServerReflectionRequest(**question)
            (answer,) = method(iter([asked]), timeout=DEADLINE)
            return answer

    return ask


def test_reflection_lists_the_services(reflect: Callable[..., Any]) -> None:
    listed = reflect(list_services="").list_services_response.service
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= {service.name for service in listed}


def test_what_reflection_tells_is_enough_for_a_client_and_is_wire_compatible_with_tritons(
    reflect: Callable[..., Any],
) -> None:
    answer = reflect(file_containing_symbol="inference.GRPCInferenceService")
    pool = descriptor_pool.DescriptorPool()
    for content in answer.file_descriptor_response.file_descriptor_proto:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(content))
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    theirs = tritons.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert len(service.methods) == 6
    for method in service.methods:
        known = theirs.methods_by_name[method.name]
        require_same(method.input_type, known.input_type)
        require_same(method.output_type, known.output_type)


def require_same(ours: Descriptor, theirs: Descriptor) -> None:
    """Every field of ours is one of theirs, with the same number and type."""
    assert ours.full_name == theirs.full_name
    for field in ours.fields:
        known = theirs.fields_by_name[field.name]
        assert (field.number, field.type, field.is_repeated) == (known.number, known.type, known.is_repeated)
        if field.message_type is not None:
            require_same(field.message_type, known.message_type)
