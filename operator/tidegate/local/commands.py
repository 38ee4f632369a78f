"""What the commands beside `run` do: find a run on this machine, read its state, ask it for something.

A command is a file that the runner reads as a cluster's operator reads annotations: `<revision>[/<step>]@<time>`.
Asking twice for the same thing changes nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tidegate.errors import Failed, UsageError
from tidegate.local.manifest import content_digest
from tidegate.local.runs import known_states
from tidegate.local.state import DeploymentState, Memory, State
from tidegate.plan.commands import value_time
from tidegate.plan.outcome import NotYet, awaited
from tidegate.plan.subjects import SUBJECTS, Asked
from tidegate.plan.verbs import Verb

POLL_SECONDS = 0.05
TAKEN_SECONDS = 10.0


class NoSuchRun(Failed):
    """No run on this machine serves that deployment."""

    reason = "NotFound"


class NotRunning(Failed):
    """The run has ended; nobody would carry a command out."""

    reason = "NotRunning"


@dataclass(frozen=True, slots=True)
class Target:
    """One deployment of one run."""

    state: State
    name: str

    @property
    def kept(self) -> DeploymentState:
        return self.state.of(self.name)

    @property
    def running(self) -> bool:
        return self.state.running()

    @property
    def url(self) -> str:
        return str(self.state.run().get("url", ""))

    def memory(self) -> Memory:
        return self.kept.load()

    def __str__(self) -> str:
        return f"{self.name} of the local run in {self.state.folder}" + ("" if self.running else " (not running)")

    def act(self, verb: Verb, wish: str | None = None) -> Asked:
        """Ask a running deployment for something and wait until it is taken up."""
        status = self.memory().status
        subject = SUBJECTS[verb](status, wish)
        if isinstance(subject, Asked):
            return subject
        if not self.running:
            raise NotRunning("the run has ended", where=str(self), do="start it again: tidegate run -f FILE")
        before = self.kept.commands().get(verb, "")
        on_its_way = before != status.commands.get(verb)  # one that was taken up may be of an earlier try
        if verb in ONCE_PER_SUBJECT and on_its_way and before.partition("@")[0] == subject:
            return Asked(f"already: {verb} of {subject} was asked for at {before.partition('@')[2]}", already=True)
        value = f"{subject}@{now_text()}"
        self.kept.command(verb, value)
        taken = until(lambda: self.memory().status.commands.get(verb) == value, TAKEN_SECONDS)
        return Asked(f"{verb} of {subject} {'was taken up' if taken else 'is asked for'}", taken=taken)

    def wait(self, wanted: str, seconds: float) -> str:
        """Wait until a deployment is `promoted`, `ready` or `settled` by what its manifest says now; a sentence.

        Raises NotYet, or Failed when it was refused or rolled back, or when the manifest is not usable.
        """
        found: list[str] = []

        def decided() -> bool:
            if not has_read_its_manifest(self):
                return False
            memory = self.memory()
            sentence = awaited(self.name, memory.status, memory.generation, wanted)
            found[:] = [sentence] if sentence else []
            return bool(found)

        if not until(decided, seconds):
            raise NotYet(f"{self.name} is not {wanted} after {seconds:.0f} s", do="see `tidegate status`")
        return found[0]


def targets(folder: Path | None, name: str | None) -> list[Target]:
    """Every deployment of that name (of any, without one) in that state folder, or in all that run here.

    Without a folder, runs that have ended are looked at only when none runs.
    """
    states = [State(folder)] if folder else [State(found) for found in known_states()]
    found = [Target(state, known) for state in states for known in state.names() if name in (None, known)]
    running = [target for target in found if target.running]
    return found if folder else running or found


def one_target(folder: Path | None, name: str | None) -> Target:
    """The only deployment that is meant; raises NoSuchRun, or UsageError when several could be."""
    found = targets(folder, name)
    if not found:
        which = f"a deployment called {name}" if name else "a deployment"
        raise NoSuchRun(f"no local run has {which}", where=str(folder or ""), do="start one: tidegate run -f FILE")
    if len(found) > 1:
        listed = "; ".join(f"{target.name} --state {target.state.folder}" for target in found)
        raise UsageError("more than one is meant", do=f"name one of: {listed}")
    return found[0]


def now_text() -> str:
    return value_time(datetime.now(UTC))


def until(holds_now: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds_now():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


# Asked for once, these are on their way: the same again is not a second one.
ONCE_PER_SUBJECT = (Verb.PROMOTE, Verb.PROMOTE_FULL)


def awaited_target(folder: Path | None, name: str | None, seconds: float) -> Target:
    """The only deployment that is meant, as soon as a run serves it; raises NotYet when none does in time."""
    found: list[Target] = []

    def runs() -> bool:
        with contextlib.suppress(NoSuchRun):
            found[:] = [one_target(folder, name)]
        return bool(found) and found[0].running

    if not until(runs, seconds):
        raise NotYet(f"no run serves {name or 'anything'} after {seconds:.0f} s", do="start one: tidegate run -f FILE")
    return found[0]


def has_read_its_manifest(target: Target) -> bool:
    """Whether the run has seen what its file holds now; raises Failed when it cannot use that."""
    run = target.state.run()
    if run.get("manifestDigest", "") != content_digest(Path(str(run.get("manifest", "")))):
        return False
    if run.get("problem"):
        raise Failed("the manifest is not used", where=str(run["problem"]), reason="ManifestInvalid")
    return True
