"""What a person's command must name to do what is meant now, or why there is nothing to do.

`heeding` is the other side: what a function here gives for a status, an act there obeys (a test holds them together).
Asking twice for the same thing changes nothing; a command that could only be ignored is refused before it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate.api.status import HistoryEntry, ModelDeploymentStatus, RevisionStatus
from tidegate.errors import Failed
from tidegate.plan.history import PROMOTED, ROLLED_BACK
from tidegate.plan.outcome import holds
from tidegate.plan.phases import ACTIVE, Phase
from tidegate.plan.verbs import Verb


class NothingToDo(Failed):
    """The command makes no sense in this state of the deployment."""

    reason = "NothingToDo"


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a command: `already` when there was nothing to do any more."""

    message: str
    already: bool = False
    taken: bool = True


Subject = Callable[[ModelDeploymentStatus, "str | None"], "str | Asked"]


def already(what: str) -> Asked:
    return Asked(f"already: {what}", already=True)


def of_step(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:
    """The candidate and the step that its hold is ended of; a wish is the step that is meant."""
    trial = tried(status)
    if isinstance(trial, Asked):
        return trial
    step, passed = (status.rollout.step, status.rollout.promoted_step) if status.rollout else (0, -1)
    wanted = int(wish) if wish else step
    if wanted < step or passed == wanted:
        return already(f"step {wanted} is passed" + (" as soon as it can be" if wanted == step else ""))
    if wanted > step:
        raise NothingToDo(f"step {wanted} is not reached, it is at step {step}", do="wait until it is")
    if step == 0:
        raise NothingToDo(
            "no step is held yet: the new version still proves itself", do="wait for the first step, or add --full"
        )
    return f"{trial.revision}/{step}"


def of_candidate(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    trial = tried(status)
    if isinstance(trial, Asked):
        return trial
    if status.rollout and status.rollout.full:
        return already("it goes to 100 % as soon as it can")
    return trial.revision


def tried(status: ModelDeploymentStatus) -> RevisionStatus | Asked:
    """The version that is on its way up."""
    if status.candidate and phase_of(status) in ACTIVE:
        return status.candidate
    if status.candidate:
        raise NothingToDo(
            f"version {status.candidate.version} is not being tried any more", do="see `tidegate status` for why"
        )
    if holds(status, "Promoted"):
        return already("the version is promoted")
    raise NothingToDo("no version is being tried", do="see `tidegate status`; a rejected one needs `tidegate retry`")


def of_abort(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    """The candidate; after the promotion the version that serves, as long as the old one is warm."""
    phase = phase_of(status)
    if status.candidate and phase in ACTIVE:
        return status.candidate.revision
    if status.candidate:
        return already(f"version {status.candidate.version} is not being tried any more")
    if phase == Phase.WATCHING and status.stable:
        return status.stable.revision
    return already("no version is being tried")


def of_retry(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    if not holds(status, "Stalled"):
        return already("nothing that the manifest asks for is rejected")
    return status.rejected[-1].key.rpartition("-")[0] if status.rejected else "any"


def of_pause(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    return already("it is paused") if status.paused else current(status)


def of_resume(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    return current(status) if status.paused else already("it is not paused by a command")


def of_restart(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:  # noqa: ARG001
    if status.stable is None:
        raise NothingToDo("no version serves yet")
    if status.restart:
        return already("fresh servers of the same bundle are on their way")
    if status.candidate and status.candidate.digest == status.stable.digest:
        return already("fresh servers of the same bundle are being tried")
    if status.candidate:
        raise NothingToDo(
            f"version {status.candidate.version} is being tried", do="wait until that ends, or `tidegate abort` it"
        )
    return status.stable.revision


def of_rollback(status: ModelDeploymentStatus, wish: str | None) -> str | Asked:
    """An earlier version by revision, number or version; the last other one that was stable without a wish."""
    stable = status.stable
    if stable is None:
        raise NothingToDo("no version serves yet")
    if wish in (stable.revision, str(stable.number), stable.version) and not status.candidate:
        return already(f"{stable.revision} serves")
    if wish is None and any(one.type == "Stalled" and one.reason == ROLLED_BACK for one in status.conditions):
        return already(f"{stable.version} serves since the last rollback")
    entry = earlier(status, stable, wish)
    return already(f"{entry.version} is on its way back") if status.rollback == entry.revision else entry.revision


def earlier(status: ModelDeploymentStatus, stable: RevisionStatus, wish: str | None) -> HistoryEntry:
    """The latest version that served and is meant; the stable one is, when it alone is to serve again."""
    served = [one for one in status.history if one.outcome == PROMOTED]
    others = [one for one in served if one.revision != stable.revision or (wish and status.candidate)]
    for entry in reversed(others):
        if wish is None or wish in (entry.revision, str(entry.number), entry.version):
            return entry
    known = ", ".join(f"{entry.version} ({entry.revision})" for entry in others) or "none"
    raise NothingToDo(f"no earlier version {wish or ''}".rstrip(), do=f"known are: {known}")


def current(status: ModelDeploymentStatus) -> str:
    version = status.candidate or status.stable
    return version.revision if version else "any"


def phase_of(status: ModelDeploymentStatus) -> str:
    return status.rollout.phase if status.rollout else ""


SUBJECTS: Mapping[Verb, Subject] = {
    Verb.PROMOTE: of_step,
    Verb.PROMOTE_FULL: of_candidate,
    Verb.ABORT: of_abort,
    Verb.RETRY: of_retry,
    Verb.PAUSE: of_pause,
    Verb.RESUME: of_resume,
    Verb.ROLLBACK_TO: of_rollback,
    Verb.RESTART: of_restart,
}
