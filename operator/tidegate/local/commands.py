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

from tidegate.api.status import HistoryEntry, ModelDeploymentStatus
from tidegate.errors import Failed, Temporary, UsageError
from tidegate.local.manifest import content_digest
from tidegate.local.outcome import Outcome, holds, outcome
from tidegate.local.state import DeploymentState, Memory, State, known_states
from tidegate.plan.history import PROMOTED, ROLLED_BACK
from tidegate.plan.observed import Verb

POLL_SECONDS = 0.05
TAKEN_SECONDS = 10.0


class NoSuchRun(Failed):
    """No run on this machine serves that deployment."""

    reason = "NotFound"


class NotRunning(Failed):
    """The run has ended; nobody would carry a command out."""

    reason = "NotRunning"


class NothingToDo(Failed):
    """The command makes no sense in this state of the deployment."""

    reason = "NothingToDo"


class NotYet(Temporary):
    """It did not happen within the time that was given."""

    reason = "Timeout"


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
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a command: `already` when there was nothing to do any more."""

    message: str
    already: bool = False
    taken: bool = True


Ask = Callable[[ModelDeploymentStatus, "str | None"], "str | Asked"]


def act(target: Target, verb: Verb, wish: str | None = None) -> Asked:
    """Ask a running deployment for something and wait until it is taken up."""
    status = target.memory().status
    subject = SUBJECTS[verb](status, wish)
    if isinstance(subject, Asked):
        return subject
    if not target.running:
        raise NotRunning("the run has ended", where=str(target), do="start it again: tidegate run -f FILE")
    before = target.kept.commands().get(verb, "")
    on_its_way = before != status.commands.get(verb)  # one that was taken up may be of an earlier try
    if verb in ONCE_PER_SUBJECT and on_its_way and before.partition("@")[0] == subject:
        return Asked(f"already: {verb} of {subject} was asked for at {before.partition('@')[2]}", already=True)
    value = f"{subject}@{now_text()}"
    target.kept.command(verb, value)
    taken = until(lambda: target.memory().status.commands.get(verb) == value, TAKEN_SECONDS)
    return Asked(f"{verb} of {subject} {'was taken up' if taken else 'is asked for'}", taken=taken)


def until(holds_now: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds_now():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def of_candidate(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    """The step of the candidate that a gate is passed at."""
    if status.candidate is None:
        if holds(status, "Promoted"):
            return Asked("already: the version is promoted", already=True)
        raise NothingToDo(
            "no version is being tried", do="see `tidegate status`; a rejected one needs `tidegate retry`"
        )
    step = status.rollout.step if status.rollout else 0
    if status.rollout and status.rollout.promoted_step == step:
        return Asked(f"already: step {step} is passed as soon as it can be", already=True)
    return f"{status.candidate.revision}/{step}"


def of_whole_candidate(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:
    if status.candidate is None:
        return of_candidate(status, wish)
    if status.rollout and status.rollout.full:
        return Asked("already: it goes to 100 % as soon as it can", already=True)
    return status.candidate.revision


def of_abort(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    if status.candidate is None:
        return Asked("already: no version is being tried", already=True)
    return status.candidate.revision


def of_retry(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    if not holds(status, "Stalled"):
        return Asked("already: nothing that the manifest asks for is rejected", already=True)
    return status.rejected[-1].key.rpartition("-")[0] if status.rejected else "any"


def of_pause(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    return Asked("already: it is paused", already=True) if status.paused else current(status)


def of_resume(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    return current(status) if status.paused else Asked("already: it is not paused by a command", already=True)


def of_restart(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    if status.stable is None:
        raise NothingToDo("no version serves yet")
    if status.candidate and status.candidate.digest == status.stable.digest:
        return Asked("already: fresh servers of the same bundle are being tried", already=True)
    return status.stable.revision


def of_rollback(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:
    """An earlier version by revision, number or version; the last other one that was stable without a wish."""
    if status.stable is None:
        raise NothingToDo("no version serves yet")
    if wish in (status.stable.revision, str(status.stable.number), status.stable.version) and not status.candidate:
        return Asked(f"already: {status.stable.revision} serves", already=True)
    if wish is None and any(one.type == "Stalled" and one.reason == ROLLED_BACK for one in status.conditions):
        return Asked(f"already: {status.stable.version} serves since the last rollback", already=True)
    earlier = [one for one in status.history if one.outcome == PROMOTED and one.revision != status.stable.revision]
    for entry in reversed(earlier):
        if wish is None or named(entry, wish):
            return entry.revision
    known = ", ".join(f"{entry.version} ({entry.revision})" for entry in earlier) or "none"
    raise NothingToDo(f"no earlier version {wish or ''}".rstrip(), do=f"known are: {known}")


def named(entry: HistoryEntry, wish: str) -> bool:
    return wish in (entry.revision, str(entry.number), entry.version)


def current(status: ModelDeploymentStatus) -> str:
    version = status.candidate or status.stable
    return version.revision if version else "any"


SUBJECTS: dict[Verb, Ask] = {
    Verb.PROMOTE: of_candidate,
    Verb.PROMOTE_FULL: of_whole_candidate,
    Verb.ABORT: of_abort,
    Verb.RETRY: of_retry,
    Verb.PAUSE: of_pause,
    Verb.RESUME: of_resume,
    Verb.ROLLBACK_TO: of_rollback,
    Verb.RESTART: of_restart,
}
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


def await_state(target: Target, wanted: str, seconds: float) -> str:
    """Wait until a deployment is `promoted`, `ready` or `settled` by what its manifest says now; a sentence.

    Raises NotYet, or Failed when it was refused or rolled back, or when the manifest is not usable.
    """
    found: list[Outcome] = []

    def decided() -> bool:
        if not has_read_its_manifest(target):
            return False
        memory = target.memory()
        now = outcome(memory.status, memory.generation)
        if now is Outcome.UNSETTLED and wanted == "ready" and holds(memory.status, "Ready"):
            now = Outcome.SERVING
        found[:] = [now]
        return now is not Outcome.UNSETTLED

    if not until(decided, seconds):
        raise NotYet(f"{target.name} is not {wanted} after {seconds:.0f} s", do="see `tidegate status`")
    if found[0] is Outcome.SERVING:
        return f"{target.name} is {wanted}"
    why = why_stalled(target.memory().status)
    if wanted == "settled" or (wanted == "ready" and found[0] is Outcome.RETURNED):
        return f"{target.name} is {wanted}: {why}"
    raise Failed(why, where=target.name, reason="Rejected")


def has_read_its_manifest(target: Target) -> bool:
    """Whether the run has seen what its file holds now; raises Failed when it cannot use that."""
    run = target.state.run()
    if run.get("manifestDigest", "") != content_digest(Path(str(run.get("manifest", "")))):
        return False
    if run.get("problem"):
        raise Failed("the manifest is not used", where=str(run["problem"]), reason="ManifestInvalid")
    return True


def why_stalled(status: ModelDeploymentStatus) -> str:
    return next((f"{one.reason}: {one.message}" for one in status.conditions if one.type == "Stalled"), status.phase)
