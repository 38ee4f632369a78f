"""Stories as data, and their runs: the clean one, which is kept with all its moments, and those with one fault.

A story is a list of acts; each is done or awaited when nothing else is left to do at that moment.  The clean run keeps
a copy of everything before each turn of the operator (a frame) and a fingerprint of everything whenever time is about
to pass.  A run with a fault starts from the frame before it.  When its fingerprint is that of the clean run at the same
moment of the story, it goes on as that one did, and is over; else it goes to the end, which must be the same but for
times, names of processes and counts of attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from tests.fakes.faults import Call

from .cluster_endings import Ending, ending, outcome
from .cluster_fingerprints import fingerprint
from .cluster_stage import Stage

PATIENCE = 1800.0  # seconds until an awaited moment: with a fault on the way some take long
RESYNCS = 2
MOST_DIFFERENCES = 6


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done (`do`) or awaited (`until`), in a story's words."""

    name: str
    do: Callable[[Stage], object] | None = None
    until: Callable[[Stage], bool] | None = None


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    acts: tuple[Act, ...]
    begins: Callable[[], Stage]  # what there is before the first act


class Fault(Protocol):
    """What is done to a stage; the name tells it from others."""

    @property
    def name(self) -> str: ...
    def strike(self, stage: Stage) -> object: ...


Place = tuple[int, float]  # which act is due, and when


@dataclass(repr=False)
class Run:
    """A story in the middle."""

    story: Story
    stage: Stage
    cursor: int = 0
    since: float = 0.0  # when the present act became due

    def copy(self) -> Run:
        return Run(self.story, self.stage.copy(), self.cursor, self.since)

    @property
    def place(self) -> Place:
        return self.cursor, self.stage.clock.monotonic()

    @property
    def over(self) -> bool:
        return self.cursor >= len(self.story.acts)

    def go(self, stop: Callable[[Run], bool] | None = None, before_turn: Callable[[], object] | None = None) -> bool:
        """To the end, or until `stop` says so at a moment when time would have to pass; whether it did."""
        self.stage.work(before_turn)
        while not self.over:
            act = self.story.acts[self.cursor]
            if act.do:
                act.do(self.stage)
                self.stage.stir()
                self._next()
                self.stage.work(before_turn)
            elif act.until and act.until(self.stage):
                self._next()
            elif stop and stop(self):
                return True
            else:
                self._wait(act)
                self.stage.work(before_turn)
        return stop is not None and stop(self)

    def _next(self) -> None:
        self.cursor += 1
        self.since = self.stage.clock.monotonic()

    def _wait(self, act: Act) -> None:
        waited = self.stage.clock.monotonic() - self.since
        if waited > PATIENCE:
            status = self.stage.view.status
            raise AssertionError(f"after {waited:.0f} s still not: {act.name}; {status.phase} {status.rollout}")
        self.stage.advance()


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """Everything as it was before a turn; writes and events of the operator's life are numbered from 1."""

    run: Run
    written: int
    heard: int
    print: str


@dataclass(repr=False)
class Reference:
    """The clean run."""

    story: Story
    frames: list[Frame] = field(default_factory=list)
    prints: dict[Place, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)  # the writes of the operator's life
    end: Ending = field(default_factory=dict)
    outcome: Ending = field(default_factory=dict)
    written: int = 0  # before the first act
    heard: int = 0
    events: int = 0

    def rejoined(self, run: Run) -> bool:
        """Whether a run has become this one again."""
        known = self.prints.get(run.place)
        return known is not None and known == fingerprint(run.stage)

    def writes(self) -> Iterator[tuple[Frame, int]]:
        """Every write: the frame before it, and its number from there."""
        yield from self._numbered(range(self.written + 1, len(self.calls) + 1), [one.written for one in self.frames])

    def news(self) -> Iterator[tuple[Frame, int]]:
        """Every event, likewise."""
        yield from self._numbered(range(self.heard + 1, self.events + 1), [one.heard for one in self.frames])

    def _numbered(self, numbers: range, before: list[int]) -> Iterator[tuple[Frame, int]]:
        for number in numbers:
            at = max(i for i, done in enumerate(before) if done < number)
            yield self.frames[at], number - before[at]

    def moments(self) -> list[Frame]:
        """The frames without those that differ from the one before in figures only."""
        seen: dict[tuple[object, ...], Frame] = {}
        for frame in self.frames:
            status = frame.run.stage.status
            rollout = status.rollout
            where = (
                status.phase,
                status.stable and status.stable.revision,
                rollout and (rollout.phase, rollout.weight),
            )
            seen.setdefault(where, frame)
        return list(seen.values())


def clean(story: Story) -> Reference:
    """Tell the story without a fault."""
    found = Reference(story)
    run = Run(story, story.begins().copy())
    process = run.stage.operator
    found.written, found.heard = process.api.faults.writes, process.watch._count

    def keep_frame() -> None:
        print_ = fingerprint(run.stage)
        found.frames.append(Frame(run.copy(), process.api.faults.writes, process.watch._count, print_))

    def keep_print(now: Run) -> bool:
        found.prints[now.place] = fingerprint(now.stage)
        return False

    keep_frame()
    run.go(keep_print, keep_frame)
    settle_stage(run.stage)
    found.calls, found.events = list(process.api.faults.done), process.watch._count
    found.end, found.outcome = ending(run.stage), outcome(run.stage)
    return found


@cache
def reference(story: Story) -> Reference:
    return clean(story)


Proof = tuple[float, str]  # when a run had become the clean one again, and its fingerprint then
PROVEN: dict[tuple[str, str], Proof] = {}


def told(frame: Frame, fault: Fault, known: Reference) -> str:
    """The story from a frame on, with a fault: it ends as it does without.  How that was found out.

    Stories share their beginnings.  What a fault does within the moment of its frame depends on nothing that is to
    come; another story that was the same then need not be told again.
    """
    proof = PROVEN.get((frame.print, fault.name))
    if proof and known.prints.get((frame.run.cursor, proof[0])) == proof[1]:
        return "shared"
    run = frame.run.copy()
    now = run.stage.clock.monotonic()
    fault.strike(run.stage)
    if run.go(known.rejoined):
        if run.place == (frame.run.cursor, now):
            PROVEN[frame.print, fault.name] = (now, known.prints[run.place])
        return "rejoined"
    settle_stage(run.stage)
    found = ending(run.stage)
    assert found == known.end, differences(found, known.end)
    return "ended"


def settle_stage(stage: Stage) -> None:
    """I10, I14: when nothing is changed any more nothing is written any more, and the status is up to date."""
    stage.pass_time(400)  # Jobs that have ended go
    before, told_before = stage.operator.api.faults.sent, len(stage.told)
    stage.pass_time(RESYNCS * 600 + 60)
    written = [str(call) for call in stage.operator.api.faults.done[before:]]
    assert stage.operator.api.faults.sent == before, f"I10 writes at rest: {written}"
    assert len(stage.told) == told_before, f"I10 events at rest: {stage.told[told_before:]}"
    if stage.view.owner:
        assert stage.status.observed_generation == stage.view.owner["metadata"]["generation"], "I14"


def differences(found: Ending, wanted: Ending) -> str:
    """What is not as it is without the fault."""
    lines = list(_differences(found, wanted, ""))
    return "; ".join(["the end is another one", *lines[:MOST_DIFFERENCES]])


def _differences(found: Any, wanted: Any, where: str) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted({*found, *wanted}):
            yield from _differences(found.get(name), wanted.get(name), f"{where}.{name}")
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from _differences(one, other, f"{where}[{i}]")
    elif found != wanted:
        yield f"{where} is {str(found)[:120]} and should be {str(wanted)[:120]}"
