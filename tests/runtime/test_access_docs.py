"""Every command of docs/access.md that has an answer below it, run as it stands there, gives that answer."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.certificates import Files
from tests.runtime.conftest import DEADLINE, Running
from tests.waiting import wait_until

from tidegate.api.load import Checked, check_text
from tidegate_runtime.clients import read_clients

PAGE = (Path(__file__).resolve().parents[2] / "docs/access.md").read_text()
EXAMPLES = re.findall(r"```(sh|python)\n((?:(?!```).)*)```\n```(json|text)\n(.*?)```", PAGE, re.DOTALL)
SERVERS = re.findall(r"^tidegate-runtime serve --bundle fraud --http-port (\d+) (.*)$", PAGE, re.MULTILINE)
MADE_TOKEN, *ASKED = EXAMPLES


@dataclass
class Place:
    """The folder that the page works in, and its two servers by their ports on the page."""

    folder: Path
    servers: dict[str, Running]

    def run(self, kind: str, program: str) -> str:
        for port, server in self.servers.items():
            program = program.replace(f"localhost:{port}", f"localhost:{server.http}")
        command = [sys.executable, "-c", program] if kind == "python" else ["sh", "-c", program]
        environment = {**os.environ, "SSL_CERT_FILE": str(self.folder / "ca.crt")}
        ran = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, bundles: Callable[..., Path], serve: Callable[..., Running]
) -> Place:
    folder = tmp_path_factory.mktemp("page")
    Files(folder).client("client")
    found = Place(folder, {})
    kind, program, _, answer = MADE_TOKEN
    assert found.run(kind, program) == answer
    bundle = bundles(small.linear(), small.linear_samples())
    for port, flags in SERVERS:
        here = [str(folder / word) if (folder / word).exists() or word.endswith(".log") else word
                for word in shlex.split(flags.replace("--grpc-port 9443", "--grpc-port 0"))]  # fmt: skip
        found.servers[port] = serve(bundle, "--revision", "r7", *here)
    return found


@pytest.mark.parametrize(("kind", "program", "form", "answer"), ASKED)
def test_an_example_of_the_docs_gives_its_answer(place: Place, kind: str, program: str, form: str, answer: str) -> None:
    if "audit.log" in program:
        (refused,) = (before for _, before, _, said in ASKED if "lacks the scope" in said)
        place.run("sh", refused)
        log = place.folder / "audit.log"
        wait_until(lambda: '"code":403' in log.read_text(), "the line of the request before it")
    said = place.run(kind, program)
    assert (json.loads(said) == json.loads(answer)) if form == "json" else said == answer


def test_the_page_has_both_servers_and_examples() -> None:
    assert [port for port, _ in SERVERS] == ["8080", "8443"]
    assert len(ASKED) == 7


def test_the_line_that_the_page_adds_is_one(place: Place) -> None:
    (command,) = re.findall(r'```sh\n(echo "reports .*?)\n```', PAGE)
    place.run("sh", command)
    found = read_clients((place.folder / "clients").read_bytes(), "clients")
    assert [client.name for client in found.values()][-1] == "reports"


def test_the_manifest_of_the_page_is_one() -> None:
    (manifest,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    checked = Checked()
    check_text(manifest.encode(), "access.md", checked)
    assert checked.problems == []
    (found,) = checked.deployments
    assert found.spec.runtime.auth is not None
