"""The examples of a page of the docs: a block of commands, and right below it the block that they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tests.runtime.conftest import DEADLINE

BLOCKS = re.compile(r"```sh\n(.*?)```\n```(json|text)\n(.*?)```", re.DOTALL)
LEFT_OUT = "…"


@dataclass(frozen=True, slots=True)
class Example:
    """`kind` is how the answer is written: `json` with spaces as a reader likes them, `text` as it is printed."""

    command: str
    kind: str
    answer: str

    def fits(self, found: str) -> bool:
        """Whether this is the answer; in a text `…` stands for what is left out of a line."""
        if self.kind == "json":
            return bool(json.loads(found) == json.loads(self.answer))
        shown = ".*".join(re.escape(part) for part in self.answer.strip().split(LEFT_OUT))
        return re.fullmatch(shown, found.strip()) is not None


def examples(text: str) -> list[Example]:
    return [Example(*found) for found in BLOCKS.findall(text)]


def printed(command: str, ports: Mapping[int, int], **environment: str) -> str:
    """What a shell prints, errors too, with the real ports of a server in place of those that the page has."""
    for shown, real in ports.items():
        command = command.replace(f"localhost:{shown}", f"127.0.0.1:{real}")
    return subprocess.run(
        ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE,
        env={**os.environ, **environment}, check=False,
    ).stdout  # fmt: skip
