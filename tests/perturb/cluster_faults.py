"""One thing that goes wrong in a story, from a frame on; numbers count from the frame.

Everything here is a plain value or a function of a module: a stage is copied with what is planned in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil

from tests.fakes.faults import Call
from tests.fakes.watching import Change, once

from tidegate.cluster.watch import KINDS
from tidegate.plan.manifests.identity import Kind

from .cluster_stage import Stage
from .cluster_timers import OnItsWay

RELIST_AFTER = 90.0  # seconds until a watch that lost something begins anew
OUTAGE = LAG = 300.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a run, by a name that tells it from others."""

    name: str
    strike: Callable[[Stage], object]


# -- the process -------------------------------------------------------------------------------------


def crash(after: int, down_for: float = 0.0) -> Fault:
    """The process is killed when so many more writes took effect."""
    return Fault(f"crash after {after}, away {down_for}", partial(_crash, after=after, down_for=down_for))


def _crash(stage: Stage, after: int, down_for: float) -> None:
    faults = stage.operator.api.faults
    faults.crash_after_write = faults.writes + after
    stage.down_for = down_for


def depose() -> Fault:
    """Another process takes over while this one works on."""
    return Fault("deposed", Stage.depose)


@dataclass(frozen=True, slots=True)
class Gate:
    """A network in which one write stays on its way."""

    write: int

    async def __call__(self, call: Call) -> None:
        if call.write == self.write:
            await OnItsWay()


def late(nth: int, seconds: float) -> Fault:
    """The n-th write is under way when another process takes over, and arrives some time later."""
    return Fault(f"write {nth} arrives {seconds} s late", partial(_late, nth=nth, seconds=seconds))


def _late(stage: Stage, nth: int, seconds: float) -> None:
    faults = stage.operator.api.faults
    faults.before = Gate(faults.sent + nth)
    stage.after(seconds, _arrives)


def _arrives(stage: Stage) -> None:
    for process in stage.former:
        if process.stuck:
            stage.witness.forgives = True
            process.go_on()
            stage.witness.forgives = False


# -- calls --------------------------------------------------------------------------------------------


def refuse(nth: int, error: str, *, after: bool = False, at_once: bool = True) -> Fault:
    """The n-th write from here fails once; `at_once`: there is news of the deployment right then."""
    name = f"write {nth}: {error}{' after it took effect' if after else ''}{'' if at_once else ', and a pause'}"
    return Fault(name, partial(_refuse, nth=nth, error=error, after=after, at_once=at_once))


def _refuse(stage: Stage, nth: int, error: str, after: bool, at_once: bool) -> None:
    faults = stage.operator.api.faults
    faults.fail_write(faults.sent + nth, error, after=after)
    stage.operator.news_at_once = at_once


def stale(nth: int, seconds: float = 30.0) -> Fault:
    """The answer to the n-th write is lost, and whoever reads for a while is shown what there was before it."""
    return Fault(f"write {nth}: no answer, and stale reads", partial(_stale, nth=nth, seconds=seconds))


def _stale(stage: Stage, nth: int, seconds: float) -> None:
    _refuse(stage, nth, "timeout", after=True, at_once=True)
    stage.operator.api.faults.freeze(stage.cluster.objects.version, *KINDS)
    stage.after(seconds, _is_fresh)


def _is_fresh(stage: Stage) -> None:
    if stage.process:
        stage.process.api.faults.up()


def conflicts(times: int) -> Fault:
    """The next writes of the status conflict."""
    return Fault(f"{times} conflicts", partial(_conflict, times=times))


def _conflict(stage: Stage, times: int) -> None:
    stage.operator.api.faults.fail(of_status, "409", times=times)


def of_status(call: Call) -> bool:
    return call.verb == "put_status"


def outage(seconds: float = OUTAGE) -> Fault:
    """No answer to anything, and no news, for so long; then the watches begin anew."""
    return Fault(f"outage {seconds}", partial(_outage, seconds=seconds))


def _outage(stage: Stage, seconds: float) -> None:
    stage.operator.api.faults.down()
    stage.operator.watch.hold()
    stage.after(seconds, _is_up)


def _is_up(stage: Stage) -> None:
    if stage.process:
        stage.process.api.faults.up()
        stage.process.watch.release()
        stage.process.watch.relist()


# -- watches ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Copies:
    """How often each event arrives."""

    first: int
    last: int
    times: int

    def __call__(self, change: Change) -> int:
        return self.times if self.first <= change.number <= self.last else 1


def lose(nth: int, count: int = 1) -> Fault:
    """So many events from the n-th on are lost; later the watches begin anew."""
    return Fault(f"event {nth} and {count - 1} more lost", partial(_lose, nth=nth, count=count))


def _lose(stage: Stage, nth: int, count: int) -> None:
    _arrive(stage, nth, count, 0)
    stage.after(RELIST_AFTER, relist, matters=count > 1)


def double(nth: int) -> Fault:
    """The n-th event arrives twice."""
    return Fault(f"event {nth} doubled", partial(_arrive, nth=nth, count=1, times=2))


def _arrive(stage: Stage, nth: int, count: int, times: int) -> None:
    watch = stage.operator.watch
    watch.copies = Copies(watch._count + nth, watch._count + nth + count - 1, times)


def relist(stage: Stage) -> None:
    if stage.process:
        stage.process.watch.copies = once
        stage.process.watch.relist()


def lag(seconds: float, *kinds: Kind, newest_only: bool = False) -> Fault:
    """For five minutes events of these kinds arrive only every so many seconds, the others at once."""
    times = ceil(LAG / seconds)
    name = f"{[kind.kind for kind in kinds]} {seconds} s late"
    return Fault(name, partial(_lag, times=times, seconds=seconds, kinds=kinds, newest_only=newest_only))


def _lag(stage: Stage, times: int, seconds: float, kinds: tuple[Kind, ...], newest_only: bool) -> None:
    if stage.process:
        stage.process.watch.release(*kinds, newest_only=newest_only)
    if times:
        if stage.process:
            stage.process.watch.hold(*kinds)
        again = partial(_lag, times=times - 1, seconds=seconds, kinds=kinds, newest_only=newest_only)
        stage.after(seconds, again)
