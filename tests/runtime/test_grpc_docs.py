"""Every grpcurl line of docs/protocols.md, run as it stands there by grpcurl itself, gives the answer below it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.control_plane.programs import GRPCURL, find
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running

PAGE = (Path(__file__).resolve().parents[2] / "docs/protocols.md").read_text()
SECTION = PAGE.split("\n## gRPC\n")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"```sh\n(.*?)```\n```(json|text)\n(.*?)```", SECTION, re.DOTALL)
REFLECTION = "grpc.reflection."
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # grpcurl may have to be built first
Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def shell(bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Shell:
    """Runs a line where grpcurl is on the PATH, against the server that the page talks about; what is printed."""
    path = f"{find(GRPCURL).parent}:{os.environ['PATH']}"
    server = serve(bundles(small.linear(), small.linear_samples(), labels="low\nmiddle\nhigh\n"), *grpc_on)

    def run(line: str) -> str:
        here = line.replace("localhost:9000", f"127.0.0.1:{server.grpc}")
        return subprocess.run(
            ["sh", "-c", here], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE,
            env={**os.environ, "PATH": path}, check=False,
        ).stdout  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("command", "kind", "answer"), EXAMPLES, ids=[c.split("9000 ")[1].split("\n")[0] for c, *_ in EXAMPLES]
)
def test_an_example_of_the_docs_gives_its_answer(shell: Shell, command: str, kind: str, answer: str) -> None:
    printed = shell(command)

    assert (json.loads(printed) == json.loads(answer)) if kind == "json" else printed == answer


def test_every_method_that_the_server_has_is_asked_by_an_example(shell: Shell) -> None:
    services = [name for name in shell("grpcurl -plaintext localhost:9000 list").split() if REFLECTION not in name]
    methods = " ".join(shell(f"grpcurl -plaintext localhost:9000 list {service}") for service in services).split()
    commands = [command for command, *_ in EXAMPLES]

    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} == set(services)
    assert [method for method in methods if not any(slashed(method) in command for command in commands)] == []
    assert any(command.endswith("9000 list\n") for command in commands)  # this is what asks reflection


def slashed(method: str) -> str:
    """The name of a method as a call has it."""
    service, _, name = method.rpartition(".")
    return f"{service}/{name}"
