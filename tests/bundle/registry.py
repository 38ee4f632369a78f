"""A real registry: the Go program of the `distribution` project, on loopback, with its files in one folder."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.demo.s3 import LIFELINE, LOOPBACK, free_ports
from tests.control_plane import programs
from tests.waiting import wait_until

READY_WITHIN = 60.0
USER, PASSWORD = "ada", "open-sesame"
# bcrypt of PASSWORD, the only form that the registry takes; cost 5, as every request is checked.
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuutXu9KzOt.1yBoZUeFWoT/914/JfszCO\n"


@dataclass(frozen=True, slots=True)
class Registry:
    """Where it is and where it keeps its files."""

    place: str
    folder: Path

    def uri(self, repository: str, tag: str) -> str:
        return f"oci://{self.place}/{repository}:{tag}"

    def blob(self, digest: str) -> Path:
        """The file of a blob: what a disk, or somebody with access to it, may damage."""
        hexes = digest.removeprefix("sha256:")
        return self.folder / f"docker/registry/v2/blobs/sha256/{hexes[:2]}/{hexes}/data"

    def manifest(self, repository: str, tag: str) -> dict[str, Any]:
        """As any client sees it."""
        kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
        url = f"http://{self.place}/v2/{repository}/manifests/{tag}"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": kinds}), timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def copy(self, repository: str, folder: Path) -> None:
        """Tag 1 as files under the paths of the protocol, for a server that only serves files."""
        kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        url = f"http://{self.place}/v2/{repository}/manifests/1"
        with urllib.request.urlopen(urllib.request.Request(url, headers=kind), timeout=10) as answer:
            raw = answer.read()
        image, below = json.loads(raw), folder / "v2" / repository
        for kept in ("blobs", "manifests"):
            (below / kept).mkdir(parents=True)
        for row in (image["config"], *image["layers"]):
            shutil.copy(self.blob(row["digest"]), below / "blobs" / row["digest"])
        bundle = image["annotations"]["io.tidegate.bundle.digest"].replace("sha256:", "bundle-")
        for tag in ("1", bundle):
            (below / "manifests" / tag).write_bytes(raw)

    def layer(self, repository: str, tag: str, path: str) -> str:
        """The digest of the layer with a file of a bundle."""
        rows = self.manifest(repository, tag)["layers"]
        return next(str(row["digest"]) for row in rows if row["annotations"]["io.tidegate.path"] == path)


def docker_config(place: str, password: str = PASSWORD) -> str:
    """As `docker login` or `kubectl create secret docker-registry` writes it."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    return json.dumps({"auths": {place: {"auth": auth}}})


@contextlib.contextmanager
def registry_server(folder: Path, auth: dict[str, Any] | None = None) -> Iterator[Registry]:
    """Start one; it answers when this returns, and is gone afterwards, however this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    [port] = free_ports(1)
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": f"{LOOPBACK}:{port}"},
        **({"auth": auth} if auth else {}),
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML, too
    command = [str(programs.find(programs.REGISTRY)), "serve", str(folder / "config.yml")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", LIFELINE, "sh", *command],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        url, said = f"http://{LOOPBACK}:{port}/v2/", folder / "server.log"
        wait_until(lambda: _answers(url) or process.poll() is not None, lambda: said.read_text()[-2000:], READY_WITHIN)
        assert process.poll() is None, said.read_text()[-2000:]
        yield Registry(f"{LOOPBACK}:{port}", folder)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code == 401
    except OSError:
        return False
