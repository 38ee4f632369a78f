"""Carrying out a Containerfile's instructions, in a namespace, on a base that is an empty folder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.namespaces import namespaces

# $1: a folder with `context` (and the Containerfile in it) and `work`; $2: the target.
BUILD = """
import json, sys
from pathlib import Path
from image_build import containerfile, oci, stages
folder, target = Path(sys.argv[1]), sys.argv[2]
file = containerfile.parse((folder / "context/Containerfile").read_text())
base = stages.Base(folder / "root", folder / "to-build")
machine = stages.Machine({}, None, folder / "caches", {})
try:
    made = stages.Builder(file, folder / "context", base, machine, folder / "work").image(target)
except containerfile.Unknown as error:
    sys.exit(f"error: {error}")
blobs = folder / "blobs"
print(json.dumps({"layers": [str(oci.layer(one, blobs).path) for one in made.layers],
                  "environment": made.environment, "settings": made.settings}))
"""


@dataclass
class Context:
    folder: Path

    def build(self, text: str, target: str = "image") -> subprocess.CompletedProcess[str]:
        (self.folder / "context/Containerfile").write_text(text)
        command = [*namespaces().mounts, sys.executable, "-c", BUILD, str(self.folder), target]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def image(self, text: str) -> Any:
        done = self.build(text)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    for name in ("context/package/__pycache__", "root", "to-build", "work", "blobs", "caches"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "context/.dockerignore").write_text("*\n!package\n**/__pycache__\n**/*.so\n")
    for name in ("module.py", "left.so", "__pycache__/module.pyc", "script"):
        (tmp_path / "context/package" / name).write_text(name)
    (tmp_path / "context/package/script").chmod(0o700)
    (tmp_path / "context/package/module.py").chmod(0o600)
    return Context(tmp_path)


def listed(layer: str) -> dict[str, int]:
    """Names and modes in a layer."""
    code = "import sys, tarfile, json; print(json.dumps({m.name: m.mode for m in tarfile.open(sys.argv[1])}))"
    told = subprocess.run([sys.executable, "-c", code, layer], capture_output=True, text=True, check=True).stdout
    return dict(json.loads(told))


def test_a_copy_of_the_checkout_leaves_out_what_docker_ignores_and_has_the_modes_of_git(context: Context) -> None:
    image = context.image("FROM base AS image\nCOPY package /opt/package\n")

    base, layer = image["layers"]
    assert listed(base) == {}
    assert listed(layer) == {
        "opt": 0o755, "opt/package": 0o755, "opt/package/module.py": 0o644, "opt/package/script": 0o755,
    }  # fmt: skip


def test_what_a_stage_of_the_build_has_is_in_an_image_only_if_it_is_copied(context: Context) -> None:
    (context.folder / "to-build/compiler").touch()
    image = context.image(
        "FROM base AS build\nCOPY package /src\nCOPY --from=base2 /compiler /src/\nFROM base AS base2\n"
        "FROM base AS image\nCOPY --from=build /src/compiler /src/module.py /opt/\n"
    )

    assert listed(image["layers"][-1]).keys() == {"opt", "opt/compiler", "opt/module.py"}
    assert len(image["layers"]) == 2


def test_a_stage_has_what_its_parent_says_and_its_own(context: Context) -> None:
    image = context.image(
        "ARG VERSION=1\nFROM base AS parent\nENV A=1\nUSER 65532:65532\nWORKDIR /tmp\nSTOPSIGNAL SIGTERM\n"
        'FROM parent AS image\nARG VERSION\nENV B=$A\nEXPOSE 80 81\nCMD ["--help"]\nENTRYPOINT ["/run"]\n'
        'LABEL version="$VERSION" \\\n    title=it\n'
    )

    assert {name: image["environment"][name] for name in "AB"} == {"A": "1", "B": "1"}
    assert image["settings"] == {
        "User": "65532:65532", "WorkingDir": "/tmp", "StopSignal": "SIGTERM", "Cmd": ["--help"], "Entrypoint": ["/run"],
        "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "Labels": {"version": "1", "title": "it"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY package/left.so /opt/", "left.so is left out by .dockerignore"),
        ("COPY --chown=1:1 package /opt/", "of COPY's flags only --from is known"),
        ("USER 1\nRUN true", "line 3: RUN after USER"),
        ("RUN --mount=type=secret,id=a,target=/root/a true", "only caches and secrets below /run are known"),
        ("RUN --network=none true", "only caches and secrets below /run are known"),
    ],
)
def test_what_would_come_out_otherwise_than_with_docker_is_refused(context: Context, text: str, message: str) -> None:
    done = context.build(f"FROM base AS image\n{text}\n")

    assert done.returncode == 1
    assert message in done.stderr
