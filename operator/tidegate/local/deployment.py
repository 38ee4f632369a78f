"""One deployment of a run: look, plan, remember, carry out, and again.

    observe   servers, the proxy's split, records, commands, evidence        (this module)
    plan      tidegate.plan decides; nothing here does
    remember  records, status and the stable marker, flushed to the disk; then what happened is told
    carry out servers up, then the route, then servers down; shadow and golden samples

A plan says the whole of what is wanted, so a turn that fails half-way is mended by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.errors import TidegateError
from tidegate.internal.evidence import read_samples
from tidegate.internal.requests import ReadyServer, Requests
from tidegate.local.bundles import Bundles
from tidegate.local.front import Front, wanted_route, with_ports
from tidegate.local.routes import ModelRoute
from tidegate.local.servers import Fleet, Workplace
from tidegate.local.state import DeploymentState
from tidegate.local.timeline import Course
from tidegate.plan.observed import Failure, FailureClass, Observed, Resolved, RevisionObserved, RevisionRecord
from tidegate.plan.plan import plan as decide
from tidegate.plan.wanted import Event, Plan, ResolveWanted

LEAST_PAUSE = 0.05  # between two turns, however many things change
AFTER_TROUBLE = 1.0
LONGEST_PAUSE = timedelta(seconds=10)  # what is shown is never older


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a deployment needs from the run."""

    state: DeploymentState
    place: Workplace
    front: Front
    bundles: Bundles
    tell: Callable[[str, Event], None]
    changed: asyncio.Event


class Deployment:
    """A ModelDeployment as it is served here."""

    def __init__(self, name: str, spec: ModelDeploymentSpec, around: Surroundings) -> None:
        memory = around.state.load()
        self.name = name
        self.spec = spec
        self.status: ModelDeploymentStatus = memory.status
        self.generation = memory.generation + (memory.spec != spec)
        self.fleet = Fleet(around.place, self._bundle)
        self.course = Course(around.state.timeline, time.time())
        self._around = around
        self._records = dict(memory.records)
        self._resolved: Resolved | None = None
        self._resolving: tuple[str, int, asyncio.Task[None]] | None = None
        self._requests = Requests(self._ready_servers)
        self._route = ModelRoute(name)
        self._saved: tuple[int, ModelDeploymentSpec, ModelDeploymentStatus] | None = None
        self._trouble = ""
        self._refusal: Failure | None = None  # of the stable version's bytes, as it was told

    async def _bundle(self, record: RevisionRecord) -> Path:
        return await self._around.bundles.local(record, self.spec.bundle)

    def apply(self, spec: ModelDeploymentSpec) -> None:
        """Take a new spec; the same one again changes nothing."""
        if spec != self.spec:
            self.spec = spec
            self.generation += 1
            with contextlib.suppress(OSError):  # the next turn tells of it
                self._around.state.save(self.generation, spec, self.status)
            self._around.changed.set()

    def remember_again(self) -> None:
        """Write what is known once more: what was written is gone."""
        for record in self._records.values():
            self._around.state.save_record(record)
        self._around.state.save(self.generation, self.spec, self.status)
        self._around.changed.set()

    async def serve(self) -> None:
        """Turn after turn until cancelled."""
        while True:
            self._around.changed.clear()
            pause = await self._turn_or_trouble()
            await asyncio.sleep(LEAST_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause - LEAST_PAUSE)):
                    await self._around.changed.wait()

    async def _turn_or_trouble(self) -> float:
        """One turn; what fails is told once and tried again, and what serves goes on."""
        try:
            pause = await self.turn()
            self._trouble = ""
        except (TidegateError, OSError) as error:
            pause = self._in_trouble("LocalError", str(error))
        except Exception as error:  # noqa: BLE001  (a mistake of ours must not take a serving model down)
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            pause = self._in_trouble("InternalError", f"{type(error).__name__} in {where}: {error}")
        return pause

    def _in_trouble(self, reason: str, message: str) -> float:
        if message != self._trouble:
            self._trouble = message
            self._around.tell(self.name, Event("Warning", reason, message))
        return AFTER_TROUBLE

    async def turn(self) -> float:
        """Look, plan, remember, carry out; the seconds until the next turn at the latest."""
        await self._follow_servers()
        observed = await self.observe()
        plan = decide(self.spec, self.status, observed, datetime.now(UTC))
        self._remember(plan)  # no await before the next line: a run that ends now has told what its status says
        self._tell(plan, observed)
        await self._carry_out(plan)
        interval = self.spec.rollout.analysis.interval
        return min(interval, LONGEST_PAUSE, plan.look_again or interval).total_seconds()

    async def _follow_servers(self) -> None:
        """Let the proxy know at once which servers came and went; the shares stay."""
        route = with_ports(self._route, self.fleet)
        if route != self._route:
            self._route = route
            await self._around.front.set(route)

    async def observe(self) -> Observed:
        """What there is now; evidence of servers that do not answer is left out."""
        return Observed(
            generation=self.generation,
            resolved=self._resolved,
            records=dict(self._records),
            revisions={revision: self._seen(revision) for revision in self._revisions()},
            route=self._around.front.observed(self.name),
            stable_marker=self._around.state.stable(),
            commands=self._around.state.commands(),
            samples=await read_samples(server.address for server in self._ready_servers()),
            environment=self._around.bundles.environment,
        )

    def _ready_servers(self) -> list[ReadyServer]:
        return [ReadyServer(server.revision, server.internal) for server in self.fleet.servers if server.ready]

    def _revisions(self) -> set[str]:
        return set(self._records) | {server.revision for server in self.fleet.servers}

    def _seen(self, revision: str) -> RevisionObserved:
        servers = self.fleet.of(revision)
        failures = [server.failure for server in servers if server.failure]
        return RevisionObserved(
            revision,
            replicas=len(servers),
            ready=sum(server.ready for server in servers),
            device=servers[0].device if servers else "",
            failure=failures[0] if failures else None,
        )

    def _remember(self, plan: Plan) -> None:
        state = self._around.state
        for wanted in plan.revisions:
            if wanted.record.revision not in self._records:
                state.save_record(wanted.record)
                self._records[wanted.record.revision] = wanted.record
        now = (self.generation, self.spec, plan.status)
        if now != self._saved:
            state.save(*now)
            self._saved = now
        self.status = plan.status

    async def _carry_out(self, plan: Plan) -> None:
        """Servers up, the route, servers down: in this order no request meets a server that is not there."""
        self._resolve(plan.resolve)
        self.fleet.start(plan.revisions)
        self._route = wanted_route(self.name, self.spec, plan, self.fleet, self._route)
        before = self._around.front.observed(self.name)
        await self._around.front.set(self._route)
        in_use = self._around.front.observed(self.name)
        if in_use != before:
            self._around.changed.set()  # the next plan may build on it
        if plan.stable:
            self._around.state.save_stable(plan.stable)
        self.fleet.stop_others(plan.revisions, in_use.weights)
        await self._requests.carry_out(plan, self.spec.rollout.analysis.interval)
        self._forget(plan)

    def _forget(self, plan: Plan) -> None:
        """Drop the records, and the bundles, that no plan needs any more."""
        kept = plan.keep | {wanted.record.revision for wanted in plan.revisions}
        if gone := set(self._records) - kept - {server.revision for server in self.fleet.servers}:
            self._around.state.drop_records(frozenset(set(self._records) - gone))
            self._records = {name: record for name, record in self._records.items() if name not in gone}

    def _resolve(self, wanted: ResolveWanted | None) -> None:
        """Have one resolution under way per question; an answer to another question is dropped."""
        if wanted is None or (self._resolving and self._resolving[:2] == (wanted.key, wanted.attempt)):
            return
        if self._resolving:
            self._resolving[2].cancel()
        self._resolving = (wanted.key, wanted.attempt, asyncio.create_task(self._ask(wanted)))

    async def _ask(self, wanted: ResolveWanted) -> None:
        answer = await self._around.bundles.resolve(wanted)
        found = None if isinstance(answer, Failure) else answer
        failure = answer if isinstance(answer, Failure) else None
        self._resolved = Resolved(wanted.key, wanted.attempt, found, failure)
        self._around.changed.set()

    def _tell(self, plan: Plan, observed: Observed) -> None:
        for event in (*plan.events, *self._new_refusal(plan, observed)):
            self._around.tell(self.name, event)
        self.course.observe(observed.samples)
        with contextlib.suppress(OSError):  # a full disk costs rows of a report, not what the plan asks for
            self.course.note(plan, self.fleet, time.time(), self.spec.rollout.analysis.interval)

    def _new_refusal(self, plan: Plan, observed: Observed) -> list[Event]:
        """A stable version whose own bytes are refused now: no plan moves for that, so no event of a plan tells."""
        before, seen = self._refusal, observed.revisions.get(plan.stable)
        failure = seen.failure if seen else None
        self._refusal = failure if failure and failure.class_ is FailureClass.CONTENT else None
        if self._refusal is None or self._refusal == before:
            return []
        version = plan.status.stable.version if plan.status.stable else ""
        what = f"version {version}, which has served, cannot be started again: {self._refusal.message}"
        return [Event("Warning", self._refusal.reason, what, plan.stable)]

    async def stop(self) -> None:
        """Drain the servers; what is remembered stays for the next start."""
        if self._resolving:
            self._resolving[2].cancel()
        await self.fleet.stop()
