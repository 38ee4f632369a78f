"""Many runs of one story in one test: all of them are told, then the first few that end otherwise are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .cluster_faults import Fault
from .cluster_known import known as mistakes
from .cluster_story import Frame, Reference, told
from .cluster_tally import ran

SHOWN = 3


def all_end_the_same(family: str, known: Reference, runs: Iterable[tuple[Frame, Fault]]) -> None:
    """Each of these faults, from its frame on, changes nothing about the end."""
    failed = [f"{fault.name}: {found}" for frame, fault in runs if (found := _found(family, frame, fault, known))]
    shown = "\n".join(failed[:SHOWN])
    assert not failed, f"{known.story.name}: {len(failed)} runs end otherwise\n{shown}"


def _found(family: str, frame: Frame, fault: Fault, known: Reference) -> str:
    try:
        ran(family, told(frame, fault, known))
    except AssertionError as error:
        why = mistakes(known.story.name, str(error))
        ran(family, "known" if why else "ended")
        return "" if why else f"(at {frame.run.stage.phase}) {error}"
    return ""


def every(nth: int, of: Iterable[tuple[Frame, int]], start: int = 0) -> Iterator[tuple[Frame, int]]:
    """Each n-th of them, the first at `start`."""
    yield from (one for i, one in enumerate(of) if i % nth == start % nth)
