"""Every example of docs/client.md, run as it stands there, gives the answer that stands below it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.local.local_run import DEADLINE, TIDEGATE, Local

PAGE = (Path(__file__).resolve().parents[2] / "docs/client.md").read_text()
EXAMPLES = re.findall(r"```(python|sh)\n(.*?)```\n```text\n(.*?)```", PAGE, re.DOTALL)
REVISION = re.compile(r"revision [0-9a-f]+")


def ran(local: Local, kind: str, program: str) -> str:
    here = program.replace("localhost:8080", f"127.0.0.1:{local.port}")
    command = [sys.executable, "-c", here] if kind == "python" else ["sh", "-c", here]
    path = f"{Path(TIDEGATE[0]).parent}:{local.environment['PATH']}"
    done = subprocess.run(
        command, env={**local.environment, "PATH": path}, cwd=local.folder, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("kind", "program", "answer"), EXAMPLES)
def test_an_example_gives_its_answer(steady: Local, kind: str, program: str, answer: str) -> None:
    assert REVISION.sub("revision …", ran(steady, kind, program)) == answer


def test_the_page_has_examples_of_both_kinds() -> None:
    assert [kind for kind, *_ in EXAMPLES].count("python") == 3
    assert [kind for kind, *_ in EXAMPLES].count("sh") == 2


def test_the_description_of_the_page_is_written(steady: Local) -> None:
    (command,) = re.findall(r"```sh\n(tidegate openapi bundle .*?)\n```", PAGE)
    (steady.folder / "bundle").symlink_to(steady.store / "v1")

    ran(steady, "sh", command)

    written = json.loads((steady.folder / "fraud.openapi.json").read_text())
    assert written["servers"] == [{"url": "https://models.example.com"}]
    assert "/v2/models/fraud/infer" in written["paths"]
