"""Every grpcurl line of docs/protocols.md, run as it stands there by grpcurl itself, gives the answer below it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.control_plane.programs import GRPCURL, find
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.page_examples import Example, examples, printed

PAGE = (Path(__file__).resolve().parents[2] / "docs/protocols.md").read_text()
EXAMPLES = [example for example in examples(PAGE) if "grpcurl" in example.command]
REFLECTION = "grpc.reflection."
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # grpcurl may have to be built first
Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def shell(bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Shell:
    """What a line prints where grpcurl is on the PATH, asking the server that the page talks about."""
    path = f"{find(GRPCURL).parent}:{os.environ['PATH']}"
    server = serve(bundles(small.linear(), small.linear_samples(), labels="low\nmiddle\nhigh\n"), *grpc_on)
    return lambda line: printed(line, {9000: server.grpc}, PATH=path)


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.command.split("9000 ")[1].strip() for example in EXAMPLES])
def test_an_example_of_the_docs_gives_its_answer(shell: Shell, example: Example) -> None:
    found = shell(example.command)

    assert example.fits(found), found


def test_every_method_that_the_server_has_is_asked_by_an_example(shell: Shell) -> None:
    services = [name for name in shell("grpcurl -plaintext localhost:9000 list").split() if REFLECTION not in name]
    methods = " ".join(shell(f"grpcurl -plaintext localhost:9000 list {service}") for service in services).split()
    shown = " ".join(example.command for example in EXAMPLES)

    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} == set(services)
    assert [method for method in methods if slashed(method) not in shown] == []
    assert "9000 list\n" in shown  # this is what asks reflection


def slashed(method: str) -> str:
    """The name of a method as a call has it."""
    service, _, name = method.rpartition(".")
    return f"{service}/{name}"
