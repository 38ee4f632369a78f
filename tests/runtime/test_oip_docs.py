"""Every curl line of docs/protocols.md about the Open Inference Protocol over HTTP, run as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running

PAGE = (Path(__file__).resolve().parents[2] / "docs/protocols.md").read_text()
SECTION = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1]
EXAMPLES = re.findall(r"```sh\n(.*?)```\n```(json|text)\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture(scope="module")
def server(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """The server that the page talks about."""
    return serve(bundles(small.linear(), small.linear_samples(), labels="low\nmiddle\nhigh\n"))


def test_the_section_is_the_right_one_and_has_examples() -> None:
    assert SECTION.startswith("Open Inference Protocol over HTTP\n")
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize(("command", "kind", "answer"), EXAMPLES, ids=[c.split("8080")[1][:40] for c, *_ in EXAMPLES])
def test_an_example_gives_its_answer(server: Running, command: str, kind: str, answer: str) -> None:
    here = command.replace("localhost:8080", f"127.0.0.1:{server.http}")
    ran = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert (json.loads(ran.stdout) == json.loads(answer)) if kind == "json" else ran.stdout.strip() == answer.strip()
