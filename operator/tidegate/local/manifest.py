"""The manifest of a run, read again whenever its file changes.

A file that became nonsense or is gone changes nothing of what serves: the last good one stays, and the reason is
said with its place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tidegate.api.load import load_manifests
from tidegate.api.spec import ModelDeployment
from tidegate.errors import Invalid, TidegateError


class SameName(Invalid):
    """Two deployments of a file would answer under one model name."""

    reason = "NameTaken"


Stamp = tuple[int, int, int] | None


@dataclass(slots=True)
class ManifestFile:
    """The file, what it last said, and why its present content is not used, if so."""

    path: Path
    deployments: tuple[ModelDeployment, ...] = ()
    problem: str = ""
    digest: str = ""  # of the content that was read last, good or not
    _stamp: Stamp = None  # of the content that was read
    _seen: Stamp = None  # of the last look: an editor may be in the middle of writing

    def read(self) -> None:
        """Read it for the first time; raises what is wrong with it."""
        self._stamp = self._seen = stamp(self.path)
        self.digest = content_digest(self.path)
        self.deployments = distinct(load_manifests(self.path))

    def changed(self) -> bool:
        """Whether the file has new content, the same in two looks; then `deployments` or `problem` say the news."""
        seen = stamp(self.path)
        settled = seen == self._seen
        self._seen = seen
        if not settled or seen == self._stamp:
            return False
        self._stamp = seen
        self.digest = content_digest(self.path)
        try:
            self.deployments = distinct(load_manifests(self.path))
            self.problem = ""
        except TidegateError as error:
            self.problem = str(error) if seen else f"{self.path}: the file is gone"
        return True


def stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def content_digest(path: Path) -> str:
    """Stands for what the file holds now; nothing when it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def distinct(deployments: list[ModelDeployment]) -> tuple[ModelDeployment, ...]:
    names = [deployment.metadata.name for deployment in deployments]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SameName(f"more than one ModelDeployment is called {twice[0]}", do="give each a name of its own")
    hosts = [host for deployment in deployments for host in deployment.spec.routing.hostnames]
    shared = sorted({host for host in hosts if hosts.count(host) > 1})
    if shared:
        raise SameName(f"more than one ModelDeployment has the host name {shared[0]}", do="give each its own")
    return tuple(deployments)
