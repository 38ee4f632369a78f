"""Every curl line of docs/explain.md, run as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running

PAGE = (Path(__file__).resolve().parents[2] / "docs/explain.md").read_text()
EXAMPLES = re.findall(r"```sh\n(curl .*?)```\n```json\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def server(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    return serve(bundles(small.linear(), small.linear_samples()), "--explain", "1")


def about(value: Any) -> Any:
    """The same with numbers that need not be the same to the last bit."""
    if isinstance(value, dict):
        return {name: about(part) for name, part in value.items()}
    if isinstance(value, list):
        return [about(part) for part in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def test_the_page_has_examples_of_both_protocols_and_of_a_refusal() -> None:
    assert [("/v2/" in command, "error" in answer) for command, answer in EXAMPLES] == [
        (True, False), (True, True), (False, False),
    ]  # fmt: skip


@pytest.mark.parametrize(("command", "answer"), EXAMPLES, ids=["explain", "refused", "v1"])
def test_an_example_gives_its_answer(server: Running, command: str, answer: str) -> None:
    here = command.replace("localhost:8080", f"127.0.0.1:{server.http}")
    ran = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert json.loads(ran.stdout) == about(json.loads(answer))
