"""The manifest of a run, read again whenever its file changes.

A file that became nonsense or is gone changes nothing of what serves: the last good one stays, and the reason is
said with its place.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from tidegate.api.load import Checked, ManifestInvalid, check_text
from tidegate.api.names import KIND
from tidegate.api.spec import ModelDeployment
from tidegate.errors import Invalid, TidegateError, UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LIMIT = 256 * 1024  # a second or two of parsing; a hundred deployments


class SameName(Invalid):
    """Two deployments of a file would answer under one model name."""

    reason = "NameTaken"


Stamp = tuple[int, int, int] | None


@dataclass(slots=True)
class ManifestFile:
    """The file, what it last said, and why its present content is not used, if so."""

    path: Path
    host: str = LOOPBACK[0]  # where clients connect
    deployments: tuple[ModelDeployment, ...] = ()
    problem: str = ""
    digest: str = ""  # of the content that was read last, good or not
    _stamp: Stamp = None  # of the content that was read
    _seen: Stamp = None  # of the last look: an editor may be in the middle of writing

    def read(self) -> None:
        """Read it for the first time; raises what is wrong with it."""
        self._stamp = self._seen = stamp(self.path)
        self._take()

    def changed(self) -> bool:
        """Whether the file has new content, the same in two looks; then `deployments` or `problem` say the news.

        Parsing may take a second: not for the thread that looks after servers.
        """
        seen = stamp(self.path)
        settled = seen == self._seen
        self._seen = seen
        if not settled or seen == self._stamp:
            return False
        self._stamp = seen
        try:
            self._take()
            self.problem = ""
        except TidegateError as error:
            self.problem = str(error) if seen else f"{self.path}: the file is gone"
        return True

    def _take(self) -> None:
        self.digest = ""
        content = plain_content(self.path)
        self.digest = hashlib.sha256(content).hexdigest()
        deployments = distinct(parsed(content, self.path))
        refuse_open_doors(deployments, self.host)
        self.deployments = deployments


def refuse_open_doors(deployments: tuple[ModelDeployment, ...], host: str) -> None:
    """What is to be encrypted is not offered to a network in plain text, as the proxy in front would."""
    secured = [one.metadata.name for one in deployments if one.spec.runtime.tls]
    if secured and host not in LOOPBACK:
        raise UsageError(
            f"{secured[0]} asks for runtime.tls, and on one machine clients are answered in plain HTTP",
            where=f"--host {host}",
            do="leave --host out, or take runtime.tls out of the manifest",
        )


def stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def plain_content(path: Path) -> bytes:
    """What the file holds; raises UsageError when it is none that could be read again and again."""
    content = None
    try:
        with open(path, "rb", opener=without_waiting) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                content = file.read(LIMIT + 1)
    except IsADirectoryError:
        pass
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=str(path), do="name a file") from None
    if content is None:
        do = "write it to a file: the run reads it again when it changes"
        raise UsageError("not a plain file", where=str(path), do=do)
    if len(content) > LIMIT:
        raise Invalid(f"larger than {LIMIT >> 10} KiB", where=str(path), reason=ManifestInvalid.reason)
    return content


def without_waiting(path: str, flags: int) -> int:
    """An opener that waits for nobody: opening a pipe would wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def content_digest(path: Path) -> str:
    """Stands for what the file holds now; nothing when it cannot be read."""
    try:
        return hashlib.sha256(plain_content(path)).hexdigest()
    except TidegateError:
        return ""


def parsed(content: bytes, path: Path) -> list[ModelDeployment]:
    checked = Checked()
    check_text(content, str(path), checked)
    if checked.problems:
        raise ManifestInvalid(tuple(checked.problems))
    if not checked.deployments:
        raise Invalid(f"there is no {KIND} in it", where=str(path), do="write one", reason=ManifestInvalid.reason)
    return checked.deployments


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
