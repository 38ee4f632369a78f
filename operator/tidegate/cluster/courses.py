"""Where the course of a deployment's rollouts is kept in a cluster: a ConfigMap of its own, `NAME-course`.

Written seldom: when a rollout is over, decisions on its way within a minute, and figures in between at most every few
minutes.  It is read only to be written, and carries no label that a watch asks for, so that the operator's memory holds
none of it.  Bounded, and a copy for people: nothing is ever decided by it, and what cannot be written holds up nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidegate.cluster.api import Api, Key
from tidegate.cluster.errors import AlreadyExists, ClusterError, Conflict
from tidegate.cluster.logs import about, cleaned
from tidegate.plan.course import Row, kept, lines_of, measured, row
from tidegate.plan.manifests.identity import CONFIG_MAP, Owner, head, owns
from tidegate.plan.phases import Phase, Settled
from tidegate.plan.told import COURSE_KEY, course_name, lines_in
from tidegate.plan.wanted import Plan

log = logging.getLogger(__name__)

LIMIT = 64 * 1024  # bytes
FIGURES_EVERY = 60.0  # seconds
DECISIONS_WITHIN, FIGURES_WITHIN = 60.0, 300.0  # a rollout's quick steps are one write, and so is a whole first version
ENDS_EVERY = 15.0  # at the most
LOOK_EVERY, AFTER_TROUBLE = 10.0, 30.0
MOST_WAITING = 100
COMPARED = frozenset({Phase.SHIFTING, Phase.HOLDING, Phase.WATCHING})


@dataclass(slots=True)
class Course:
    """Rows of one deployment that are not written yet."""

    owner: Owner
    rows: list[Row] = field(default_factory=list)
    rowed_at: float = float("-inf")  # when the last row was made
    since: float = 0.0  # when the first of those that wait was made
    trouble: str = ""  # why it could not be written last
    again_at: float = float("-inf")  # not before
    written_at: float = float("-inf")

    def note(self, plan: Plan, at: datetime, now: float) -> None:
        """Make a row of a decision at once, of mere figures once a minute."""
        rollout = plan.status.rollout
        compared = rollout is not None and rollout.phase in COMPARED
        if plan.decisions or (compared and now - self.rowed_at >= FIGURES_EVERY):
            self.since = self.since if self.rows else now
            self.rows = [*self.rows, row(plan, at, measured(plan))][-MOST_WAITING:]
            self.rowed_at = now

    def due(self, now: float) -> bool:
        """Whether to write: a rollout is over, or what is on its way has waited long enough."""
        if not self.rows or now < self.again_at:
            return False
        decided = [event for one in self.rows for event in one["events"]]
        if decided and over(decided[-1]):
            return now - self.written_at >= ENDS_EVERY
        return now - self.since >= (DECISIONS_WITHIN if decided else FIGURES_WITHIN)


class Courses:
    """`chronicle` never waits; `run` writes, as a task of its own, and `finish` what is left at the end."""

    def __init__(self, api: Api, clock: Callable[[], datetime], is_there: Callable[[Owner], bool]) -> None:
        self._api = api
        self._clock = clock
        self._is_there = is_there
        self._known: dict[Key, Course] = {}
        self._news = asyncio.Event()

    def chronicle(self, owner: Owner, plan: Plan) -> None:
        """Remember what is to be written of a plan whose status is written."""
        key, now = (owner.namespace, owner.name), time.monotonic()
        course = self._known.get(key)
        if course is None or course.owner != owner:
            course = self._known[key] = Course(owner)
        course.note(plan, self._clock(), now)
        if course.due(now):
            self._news.set()
        elif not course.rows and plan.status.rollout is None:
            del self._known[key]

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        while True:
            self._news.clear()
            await self.write()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._news.wait()

    async def finish(self, seconds: float) -> None:
        """Write what waits, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.write(everything=True)

    async def write(self, *, everything: bool = False) -> None:
        for key, course in [*self._known.items()]:
            if not self._is_there(course.owner):
                del self._known[key]
            elif course.rows and (everything or course.due(time.monotonic())):
                await self._write(key, course)

    async def _write(self, key: Key, course: Course) -> None:
        rows = course.rows
        try:
            await append(self._api, course.owner, rows)
        except ClusterError as error:
            if str(error) != course.trouble:
                with about(namespace=key[0], name=key[1]):
                    log.warning("the course of the rollout is not written: %s", error)
            course.trouble, course.again_at = str(error), time.monotonic() + AFTER_TROUBLE
        else:
            course.rows, course.trouble, course.written_at = course.rows[len(rows) :], "", time.monotonic()


async def append(api: Api, owner: Owner, rows: list[Row]) -> None:
    """Add rows to what is kept; those that are there already are not added again.

    Raises Conflict when the ConfigMap is somebody else's, or was written meanwhile.
    """
    lines = lines_of(cleaned(rows))
    new = config_map(owner, kept(lines, LIMIT))
    if begins(rows):
        with contextlib.suppress(AlreadyExists):  # an attempt whose answer never came, or a status that was lost
            await api.create(new)
            return
    there = await api.get(CONFIG_MAP, owner.namespace, course_name(owner.name))
    if there is None:
        await api.create(new)
        return
    if not owns(owner, there):
        where = f"ConfigMap {owner.namespace}/{course_name(owner.name)}"
        raise Conflict("it exists and is not ours: remove it, or name this deployment otherwise", where=where)
    known = lines_in(there)
    added = [line for line in lines if line not in known[-MOST_WAITING:]]
    seen = {name: there["metadata"][name] for name in ("uid", "resourceVersion")}
    await api.apply(config_map(owner, kept([*known, *added], LIMIT), seen))


def over(decision: Mapping[str, Any]) -> bool:
    """Whether nothing is under way after it: how a rollout ended is what people look for.  A first version is none."""
    return bool(decision["before"]["stable"]) and decision["after"]["phase"] == Settled.SERVING


def begins(rows: list[Row]) -> bool:
    """Whether nothing can have been written before."""
    return any(event["number"] == 1 for event in rows[0]["events"])


def config_map(owner: Owner, lines: list[str], seen: Mapping[str, str] | None = None) -> dict[str, Any]:
    about = {
        "name": course_name(owner.name),
        "namespace": owner.namespace,
        "ownerReferences": [owner.reference],
        **(seen or {}),
    }
    return {**head(CONFIG_MAP, about), "data": {COURSE_KEY: "".join(f"{line}\n" for line in lines)}}
