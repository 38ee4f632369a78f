"""Many runs of one story in one test: all of them are told, then the first few that end otherwise are shown.

Some families take only a part of what there is, spread over stories and phases so that every kind of write, event and
phase is met; TIDEGATE_PERTURB=all in the environment takes everything, and some fifteen minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .cluster_faults import Fault
from .cluster_story import Frame, Reference, told
from .cluster_tally import ran

SHOWN = 3
ALL = os.environ.get("TIDEGATE_PERTURB") == "all"
T = TypeVar("T")


def all_end_the_same(family: str, known: Reference, runs: Iterable[tuple[Frame, Fault]]) -> None:
    """Each of these faults, from its frame on, changes nothing about the end."""
    failed = [f"{fault.name}: {found}" for frame, fault in runs if (found := _found(family, frame, fault, known))]
    shown = "\n".join(failed[:SHOWN])
    assert not failed, f"{known.story.name}: {len(failed)} runs end otherwise\n{shown}"


def _found(family: str, frame: Frame, fault: Fault, known: Reference) -> str:
    try:
        ran(family, told(frame, fault, known))
    except AssertionError as error:
        return f"(at {frame.run.stage.phase}) {error}"
    return ""


def every(nth: int, of: Iterable[T], start: int = 0) -> Iterator[T]:
    """Each n-th of them, the first at `start`."""
    yield from (one for i, one in enumerate(of) if ALL or i % nth == start % nth)
