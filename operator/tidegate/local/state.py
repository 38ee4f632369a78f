"""What a run remembers between its lives, and what the commands `status`, `promote`, … read and write.

    STATE/lock                      held while a runner lives: a second one ends with a sentence
    STATE/run.json                  which manifest, which address, which process
    STATE/envoy.log
    STATE/NAME/deployment.json      generation, spec and status: replaced in one step, flushed to the disk
    STATE/NAME/stable.json          the stable revision, apart from the status, which may be lost
    STATE/NAME/revisions/REV.json   what a revision is, written once
    STATE/NAME/commands/VERB        `<revision>[/<step>]@<time>`: what a person asked for last
    STATE/NAME/timeline.jsonl       a row per interval, for `tidegate report`
    STATE/NAME/servers/             logs and last words of the servers

STATE is `--state`, or a folder of its own per manifest under XDG_STATE_HOME; a run elsewhere leaves a link there, so
that commands find every run on this machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.errors import Failed
from tidegate.local.files import read_json, write_json, write_whole
from tidegate.local.runs import locked, names_in, run_of, running, runs_folder
from tidegate.plan.observed import RevisionRecord

RECORD: TypeAdapter[RevisionRecord] = TypeAdapter(RevisionRecord)
LOCK_PATIENCE_SECONDS = 0.5  # a command that looks whether the run lives holds the lock for an instant
COMMAND_LIMIT = 512


class AlreadyRunning(Failed):
    """Another runner has this state."""

    reason = "AlreadyRunning"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one deployment; `status` is a fresh one when it was lost."""

    generation: int
    spec: ModelDeploymentSpec | None
    status: ModelDeploymentStatus
    stable: str
    records: Mapping[str, RevisionRecord]


class State:
    """One state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: FileIO | None = None

    def open(self) -> None:
        """Make the folder and hold its lock until the process ends; raises AlreadyRunning."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileIO(self.folder / "lock", "a")
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while not locked(self._lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                self.close()
                raise AlreadyRunning(
                    "another `tidegate run` has this state",
                    where=str(self.folder),
                    do="stop it first, or choose another with --state",
                )
            time.sleep(0.02)
        self._link()

    def _link(self) -> None:
        """Leave a link among the known runs, so that commands find this one."""
        if self.folder.resolve().parent == runs_folder().resolve():
            return
        name = f"{self.folder.name}-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]}"
        with contextlib.suppress(OSError):  # a read-only home: the run is then found by --state only
            runs_folder().mkdir(parents=True, exist_ok=True)
            (runs_folder() / name).symlink_to(self.folder.resolve())

    def close(self) -> None:
        if self._lock:
            self._lock.close()

    def running(self) -> bool:
        return running(self.folder)

    def write_run(self, document: Mapping[str, Any]) -> None:
        write_json(self.folder / "run.json", document)

    def run(self) -> dict[str, Any]:
        return run_of(self.folder)

    def names(self) -> list[str]:
        """The deployments that this state knows, those of the manifest first read."""
        return names_in(self.folder)

    def of(self, name: str) -> DeploymentState:
        return DeploymentState(self.folder / name)


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """What is kept of one deployment."""

    folder: Path

    @property
    def servers(self) -> Path:
        return self.folder / "servers"

    @property
    def timeline(self) -> Path:
        return self.folder / "timeline.jsonl"

    def prepare(self) -> None:
        for folder in (self.servers, self.folder / "revisions", self.folder / "commands"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self) -> Memory:
        document = read_json(self.folder / "deployment.json")
        kept = document if isinstance(document, dict) else {}
        generation = kept.get("generation")
        return Memory(
            generation=generation if isinstance(generation, int) else 0,
            spec=valid(ModelDeploymentSpec, kept.get("spec")),
            status=valid(ModelDeploymentStatus, kept.get("status")) or ModelDeploymentStatus(),
            stable=self.stable(),
            records=dict(self._records()),
        )

    def save(self, generation: int, spec: ModelDeploymentSpec, status: ModelDeploymentStatus) -> None:
        write_json(
            self.folder / "deployment.json",
            {"generation": generation, "spec": plain(spec), "status": plain(status)},
        )

    def stable(self) -> str:
        document = read_json(self.folder / "stable.json")
        found = document.get("stable") if isinstance(document, dict) else ""
        return found if isinstance(found, str) else ""

    def save_stable(self, revision: str) -> None:
        if revision != self.stable():
            write_json(self.folder / "stable.json", {"stable": revision})

    def _records(self) -> Iterator[tuple[str, RevisionRecord]]:
        for path in sorted((self.folder / "revisions").glob("*.json")):
            with contextlib.suppress(ValidationError, OSError):
                record = RECORD.validate_json(path.read_bytes())
                yield record.revision, record

    def save_record(self, record: RevisionRecord) -> None:
        """Keep what a revision is; a record that is there stays as it was."""
        path = self.folder / "revisions" / f"{record.revision}.json"
        if not path.exists():
            write_whole(path, RECORD.dump_json(record, indent=1, by_alias=True))

    def drop_records(self, keep: frozenset[str]) -> None:
        for path in (self.folder / "revisions").glob("*.json"):
            if path.stem not in keep:
                path.unlink(missing_ok=True)

    def commands(self) -> dict[str, str]:
        """The latest command per verb."""
        found = {}
        for path in sorted((self.folder / "commands").glob("[a-z]*")):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found[path.name] = path.read_text()[:COMMAND_LIMIT].strip()
        return found

    def command(self, verb: str, value: str) -> None:
        write_whole(self.folder / "commands" / verb, value.encode())


def plain(document: ModelDeploymentSpec | ModelDeploymentStatus) -> Any:
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


T = TypeVar("T", ModelDeploymentSpec, ModelDeploymentStatus)


def valid(kind: type[T], document: object) -> T | None:
    """The document as its type, or None when it is missing or from another time."""
    if document is None:
        return None
    try:
        return kind.model_validate(document)
    except ValidationError:
        return None
