"""Every curl line of docs/server.md, run as it stands there, gives the answer that stands below it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.runtime.conftest import DEADLINE, Running

PAGE = Path(__file__).resolve().parents[2] / "docs/server.md"
EXAMPLES = re.findall(r"```sh\n(.*?)```\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize(("command", "answer"), EXAMPLES, ids=[command.split()[2][-40:] for command, _ in EXAMPLES])
def test_an_example_of_the_docs_gives_its_answer(fraud: Running, command: str, answer: str) -> None:
    here = command.replace("localhost:8080", f"127.0.0.1:{fraud.http}")
    ran = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert json.loads(ran.stdout) == json.loads(answer)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 7
