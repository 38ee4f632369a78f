"""Every grpcurl line of docs/protocols.md gives the answer that stands below it.

grpcurl itself is no package of a registry that the tests use: here its arguments are read and done in its way, which is
to ask the server by reflection what the service and its messages are.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.grpc_client import Client, Refusal

PAGE = (Path(__file__).resolve().parents[2] / "docs/protocols.md").read_text()
SECTION = PAGE.split("\n## gRPC\n")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"```sh\n(.*?)```\n```(?:json|text)\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture(scope="module")
def client(bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Iterator[Client]:
    bundle = bundles(small.linear(), small.linear_samples(), labels="low\nmiddle\nhigh\n")
    with Client(serve(bundle, *grpc_on).grpc) as found:
        yield found


def reflected(client: Client, question: ServerReflectionRequest) -> ServerReflectionResponse:
    method = client.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    (answer,) = method(iter([question]), timeout=DEADLINE)
    assert isinstance(answer, ServerReflectionResponse)
    return answer


def grpcurl(client: Client, arguments: list[str]) -> str:
    """What grpcurl prints: names, a message as JSON, or a status."""
    *flags, _, asked = arguments
    if asked == "list":
        services = reflected(client, ServerReflectionRequest(list_services="")).list_services_response.service
        return "\n".join(service.name for service in services) + "\n"
    service, method_name = asked.split("/")
    pool = DescriptorPool()
    about = reflected(client, ServerReflectionRequest(file_containing_symbol=service))
    for content in about.file_descriptor_response.file_descriptor_proto:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(content))
    method = pool.FindServiceByName(service).methods_by_name[method_name]
    question = json_format.Parse(
        flags[flags.index("-d") + 1] if "-d" in flags else "{}", GetMessageClass(method.input_type)()
    )
    try:
        raw = client.ask(f"/{asked}", question.SerializeToString())
    except Refusal as error:
        code = error.code.title().replace("_", "")
        return f"ERROR:\n  Code: {code}\n  Message: {error.sentence}\n"
    answer = GetMessageClass(method.output_type).FromString(raw)
    printed: str = json_format.MessageToJson(answer, preserving_proto_field_name=True)
    return printed


@pytest.mark.parametrize(("command", "answer"), EXAMPLES, ids=[c.split("9000 ")[1].strip() for c, _ in EXAMPLES])
def test_an_example_of_the_docs_gives_its_answer(client: Client, command: str, answer: str) -> None:
    program, plaintext, *arguments = shlex.split(command)
    printed = grpcurl(client, arguments)

    assert (program, plaintext) == ("grpcurl", "-plaintext")
    assert (json.loads(printed) == json.loads(answer)) if answer.startswith("{") else printed == answer


def test_the_section_has_an_example_of_every_method() -> None:
    for method in ("ServerLive", "ServerReady", "ModelReady", "ModelMetadata", "ModelInfer", "Health/Check"):
        assert any(method in command for command, _ in EXAMPLES), method
