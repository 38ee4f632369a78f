"""A machine without machines: it carries plans out, makes traffic and breaks as the story says, on a clock of its own.

Versions are called by the name that their bundle gives itself ("v1", "v2"); tests never see a hash.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.plan.evidence import PodSample, Traffic
from tidegate.plan.observed import (
    Failure,
    FailureClass,
    Observed,
    Resolution,
    Resolved,
    RevisionObserved,
    RevisionRecord,
    RouteObserved,
)
from tidegate.plan.plan import Event, Plan, plan
from tidegate.plan.queries import questions
from tidegate.plan.samples import Clumps, Compared

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = Interface((TensorSpec("x", "FP32", ("N", 4)),), (TensorSpec("y", "FP32", ("N", 2)),))
OTHER = Interface((TensorSpec("x", "FP32", ("N", 5)),), (TensorSpec("y", "FP32", ("N", 2)),))


def bundle(version: str, **changes: object) -> Resolution:
    """A bundle of that version, as its manifest would tell."""
    digest = "sha256:" + version.encode().hex().ljust(64, "0")
    plain = Resolution(f"file:///bundles/{version}", digest, version, PLAIN, has_golden=True, metrics={"accuracy": 0.9})
    return replace(plain, **changes)  # type: ignore[arg-type]


@dataclass
class Counters:
    """What one server process has counted."""

    instance: str
    start: float
    n: float = 0
    bad: float = 0
    squares: float = 0
    squares10: float = 0
    bins: int = 0
    synthetic: int = 0
    synthetic_bad: int = 0
    compared: int = 0
    different: int = 0

    def serve(self, requests: float, share_bad: float, seconds: float) -> None:
        if requests <= 0:
            return
        self.n += requests
        self.bad += requests * share_bad
        per_second = max(requests / seconds, 1.0)
        self.squares += requests * share_bad / per_second
        self.squares10 += requests * share_bad**2
        self.bins += max(1, int(min(seconds, requests)))

    def sample(self, revision: str, until: float) -> PodSample:
        requests = Traffic(int(self.n), self.bins, self.bins // 10, Clumps(int(self.bad), self.squares, self.squares10))
        golden = Traffic(self.synthetic, self.synthetic, 0, Clumps(self.synthetic_bad))
        top1 = Clumps(self.different, float(self.different), float(self.different))
        compared = Compared(self.compared, self.compared, self.compared // 10, top1, {}, 0)
        return PodSample(self.instance, revision, self.start, until, requests, Traffic(), golden, compared, 0, 0, 0, 0)


@dataclass
class Behaviour:
    """How servers of a version behave."""

    ready: int | None = None  # at most so many become ready; None: all
    failure: Failure | None = None
    errors: float = 0.0
    golden_fails: bool = False
    golden_silent: bool = False
    differs: float = 0.0


@dataclass
class World:
    """Everything outside of `plan()`."""

    spec: ModelDeploymentSpec
    now: datetime = START
    status: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    generation: int = 1
    bundles: dict[str, Resolution | Failure] = field(default_factory=dict)
    proofs: dict[str, Failure] = field(default_factory=dict)  # by address: of bundles that only a proof refuses
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    records: dict[str, RevisionRecord] = field(default_factory=dict)
    servers: dict[str, RevisionObserved] = field(default_factory=dict)
    counters: dict[str, Counters] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    asked_by: str = ""
    weights: dict[str, int] = field(default_factory=dict)
    marker: str = ""
    resolved: Resolved | None = None
    environment: str = ""
    rate: float = 50.0
    route_stuck: bool = False
    route_accepted: bool = True
    route_pending: bool = False  # where it is not accepted: nobody has had time to
    ignores_weights: bool = False
    splits_evenly: bool = False  # whatever the weights are
    unreadable: bool = False  # no server answers when it is asked for its counters
    unread: str = ""
    scraped_every: float = 0.0  # seconds; counters come by way of somebody who reads them only so often
    answers: dict[str, float | None] = field(default_factory=dict)  # of queries, by name
    unanswered: dict[str, str] = field(default_factory=dict)
    asked: dict[datetime, dict[str, str]] = field(default_factory=dict)  # what queries were asked, and when
    exact_weights: bool = True
    gpus: int | None = None  # of what servers with an accelerator hold; None: there is no scheduler, as locally
    held: dict[str, int] = field(default_factory=dict)  # by revision
    stranded: str = ""  # why the stable version's would be lost with its servers
    obstacle: Failure | None = None  # something beside servers and route is refused
    records_refused: bool = False  # nobody may keep a new one
    extra_servers: int = 0  # of the stable version, as if an autoscaler had asked
    idle: bool = False  # an autoscaler has stopped the stable version's servers
    scraped: dict[str, PodSample] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    # -- looking ---------------------------------------------------------------------------------

    def behaviour(self, version: str) -> Behaviour:
        return self.behaviours.setdefault(version, Behaviour())

    def version(self, revision: str) -> str:
        record = self.records.get(revision)
        return record.resolution.version if record else revision

    def observed(self) -> Observed:
        until = self.now.timestamp()
        queries = questions(self.spec, self.status, "shop", "fraud", self.now)
        self.asked |= {self.now: queries} if queries else {}
        return Observed(
            generation=self.generation,
            resolved=self.resolved,
            records=dict(self.records),
            revisions=dict(self.servers),
            route=RouteObserved(
                dict(self.weights),
                self.route_accepted,
                "" if self.route_accepted else "no gateway",
                pending=self.route_pending,
            ),
            obstacle=self.obstacle,
            stable_marker=self.marker,
            commands=dict(self.commands),
            asked_by=self.asked_by,
            samples=() if self.unreadable else self._samples(until),
            unread=self.unread,
            queries={name: self.answers.get(name) for name in queries},
            unanswered=dict(self.unanswered),
            environment=self.environment,
            exact_weights=self.exact_weights,
            scheduled=self.gpus is not None,
        )

    def _samples(self, until: float) -> tuple[PodSample, ...]:
        fresh = {name: self.counters[name].sample(name, until) for name in sorted(self._alive())}
        if self.scraped_every:
            seen = {name: self.scraped.get(name, sample) for name, sample in fresh.items()}
            self.scraped = {n: fresh[n] if until - s.until >= self.scraped_every else s for n, s in seen.items()}
            fresh = self.scraped
        return tuple(fresh.values())

    def _alive(self) -> set[str]:
        return {name for name, seen in self.servers.items() if seen.ready and name in self.counters}

    # -- a turn: look, plan, remember, carry out, let time pass -----------------------------------

    def turn(self) -> Plan:
        made = plan(self.spec, self.status, self.observed(), self.now)
        self.status = made.status
        self.events.extend(made.events)
        self.plans.append(made)
        self._carry_out(made)
        return made

    def crash_before_status(self) -> None:
        """A plan is carried out and its status lost: the next look starts from what is there."""
        made = plan(self.spec, self.status, self.observed(), self.now)
        self._carry_out(made)

    def pass_time(self, time: timedelta) -> None:
        self.now += time
        self._traffic(max(time.total_seconds(), 0.0))

    # -- carrying out -----------------------------------------------------------------------------

    def _carry_out(self, made: Plan) -> None:
        for wanted in made.revisions if not self.records_refused else ():
            self.records.setdefault(wanted.record.revision, wanted.record)
        self._serve({w.record.revision: max(1, w.replicas) for w in made.revisions if w.max_replicas})
        if not self.route_stuck and self.route_accepted:
            self.weights = {name: weight for name, weight in made.weights.items() if weight}
        if made.stable:
            self.marker = made.stable
        self.records = {
            name: record
            for name, record in self.records.items()
            if name in made.keep or name in self.servers or any(w.record.revision == name for w in made.revisions)
        }
        if made.resolve is not None:
            address = made.resolve.source.uri
            found = self.proofs.get(address, self.bundles[address]) if made.resolve.prove else self.bundles[address]
            key, attempt = made.resolve.key, made.resolve.attempt
            pinned = made.resolve.source.digest
            if isinstance(found, Resolution) and pinned and found.digest != pinned:
                found = Failure(FailureClass.CONTENT, "DigestMismatch", "another manifest")
            failed = isinstance(found, Failure)
            self.resolved = Resolved(key, attempt, None if failed else found, found if failed else None)  # type: ignore[arg-type]

    def _serve(self, wanted: dict[str, int]) -> None:
        for name in set(self.servers) - set(wanted):
            del self.servers[name]
            self.counters.pop(name, None)
        self.held = {name: min(count, wanted[name]) for name, count in self.held.items() if name in wanted}
        for name, replicas in wanted.items():
            self._start(name, replicas)

    def _start(self, name: str, replicas: int) -> None:
        behaviour = self.behaviour(self.version(name))
        if self.status.stable and name == self.status.stable.revision and self.status.rollout is None:
            replicas = 0 if self.idle else max(replicas, self.extra_servers)
        ready = 0 if behaviour.failure else min(replicas, replicas if behaviour.ready is None else behaviour.ready)
        self.servers[name] = self._placed(RevisionObserved(name, replicas, ready, "cpu", behaviour.failure))
        if name not in self.counters:
            self.counters[name] = Counters(f"{name}-{self.now.timestamp():.0f}", self.now.timestamp())

    def _placed(self, found: RevisionObserved) -> RevisionObserved:
        """The servers as a scheduler leaves them: whoever holds a GPU keeps it, whoever asks first gets the next."""
        record = self.records.get(found.revision)
        wanted = record.runtime.accelerator if record else None
        if self.gpus is None or wanted is None:
            return replace(found, placed=found.replicas)
        free = self.gpus - sum(self.held.values())
        mine = min(found.replicas, self.held.get(found.revision, 0) + max(0, free))
        self.held[found.revision] = mine
        is_stable = self.status.stable is not None and self.status.stable.revision == found.revision
        found = replace(found, placed=mine, ready=min(found.ready, mine), bound=self.stranded if is_stable else "")
        if mine == found.replicas:
            return found
        short = f"{found.replicas - mine} wait, {self.gpus} in all"
        failure = found.failure or Failure(FailureClass.ENVIRONMENT, "GPUUnavailable", f"{short}: add some")
        return replace(found, short=short, failure=failure)

    def refresh_servers(self) -> None:
        """Let changed behaviour show at once."""
        for name, seen in list(self.servers.items()):
            self._start(name, seen.replicas)

    def _traffic(self, seconds: float) -> None:
        if not seconds:
            return
        weights = self.weights
        if self.ignores_weights and self.status.stable:
            weights = {self.status.stable.revision: 100}
        if self.splits_evenly:
            weights = dict.fromkeys(weights, 100 // max(1, len(weights)))
        for name, weight in weights.items():
            if name in self._alive():
                behaviour = self.behaviour(self.version(name))
                self.counters[name].serve(self.rate * seconds * weight / 100, behaviour.errors, seconds)
        self._golden_and_shadow(seconds)

    def _golden_and_shadow(self, seconds: float) -> None:
        last = self.plans[-1] if self.plans else None
        if last is None:
            return
        for name, rate in last.synthetic.items():
            if name in self._alive() and not self.behaviour(self.version(name)).golden_silent:
                sent = max(1, int(rate * seconds))
                self.counters[name].synthetic += sent
                self.counters[name].synthetic_bad += sent if self.behaviour(self.version(name)).golden_fails else 0
        if last.shadow and last.shadow.target in self._alive() and last.shadow.source in self._alive():
            compared = int(self.rate * seconds * last.shadow.percent / 100)
            counters = self.counters[last.shadow.target]
            counters.compared += compared
            counters.different += int(compared * self.behaviour(self.version(last.shadow.target)).differs)
