"""One deployment, one turn: look, plan, remember, carry out.

    look       the cache that the watches fill, and the counters of both versions while a rollout runs
    plan       tidegate.plan decides; nothing here does
    remember   records of new revisions, then the status, by compare-and-swap: whoever was faster is believed
    carry out  servers up, then the front Service, then servers down; shadow and golden samples
    tell       events and decisions, after the status that they speak of is written

A plan says the whole of what is wanted, so a turn that fails half-way is mended by the next one, and a crash between
any two writes costs nothing.  What the status need not say yet (figures, for up to a minute) is kept here; losing it
loses a minute of evidence.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import ValidationError

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.api import Api, Key
from tidegate.cluster.asking import Heard
from tidegate.cluster.autoscalers import blind_in
from tidegate.cluster.errors import (
    AlreadyExists,
    ApiDown,
    Conflict,
    Forbidden,
    NotFound,
    QuotaExceeded,
    Refused,
)
from tidegate.cluster.failures import refusal
from tidegate.cluster.gateways import GatewayReader
from tidegate.cluster.memory import Memory, Place, Unsure, read_status
from tidegate.cluster.nodes import NO_SIGHT, Sight, in_question
from tidegate.cluster.observe import Look, Object, led_to, observed, scaler, taken
from tidegate.cluster.seen import Cache
from tidegate.plan.manifests.children import Apply, Create, Delete, Effect, Effects, Scale, effects, seen_of
from tidegate.plan.manifests.effects import Edit
from tidegate.plan.manifests.identity import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    ENDPOINTS,
    JOB,
    MODEL_DEPLOYMENT,
    POD,
    ROUTE_KINDS,
    SERVICE,
    Kind,
    Owner,
    kind_of,
    owns,
    route_name,
)
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.manifests.routes import Gateways, by_gateway
from tidegate.plan.manifests.unheeded import unheeded
from tidegate.plan.observed import Failure
from tidegate.plan.phases import Phase
from tidegate.plan.plan import plan as decide
from tidegate.plan.samples import PodSample
from tidegate.plan.wanted import Event, Plan
from tidegate.plan.writing import write_after

log = logging.getLogger(__name__)

OBSTACLE_AGAIN = timedelta(seconds=30)
OUTCOMES = {"Promoted": "promoted", "RolledBack": "rolledback", "RolloutEnded": "ended"}
SOON = timedelta(milliseconds=200)


class Measures(Protocol):
    """Who reads the servers' counters."""

    async def samples(self, look: Look, revisions: Sequence[str]) -> tuple[PodSample, ...]: ...
    async def carry_out(self, key: Key, look: Look, plan: Plan, interval: timedelta) -> None: ...
    def forget(self, key: Key) -> None: ...


Hears = Callable[[Key, ModelDeploymentSpec, ModelDeploymentStatus, datetime], Awaitable[Heard]]


async def hear_nothing(key: Key, spec: ModelDeploymentSpec, status: ModelDeploymentStatus, now: datetime) -> Heard:  # noqa: ARG001
    """Where no Prometheus is known."""
    return Heard()


ReadsNodes = Callable[[frozenset[str]], Awaitable[Sight]]


async def read_no_nodes(resources: frozenset[str]) -> Sight:  # noqa: ARG001
    """Where nobody may read them."""
    return NO_SIGHT


Chronicles = Callable[[Owner, ModelDeploymentStatus, Plan], None]


def chronicle_nothing(owner: Owner, before: ModelDeploymentStatus, plan: Plan) -> None:
    """Where nobody writes down what is decided."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reconciler works with."""

    api: Api
    cache: Cache
    platform: Callable[[], Platform]
    measures: Measures
    tell: Callable[[Object, Event], None]
    verdict: Callable[[str, float | None], None]  # how a rollout ended, and the seconds since its first step
    clock: Callable[[], datetime]
    hear: Hears = hear_nothing  # what Prometheus says
    nodes: ReadsNodes = read_no_nodes
    has: Callable[[Kind], bool] = lambda _: False  # whether the cluster has a kind that not every one has
    gateways: GatewayReader | None = None
    chronicle: Chronicles = chronicle_nothing  # the status before, and a plan whose status is written: each once


class Reconciler:
    """Turns of all deployments; one deployment's turns never overlap (the queue sees to that)."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._memories: dict[Key, Memory] = {}

    def knows(self, key: Key) -> bool:
        """Whether it was there when it was last looked at."""
        return key in self._memories

    async def reconcile(self, key: Key) -> timedelta | None:
        """One turn; the time until the next one at the latest, None when only a change can make one necessary.

        Raises the errors of `tidegate.cluster.errors`: whoever calls tries again later.
        """
        deployment = self._around.cache.get(MODEL_DEPLOYMENT, *key)
        if deployment is None or deployment["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        memory = self._remembered(key, deployment)
        spec = self._spec(deployment)
        if spec is None:
            return None
        try:
            return await self._turn(key, deployment, spec, memory)
        except Conflict:
            await self._catch_up(key)
            return SOON

    async def _catch_up(self, key: Key) -> None:
        """Somebody was faster than the watch: read what is there now, and plan on that."""
        if there := await self._around.api.get(MODEL_DEPLOYMENT, *key):
            self._around.cache.put(MODEL_DEPLOYMENT, there)

    def _forget(self, key: Key) -> None:
        self._memories.pop(key, None)
        self._around.measures.forget(key)

    def _remembered(self, key: Key, deployment: Object) -> Memory:
        """The memory of a deployment; a status that is not the one we wrote is believed instead."""
        memory = self._memories.setdefault(key, Memory())
        raw = deployment.get("status") or {}
        if memory.raw is None or raw != memory.raw:
            memory.raw = raw
            memory.status = memory.written = read_status(raw)
            self._tell_late(deployment, memory)
        return memory

    def _tell_late(self, deployment: Object, memory: Memory) -> None:
        """A write without an answer has taken effect: what it decided is told now."""
        for sent in memory.unsure:
            if sent.plan.status == memory.status:
                self._told(deployment, sent.before, sent.plan)
        memory.unsure.clear()

    def _spec(self, deployment: Object) -> ModelDeploymentSpec | None:
        """The spec; one that this version does not understand changes nothing of what serves."""
        try:
            return ModelDeploymentSpec.model_validate(deployment.get("spec") or {})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            what = f"spec.{where}: {first['msg']}: is the CRD of another version installed?"
            self._trouble(deployment, Event("Warning", "SpecInvalid", what))
            return None

    async def _turn(self, key: Key, deployment: Object, spec: ModelDeploymentSpec, memory: Memory) -> timedelta | None:
        platform, now = self._around.platform(), self._around.clock()
        look = await self._with_nodes(self._look(key, deployment, memory, now), spec, memory.status)
        look = await self._with_gateway(look, spec)
        heard = await self._around.hear(key, spec, memory.status, now)
        direct = spec.rollout.analysis.source == "Direct"
        samples = await self._samples(look, memory.status) if direct else heard.samples
        image = spec.runtime.image or platform.runtime_image
        seen = replace(
            observed(look, samples, memory.status.resolution, image),
            unread=heard.unread, queries=heard.queries, unanswered=heard.unanswered,
        )  # fmt: skip
        plan = decide(spec, memory.status, seen, now)
        wanted = effects(look.owner, spec, plan, look.seen, platform, Gateways(look.timeouts) if look.routes else None)
        memory.obstacles = obstacles_left(memory.obstacles, wanted)
        known = dict(memory.obstacles)
        await self._carry_out(memory, look, wanted.records)
        before = memory.status
        waits = await self._remember(memory, deployment, plan)
        self._tell(deployment, spec, before, plan)
        await self._carry_out(memory, look, wanted.changes)
        await self._around.measures.carry_out(key, look, plan, spec.rollout.analysis.interval)
        again = OBSTACLE_AGAIN if memory.obstacles or look.trouble else None
        news = memory.obstacles != known or (moves_traffic(look.owner, wanted) and not memory.obstacles)
        moved = SOON if news else None
        routes = gateways.next_look(look, plan) if (gateways := self._around.gateways) else None
        times = (plan.look_again, waits, again, moved, blind_in(scaler(look), now), routes)
        return min((time for time in times if time is not None), default=None)

    def _look(self, key: Key, deployment: Object, memory: Memory, now: datetime) -> Look:
        owner = owner_of(deployment)
        live = self._around.cache.of(*key)
        pods = [one for kind, one in live if kind == POD]
        endpoints = [one for kind, one in live if kind == ENDPOINTS]
        seen = seen_of(owner, (one for kind, one in live if kind not in (POD, ENDPOINTS)))
        return Look(owner, deployment, replace(seen, endpoints=led_to(endpoints)), pods, memory.obstacles, now)

    async def _with_gateway(self, look: Look, spec: ModelDeploymentSpec) -> Look:
        """The look, with the routes that the spec asks for."""
        served = frozenset(kind for kind in ROUTE_KINDS if self._around.has(kind))
        if not (gateways := self._around.gateways) or not by_gateway(spec.routing, served):
            return look
        return await gateways.seen(look, spec.routing, served)

    async def _with_nodes(self, look: Look, spec: ModelDeploymentSpec, status: ModelDeploymentStatus) -> Look:
        """The look, with the nodes where accelerators are in question."""
        records = (stored.record for stored in look.seen.stored.values())
        resources = in_question(records, look.pods, status, replaces=spec.rollout.surge == "Replace")
        return replace(look, sight=await self._around.nodes(resources))

    async def _samples(self, look: Look, status: ModelDeploymentStatus) -> tuple[PodSample, ...]:
        """Counters of the two versions that are compared; at rest nothing is read."""
        rollout = status.rollout
        if rollout is None or rollout.phase in (Phase.FAILED, Phase.RETURNING):
            return ()
        versions = (status.stable, status.candidate, rollout.previous)
        return await self._around.measures.samples(look, [one.revision for one in versions if one])

    async def _remember(self, memory: Memory, deployment: Object, plan: Plan) -> timedelta | None:
        """Write the status if it is worth it; how long what is not written may wait."""
        now = self._around.clock()
        waits = write_after(memory.written, plan.status, memory.written_at, now)
        if waits == timedelta(0):
            answer = await self._put_status(memory, deployment, plan)
            self._around.cache.put(MODEL_DEPLOYMENT, answer)
            memory.raw = answer.get("status") or {}
            memory.written, memory.written_at, waits = plan.status, now, None
        memory.status = plan.status
        return waits

    async def _put_status(self, memory: Memory, deployment: Object, plan: Plan) -> Object:
        raw = plan.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        try:
            return await self._around.api.put_status({**deployment, "status": raw})
        except ApiDown:  # it may have taken effect
            memory.unsure.append(Unsure(memory.status, plan))
            raise

    def _tell(self, deployment: Object, spec: ModelDeploymentSpec, before: ModelDeploymentStatus, plan: Plan) -> None:
        if before.observed_generation != plan.status.observed_generation:
            for sentence in unheeded(spec, self._around.platform()):
                self._trouble(deployment, Event("Warning", "WithoutEffect", sentence))
        self._told(deployment, before, plan)

    def _told(self, deployment: Object, before: ModelDeploymentStatus, plan: Plan) -> None:
        """What a plan decided, now that its status is written: each thing once."""
        self._around.chronicle(owner_of(deployment), before, plan)
        for event in plan.events:
            self._around.tell(deployment, event)
            if before.rollout and before.stable and event.reason in OUTCOMES:
                began = before.rollout.started_at
                seconds = max(0.0, (self._around.clock() - began).total_seconds()) if began else None
                self._around.verdict(OUTCOMES[event.reason], seconds)

    def _trouble(self, about: Object, event: Event) -> None:
        """What is no decision of a plan: an object that cannot be made, a spec that is not understood."""
        log.warning("%s: %s", event.reason, event.message)
        self._around.tell(about, event)

    async def _carry_out(self, memory: Memory, look: Look, wanted: Iterable[Effect]) -> None:
        for effect in wanted:
            await self._effect(memory, look, effect)

    async def _effect(self, memory: Memory, look: Look, effect: Effect) -> None:
        """One effect; what the API server refuses stands in the way of that object and of nothing else."""
        place = place_of(effect)
        try:
            obstacle = await self._done(look.owner, effect)
        except (QuotaExceeded, Forbidden, Refused) as error:
            obstacle = refusal(error.what)
        except (Conflict, NotFound):
            await self._correct(look.owner.namespace, place)
            raise
        if obstacle is None:
            memory.obstacles.pop(place, None)
        elif memory.obstacles.get(place) != obstacle:
            memory.obstacles[place] = obstacle
            self._tell_obstacle(look, place, obstacle)

    async def _correct(self, namespace: str, place: Place) -> None:
        """It is gone, or another one, and the watch has not said so, or never will: hold what is there now."""
        kind, name = place
        held = self._around.cache.get(kind, namespace, name)
        if there := await self._around.api.get(kind, namespace, name):
            self._around.cache.put(kind, there)
        elif held:
            self._around.cache.drop(kind, namespace, name, held["metadata"]["uid"])

    def _tell_obstacle(self, look: Look, place: Place, obstacle: Failure) -> None:
        """Of pods and Jobs a plan tells: it has a reason of its own for waiting then."""
        kind, name = place
        if kind not in (DEPLOYMENT, JOB):
            what = f"{kind.kind} {name} is not as it should be: {obstacle.message}"
            self._trouble(look.deployment, Event("Warning", obstacle.reason, what))

    async def _done(self, owner: Owner, effect: Effect) -> Failure | None:
        api, cache = self._around.api, self._around.cache
        match effect:
            case Create(obj):
                return await self._create(owner, dict(obj))
            case Apply(obj):
                cache.put(kind_of(obj), await api.apply(obj))
            case Scale(kind, namespace, name, replicas):
                await api.scale(kind, namespace, name, replicas)
                cache.scaled(kind, namespace, name, replicas)
            case Edit():
                await api.edit(effect)
            case Delete(kind, namespace, name, uid):
                await api.delete(kind, namespace, name, uid)
                cache.drop(kind, namespace, name, uid)
        return None

    async def _create(self, owner: Owner, wanted: dict[str, Any]) -> Failure | None:
        """Make an object; one that is there already is ours and not seen, or somebody else's."""
        try:
            self._around.cache.put(kind_of(wanted), await self._around.api.create(wanted))
        except AlreadyExists:
            return await self._meet(owner, wanted)
        return None

    async def _meet(self, owner: Owner, wanted: dict[str, Any]) -> Failure | None:
        """Ours is applied: the watch has not shown it yet, or cannot, because somebody has taken its labels.

        The answer is not held: this turn was planned without the object, and the watch, which shows it now, wakes the
        next one.
        """
        kind, name = kind_of(wanted), str(wanted["metadata"]["name"])
        there = await self._around.api.get(kind, owner.namespace, name)
        if there is None:
            return None
        if not owns(owner, there):
            return taken(owner, there)
        await self._around.api.apply(applied(wanted, there))
        return None


def owner_of(deployment: Object) -> Owner:
    about = deployment["metadata"]
    return Owner(str(about["namespace"]), str(about["name"]), str(about["uid"]))


def moves_traffic(owner: Owner, wanted: Effects) -> bool:
    """Whether this turn changes the split: the next one may build on it, and our own writes wake nobody."""
    places = {(SERVICE, owner.name), *((kind, route_name(owner, kind)) for kind in ROUTE_KINDS)}
    return any(isinstance(effect, Edit) or place_of(effect) in places for effect in wanted.changes)


def obstacles_left(known: Mapping[Place, Failure], wanted: Effects) -> dict[Place, Failure]:
    """What still stands in the way of something that is still wanted."""
    places = {place_of(effect) for effect in (*wanted.records, *wanted.changes)}
    return {place: failure for place, failure in known.items() if place in places}


def place_of(effect: Effect) -> Place:
    if isinstance(effect, Create | Apply):
        return kind_of(effect.obj), str(effect.obj["metadata"]["name"])
    return effect.kind, effect.name


def applied(wanted: Mapping[str, Any], there: Object) -> dict[str, Any]:
    """What was to be made, as an apply to what is there: of exactly that object, and without the number of pods."""
    found = {**wanted, "metadata": {**wanted["metadata"], "uid": there["metadata"]["uid"]}}
    if kind_of(wanted) == CONTROLLER_REVISION:  # what one keeps is never changed
        return {**found, "revision": there["revision"], "data": there["data"]}
    if "replicas" in found.get("spec", {}):
        found["spec"] = {name: value for name, value in found["spec"].items() if name != "replicas"}
    return found
