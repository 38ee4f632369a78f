"""Every curl line of docs/server.md, run as it stands there, gives the answer that stands below it.

They run in a folder where `token` is one of the operator's service account.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.tokens import OPERATOR, access_document, rsa_key

from tidegate_runtime.access import PERMISSIONS, read_grants

PAGE = Path(__file__).resolve().parents[2] / "docs/server.md"
EXAMPLES = re.findall(r"```sh\n(.*?)```\n```(json|text)\n(.*?)```", PAGE.read_text(), re.DOTALL)
Place = tuple[Running, Path]


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, bundles: Callable[..., Path], serve: Callable[..., Running]
) -> Place:
    """The server that the page talks about, and the folder where its commands are run."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "access.json").write_bytes(access_document(rsa_key()))
    (folder / "token").write_text(rsa_key().token(OPERATOR))
    bundle = bundles(small.linear(), small.linear_samples())
    return serve(bundle, "--revision", "r7", "--access", str(folder / "access.json")), folder


@pytest.mark.parametrize(
    ("command", "kind", "answer"), EXAMPLES, ids=[c.split("http://")[1][:40] for c, *_ in EXAMPLES]
)
def test_an_example_of_the_docs_gives_its_answer(place: Place, command: str, kind: str, answer: str) -> None:
    server, folder = place
    here = command.replace("localhost:8080", f"127.0.0.1:{server.http}")
    here = here.replace("localhost:9090", f"127.0.0.1:{server.metrics}")
    ran = subprocess.run(["sh", "-c", here], cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert (json.loads(ran.stdout) == json.loads(answer)) if kind == "json" else ran.stdout == answer


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 10


def test_the_access_file_of_the_page_is_one() -> None:
    (shown,) = re.findall(r"```json\n(\{\"issuer\".*?)```", PAGE.read_text(), re.DOTALL)
    written = json.loads(shown) | {"jwks": {"keys": [rsa_key().public()]}}
    assert set(read_grants(json.dumps(written).encode()).subjects) == set(PERMISSIONS.values())
