"""A Containerfile and its context, of which stages are built in a namespace on a base that is given."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.namespaces import namespaces

# $1: a folder with `context` (and the Containerfile in it), the base and `cache`; $2: the target; $3: whether anew.
BUILD = """
import json, sys
from pathlib import Path
from image_build import containerfile, layers, oci, stages
folder, target, anew = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
file = containerfile.parse((folder / "context/Containerfile").read_text())
base = stages.Base(layers.Layer(folder / "root", "root"), layers.Layer(folder / "to-build", "to-build"))
machine = stages.Machine({}, None, folder / "cache", {})
try:
    with layers.building(folder / "cache", anew=anew) as making:
        made = stages.Builder(file, folder / "context", base, machine, making).image(target)
        written = []
        for layer in (oci.layer(one.path) for one in made.layers):
            (file := folder / "blobs" / layer.digest).write_bytes(b"".join(layer.content()))
            written.append(str(file))
except (containerfile.Unknown, stages.Failed) as error:
    sys.exit(f"error: {error}")
print(json.dumps({"layers": written, "environment": made.environment, "settings": made.settings}))
"""


@dataclass
class Context:
    folder: Path

    def build(self, text: str, *, anew: bool = False) -> subprocess.CompletedProcess[str]:
        """Build the stage called `image`."""
        (self.folder / "context/Containerfile").write_text(text)
        command = [*namespaces().mounts, sys.executable, "-c", BUILD, str(self.folder), "image", str(anew)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def image(self, text: str, *, anew: bool = False) -> Any:
        done = self.build(text, anew=anew)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def made_in(folder: Path) -> Context:
    for name in ("context/package/__pycache__", "root", "to-build", "blobs", "cache"):
        (folder / name).mkdir(parents=True)
    (folder / "context/.dockerignore").write_text("*\n!package\n**/__pycache__\n**/*.so\n")
    for name in ("module.py", "left.so", "__pycache__/module.pyc", "script"):
        (folder / "context/package" / name).write_text(name)
    (folder / "context/package/script").chmod(0o700)
    (folder / "context/package/module.py").chmod(0o600)
    return Context(folder)


def listed(layer: str) -> dict[str, int]:
    """Names and modes in a layer."""
    code = "import sys, tarfile, json; print(json.dumps({m.name: m.mode for m in tarfile.open(sys.argv[1])}))"
    told = subprocess.run([sys.executable, "-c", code, layer], capture_output=True, text=True, check=True).stdout
    return dict(json.loads(told))
