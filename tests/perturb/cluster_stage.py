"""A whole cluster at a moment: API server, controllers, pods, users' requests and the operator, moved on by hand.

    stage = Stage()
    stage.world.bundles[…] = …
    stage.deploy("v1"); stage.work()
    stage.advance()             # to the next moment at which anything may happen
    later = stage.copy()        # and from there twice, with a fault and without

`work` does what is to be done at this moment: a turn of the operator, then a step of every controller, until nothing
is left; the invariants are asked after each write and whenever nothing is left.  Time passes in `advance` only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.fakes.behaviours import bundle
from tests.fakes.clock import START, Clock
from tests.fakes.cluster import FakeCluster
from tests.fakes.controllers import World
from tests.fakes.faults import Crash
from tests.fakes.fields import Object
from tests.fakes.kinds import kind_of
from tests.fakes.told import Told
from tests.fakes.users import Users
from tests.fakes.watching import once

from tidegate.api.decision import Decision
from tidegate.api.status import ModelDeploymentStatus
from tidegate.plan.manifests.identity import GROUP, JOB, MODEL_DEPLOYMENT, POD, Kind, Owner
from tidegate.plan.wanted import Event, Plan

from .cluster_process import Process
from .cluster_reading import all_of, everything, serves
from .cluster_traffic import Traffic
from .cluster_view import View, living, view_of
from .cluster_witness import Witness

HERE, NAME = "default", "fraud"
KEY = (HERE, NAME)
STORE = "s3://models/fraud/"
VERSIONS = ("v1", "v2", "v3", "v4", "v9")
MOST_ROUNDS = 120  # turns and steps at one moment: more would never end
MINUTE = 60.0
MOST_CALLS = 200  # in a minute
STRIDE = 900.0  # seconds that may pass at once
PODS_STRIDE = 5.0  # while pods start or end by their time
TROUBLED_STRIDE = 30.0  # while pods are in trouble, or Jobs run
JOBS_STRIDE = 60.0  # while Jobs that have ended wait for their removal
SPEC: dict[str, Any] = {
    "scaling": {"minReplicas": 3},
    "rollout": {
        "steps": [{"weight": 25, "hold": "20s"}, {"weight": 50, "hold": "20s"}],
        "scaleDownDelay": "30s",
        "progressDeadline": "3m",
        "analysis": {"minRequests": 20, "warmup": "0s"},
    },
}
BeforeTurn = Callable[[], object]


def spec_of(version: str, **changes: Any) -> dict[str, Any]:
    """A spec that names a version; `rollout` and `scaling` are merged into the usual ones."""
    spec: dict[str, Any] = {"bundle": {"uri": STORE + version}}
    for part, usual in SPEC.items():
        spec[part] = usual | changes.pop(part, {})
    return spec | changes


@dataclass(frozen=True, slots=True)
class Planned:
    """What happens at a time, whatever the story does then; `matters` False: nothing, if nothing was lost."""

    at: float
    do: Callable[[Stage], object]
    matters: bool = True


class Stage(Told):
    """Everything that there is, with one operator that is started again when it is killed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cluster = FakeCluster(self.clock)
        self.world = World(self.cluster)
        self.users = Users(self.cluster)
        self.traffic = Traffic(self.cluster, KEY)
        self.witness = Witness(self.cluster, KEY)
        self.told: list[Event] = []
        self.decided: list[tuple[str, Decision]] = []  # of an owner by its uid, in the order of the log
        self.down_for = 0.0  # seconds that a killed operator stays away
        self.process: Process | None = None
        self.back_at: float | None = None
        self.lives = 0
        self.former: list[Process] = []  # those that do not lead any more and have not noticed
        self._planned: list[Planned] = []
        self._calls: list[tuple[float, int]] = []  # how many there had been, and when
        self._words: dict[str, Any] = {}
        self._commands = 0
        self._settled_at = (-1, -1.0)
        self.world.stopped.add("budgets")  # nobody looks at their status
        for version in VERSIONS:
            self.knows(version)
        self.start()

    def copy(self) -> Stage:
        """The same again, for another future."""
        memo: dict[int, Any] = {}
        for part in self._never_changed():
            memo[id(part)] = part
        return copy.deepcopy(self, memo)

    def _never_changed(self) -> list[object]:
        objects = self.cluster.objects
        kept: list[object] = [held for kind in objects._held.values() for held in kind.values()]
        kept += [state for kind in objects._past.values() for states in kind.values() for state in states]
        kept += [*self.told, *self.decided, *self.witness.kept()]
        if self.process:
            kept += [one for kind in self.process.cache._held.values() for one in kind.values()]
            kept += self.process.api.faults.log
            for memory in self.process.reconciler._memories.values():
                kept += [memory.raw, memory.written, memory.status]
        return kept

    # -- the operator -----------------------------------------------------------------------------

    def start(self) -> Process:
        """A new life: everything is listed, nothing is remembered."""
        self.lives += 1
        self.back_at = None
        self.process = Process(self.cluster, self.traffic, self.tell, self.chronicle)
        self.process.api.after_write.append(self.witness.after_write_of(self.process))
        return self.process

    def kill(self) -> None:
        """Between two turns; what it asked of the servers goes on."""
        if self.process:
            self.process.watch.close()
        self.process = None
        self.back_at = self.clock.monotonic() + self.down_for

    def depose(self) -> Process:
        """Another process leads from now on; the old one goes on with its work, and its writes are not sent."""
        old = self.operator
        old.lose_lead()
        self.former.append(old)
        self.start()
        return old

    def heal(self) -> None:
        """No more faults: one operator, whose calls are answered and whose watches begin anew."""
        self._planned.clear()
        for process in self.former:
            process.watch.close()
        self.former.clear()
        self.down_for = 0.0
        process = self.process or self.start()
        process.api.faults.up()
        process.api.faults.crash_after_write = None
        process.news_at_once = True
        process.watch.copies = once
        process.watch.release()
        process.watch.relist()
        self.stir()

    def tell(self, about: Mapping[str, Any], event: Event) -> None:
        self.told.append(event)

    def chronicle(self, owner: Owner, before: ModelDeploymentStatus, plan: Plan) -> None:
        self.decided += [(owner.uid, decision) for decision in plan.decisions]

    @property
    def operator(self) -> Process:
        assert self.process, "no operator runs"
        return self.process

    # -- what goes on by itself -------------------------------------------------------------------

    def work(self, before_turn: BeforeTurn | None = None) -> None:
        """All that is to be done now; what happens at another moment is not looked at."""
        for _ in range(MOST_ROUNDS):
            if self.back_at is not None and self.clock.monotonic() >= self.back_at:
                self.start()
            self._carry_out_what_is_due()
            turned, moved = self._turns(before_turn), self._step()
            if not turned and not moved:
                return self.witness.at_rest(self.process)
        raise AssertionError(
            f"{MOST_ROUNDS} rounds at one moment: {[str(c) for c in self.operator.api.faults.log[-9:]]}"
        )

    def after(self, seconds: float, do: Callable[[Stage], object], *, matters: bool = True) -> None:
        """Plan something."""
        self._planned.append(Planned(self.clock.monotonic() + seconds, do, matters))

    def expects(self) -> int:
        """How much is planned that changes anything."""
        return sum(plan.matters for plan in self._planned)

    def _carry_out_what_is_due(self) -> bool:
        now = self.clock.monotonic()
        due = [plan for plan in self._planned if plan.at <= now]
        self._planned = [plan for plan in self._planned if plan.at > now]
        for plan in due:
            plan.do(self)
            self.stir()
        return bool(due)

    def _turns(self, before_turn: BeforeTurn | None) -> bool:
        turned = [self._turn(process, None) for process in self.former if not process.stuck]
        if self.process:
            turned.append(self._turn(self.process, before_turn))
        return any(turned)

    def _turn(self, process: Process, before_turn: BeforeTurn | None) -> bool:
        process.wake()
        if not process.busy:
            return False
        if before_turn:
            before_turn()
        self.witness.look()
        try:
            process.turn()
        except Crash:
            self.kill()
        if process.stuck:
            self.depose()
        self.witness.check()
        return True

    def _step(self) -> bool:
        """Every controller once, unless nothing has happened since they last had nothing to do."""
        moment = (self.cluster.objects.version, self.clock.monotonic())
        if moment == self._settled_at or (moment[0] == self._settled_at[0] and not self._restless()):
            return False
        collecting = any(map(self._left_behind, everything(self.cluster)))
        (self.world.stopped.discard if collecting else self.world.stopped.add)("garbage collector")
        moved = self.world.step()
        if not moved:
            self._settled_at = moment
        return moved or collecting

    def stir(self) -> None:
        """Something is otherwise in the world than its objects say: let the controllers see."""
        self._settled_at = (-1, -1.0)

    def _left_behind(self, obj: Object) -> bool:
        """Whether the garbage collector has anything to do with it."""
        owners = obj["metadata"].get("ownerReferences") or ()
        return bool(obj["metadata"].get("finalizers")) or any(
            one["uid"] not in self.cluster.objects.uids for one in owners
        )

    def _restless(self) -> bool:
        """Whether time alone moves anything in the cluster."""
        return self._stride() < STRIDE

    def _stride(self) -> float:
        """How long nothing moves by itself, at least."""
        jobs = list(all_of(self.cluster, JOB, HERE))
        pods = living(all_of(self.cluster, POD, HERE), NAME)
        if any(not job["status"].get("conditions") for job in jobs) or any(not serves(pod) for pod in pods):
            return PODS_STRIDE if self._timed() else TROUBLED_STRIDE
        return JOBS_STRIDE if jobs else STRIDE

    def _timed(self) -> bool:
        bundles = any(bundle.after for bundle in self.world.bundles.values())
        return bundles or any(servers.ready_after or servers.stop_after for servers in self.world.servers.values())

    def advance(self, at_most: float = STRIDE) -> None:
        """Let time pass until something may happen."""
        waits = [at_most, self._stride()]
        if self.process is None and self.back_at is not None:
            waits.append(max(0.001, self.back_at - self.clock.monotonic()))
        waits += [max(0.001, plan.at - self.clock.monotonic()) for plan in self._planned]
        if self.process and (due := self.process.timers.next()) is not None:
            waits.append(max(0.001, due))
        seconds = min(waits)
        self._stays_calm()
        self.clock.advance(seconds)
        self.traffic.flows(seconds)

    def _stays_calm(self) -> None:
        """Whatever happens, the API server is not asked without end."""
        now, calls = self.clock.monotonic(), len(self.process.api.faults.log) if self.process else 0
        self._calls = [(at, count) for at, count in self._calls if now - at < MINUTE and count <= calls]
        self._calls.append((now, calls))
        assert calls - self._calls[0][1] <= MOST_CALLS, (
            f"{calls - self._calls[0][1]} calls in a minute: {[str(call) for call in self.operator.api.faults.log[-4:]]}"
        )

    def pass_time(self, seconds: float) -> None:
        """Advance and work until so much time has passed."""
        end = self.clock.monotonic() + seconds
        self.work()
        while self.clock.monotonic() < end - 1e-9:
            self.advance(end - self.clock.monotonic())
            self.work()

    def until(self, name: str, holds: Callable[[Stage], bool], within: float = 3600.0) -> None:
        """Advance and work until it is so."""
        self.stir()
        self.work()
        end = self.clock.monotonic() + within
        while not holds(self):
            assert self.clock.monotonic() < end, f"not within {within:.0f} s: {name}; {self.status}"
            self.advance()
            self.work()

    # -- what users do ----------------------------------------------------------------------------

    def knows(self, version: str, **changes: Any) -> None:
        """A sound bundle of that version is in the store."""
        self.world.bundles[STORE + version] = bundle(STORE + version, **changes)

    def deploy(self, version: str, **changes: Any) -> None:
        """Apply a manifest that names this version; changes of the spec stay for the next one."""
        self._words = {**self._words, **changes}
        self.users.deploy(NAME, spec_of(version, **self._words), HERE)
        self.witness.expect(self.owner)

    def edit(self, **changes: Any) -> None:
        """Everything but the version."""
        self.deploy(str(self.owner["spec"]["bundle"]["uri"]).rpartition("/")[2], **changes)

    def delete(self, cascade: str = "background") -> None:
        self.users.delete(MODEL_DEPLOYMENT, HERE, NAME, cascade)

    def command(self, verb: str, revision: str = "", step: int | None = None) -> None:
        """A person asks for something: about the candidate, or the stable version where there is none."""
        self._commands += 1
        named = revision or (self.status.candidate or self.status.stable)
        about = named if isinstance(named, str) else (named.revision if named else "none")
        at = (START + timedelta(seconds=self._commands)).isoformat()
        value = f"{about}{f'/{step}' if step is not None else ''}@{at}"
        self.users.annotate(self.owner, {f"{GROUP}/{verb}": value})

    # -- what is there ----------------------------------------------------------------------------

    @property
    def view(self) -> View:
        return view_of(self.cluster, KEY)

    @property
    def owner(self) -> Object:
        return self.users.get(MODEL_DEPLOYMENT, HERE, NAME)

    @property
    def status(self) -> ModelDeploymentStatus:
        return self.view.status

    @property
    def split(self) -> Mapping[str, int]:
        """The front's weights by version."""
        view = self.view
        return {view.versions.get(name, name): weight for name, weight in view.split.items()}

    @property
    def servers(self) -> Mapping[str, int]:
        """Ready pods by version."""
        view = self.view
        return {version: view.ready(name) for name, version in view.versions.items()}

    def objects(self) -> list[Object]:
        """All there are, pods and Jobs too."""
        return list(everything(self.cluster))

    def kind_of(self, obj: Object) -> Kind:
        return kind_of(obj)

    def revision(self, version: str) -> str:
        """The newest revision of that version that runs, or that the history remembers."""
        runs = [name for name, known in self.view.versions.items() if known == version]
        history = [one.revision for one in self.status.history if one.version == version]
        return [*history, *runs][-1]

    def times_told(self, reason: str) -> int:
        return sum(event.reason == reason for event in self.told)
