"""From a plan and the live children to what has to be done to them; nothing where everything is as it should be.

    records   the ControllerRevisions of new revisions
    changes   1 the NetworkPolicy, before any pod; the ConfigMap of access, autoscalers that must not count any more
              2 Deployments made, repaired and scaled up; Services, budgets, autoscalers
              3 the front Service and routes: traffic moves when those that get it are there
              4 Deployments scaled down
              5 what no plan wants: Deployments and what is around them, records outside of `plan.keep`
              6 the Job that reads a bundle

A missing object is created, never applied: an apply would adopt a stranger of that name.  One that is there is
applied where it differs, or made anew where an apply could not mend it.  One that is being removed is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.plan.manifests.access import access_map
from tidegate.plan.manifests.drift import differs, mendable
from tidegate.plan.manifests.effects import Apply, Create, Delete, Effect, Effects, Scale
from tidegate.plan.manifests.front import revision_service, routed_by, undivided, wanted_front
from tidegate.plan.manifests.identity import DEPLOYMENT, ROUTE_KINDS, Kind, Object, Owner, job_name, kind_of
from tidegate.plan.manifests.jobs import resolve_job
from tidegate.plan.manifests.keda import scaled_object
from tidegate.plan.manifests.network import network_policy
from tidegate.plan.manifests.origins import Credentials, credentials_of
from tidegate.plan.manifests.parents import objection
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.manifests.pods import pod_template
from tidegate.plan.manifests.routes import Gateways, reached_by, wanted_routes
from tidegate.plan.manifests.seen import Seen, foreign, seen_of
from tidegate.plan.manifests.shared import candidate_service, edit, front_revision, shared_weights
from tidegate.plan.manifests.stored import Stored, controller_revision, marked_again
from tidegate.plan.manifests.unheeded import not_scaled
from tidegate.plan.manifests.workload import autoscaler, budget, deployment, pods_wanted
from tidegate.plan.observed import RevisionRecord
from tidegate.plan.replicas import FULL
from tidegate.plan.wanted import Plan, RevisionWanted

__all__ = [
    "Apply", "Create", "Delete", "Effect", "Effects", "Scale", "Seen", "effects", "foreign", "seen_of",
]  # fmt: skip

BUDGET_FROM = 2  # pods; with a single one a budget would only hold a drain up


def effects(
    owner: Owner,
    spec: ModelDeploymentSpec,
    plan: Plan,
    seen: Seen,
    platform: Platform,
    gateways: Gateways | None = None,
) -> Effects:
    """What makes the children what the plan says; where there are `gateways` routes split, and not the front."""
    turn = _Turn(owner, spec, plan, seen, platform, gateways)
    return Effects(tuple(turn.records()), tuple(turn.changes()))


@dataclass(frozen=True, slots=True)
class _Turn:
    """The question as it was asked."""

    owner: Owner
    spec: ModelDeploymentSpec
    plan: Plan
    seen: Seen
    platform: Platform
    gateways: Gateways | None

    # -- records -----------------------------------------------------------------------------------

    def records(self) -> Iterator[Effect]:
        for wanted in self.plan.revisions:
            revision = wanted.record.revision
            live = self.seen.revision_objects.get(revision)
            if live is not None and self.unreadable(revision) and _whole(wanted):
                yield from _removed(live)
            elif live is not None:
                yield from _kept(marked_again(self.owner, live, revision), live)
            elif _whole(wanted):
                stored = Stored(wanted.record, dict(self.template(wanted)), self.credentials(wanted))
                yield Create(controller_revision(self.owner, stored))

    def unreadable(self, revision: str) -> bool:
        """Whether nothing runs from a record that we cannot read: it cannot be changed, so it is made anew."""
        return revision not in self.seen.stored and revision not in self.seen.deployments

    def template(self, wanted: RevisionWanted) -> Object:
        """The text that pods of a revision are made from.

        A record that somebody deleted, or that this version cannot read, restarts no pod: what runs then stays.
        """
        revision = wanted.record.revision
        if stored := self.seen.stored.get(revision):
            return stored.template
        if live := self.seen.deployments.get(revision):
            running: Object = live["spec"]["template"]
            return running
        return pod_template(self.owner, wanted.record, wanted.golden, self.credentials(wanted), self.platform)

    def credentials(self, wanted: RevisionWanted) -> Credentials:
        """What opens a new revision's bundle: as the spec says; of one that the spec does not name as it was opened."""
        if wanted.record.restart and not self.names(wanted.record):
            same = [one for one in self.seen.stored.values() if one.record.base == wanted.record.base]
            if same:
                latest = max(same, key=lambda one: (one.record.revision == one.record.base, one.record.number))
                return latest.credentials
        return credentials_of(self.spec.bundle)

    def names(self, record: RevisionRecord) -> bool:
        """Whether the spec's own bundle is what is restarted, at the same address."""
        found = self.plan.status.resolution
        return found is not None and found.revision == record.base and self.spec.bundle.uri == record.resolution.uri

    # -- changes -----------------------------------------------------------------------------------

    def changes(self) -> Iterator[Effect]:
        yield from self.walls()
        runtimes = [wanted.record.runtime for wanted in self.running]
        if runtimes:
            yield from self.kept(access_map(self.owner, self.platform, runtimes), self.seen.access)
        yield from self.idle_autoscalers()
        for wanted in self.running:
            yield from self.workload(wanted)
        yield from self.around()
        yield from self.traffic()
        for wanted in self.running:
            yield from self.scaled(wanted, up=False)
        yield from self.emptied()
        yield from self.unwanted()
        yield from self.job()

    @property
    def running(self) -> list[RevisionWanted]:
        return [wanted for wanted in self.plan.revisions if wanted.max_replicas]

    def walls(self) -> Iterator[Effect]:
        records = [wanted.record for wanted in self.running]
        wanted, live = network_policy(self.owner, self.spec, records, self.platform.network), self.seen.policy
        if wanted is not None:
            yield from _kept(wanted, live)
        elif live is not None:
            yield from _removed(live)

    def traffic(self) -> Iterator[Effect]:
        """The front, then the routes; where a plan gives no weights they are what the front is: kept, or gone."""
        front = wanted_front(self.owner, self.as_the_front_sees_it, self.seen.front)
        yield from self.kept(front, self.seen.front)
        if front is None:
            return
        if self.shares:
            yield from _kept(candidate_service(self.owner, self.plan, self.seen), self.seen.candidate)
            yield from edit(self.owner, self.plan, self.seen)
        yield from self.routes()
        if not self.shares and self.seen.candidate is not None:
            yield from _removed(self.seen.candidate)

    @property
    def shares(self) -> bool:
        """Whether the route is somebody else's."""
        return self.gateways is not None and self.spec.routing.existing_route_ref is not None

    @property
    def as_the_front_sees_it(self) -> Plan:
        if self.shares and self.plan.weights:
            return replace(self.plan, weights={front_revision(self.plan): FULL})
        return undivided(self.plan) if self.gateways else self.plan

    def routes(self) -> Iterator[Effect]:
        """Ours; in favour of somebody else's they go when that has been taken."""
        if self.shares and (self.seen.shared is None or objection(self.seen.shared)):
            return
        routes: Mapping[Kind, Object] = {}
        if self.gateways and not self.shares and self.plan.weights:
            routes = wanted_routes(self.owner, self.spec.routing, self.plan, self.gateways)
        for kind in ROUTE_KINDS:
            live = self.seen.routes.get(kind)
            if kind in routes:
                yield from _kept(routes[kind], live)
            elif live is not None:
                yield from _removed(live)

    def kept(self, wanted: Mapping[str, Any] | None, live: Object | None) -> Iterator[Effect]:
        if wanted is not None:
            yield from _kept(wanted, live)

    def idle_autoscalers(self) -> Iterator[Effect]:
        """Removed before any Deployment is scaled by us: two must not count the same pods."""
        for wanted in self.running:
            for counting in (self.seen.autoscalers, self.seen.scaled_objects):
                live = counting.get(wanted.record.revision)
                if live is not None and not (self.scales(wanted) and counting is self.counting):
                    yield from _removed(live)

    def workload(self, wanted: RevisionWanted) -> Iterator[Effect]:
        revision = wanted.record.revision
        made = deployment(self.owner, revision, self.template(wanted))
        if (live := self.seen.deployments.get(revision)) is None:
            yield Create({**made, "spec": {**made["spec"], "replicas": pods_wanted(wanted)}})
            return
        yield from _kept(made, live)
        yield from self.scaled(wanted, up=True)

    def scaled(self, wanted: RevisionWanted, *, up: bool) -> Iterator[Effect]:
        """The number of pods where nobody else counts; an autoscaler never leaves zero by itself."""
        live = self.seen.deployments.get(wanted.record.revision)
        if live is None or _leaving(live) or self.may_sleep(wanted):
            return
        now, count = live["spec"].get("replicas", 1), pods_wanted(wanted)
        if now == count or (now > 0 and self.scales(wanted)) or up is not (count > now):
            return
        yield Scale(DEPLOYMENT, self.owner.namespace, live["metadata"]["name"], count)

    def emptied(self) -> Iterator[Effect]:
        """The only server makes room for the next one; its Deployment stays, for the way back."""
        for wanted in self.plan.revisions:
            live = self.seen.deployments.get(wanted.record.revision)
            routed = wanted.record.revision in self.routed
            if not wanted.max_replicas and routed and live and not _leaving(live) and live["spec"].get("replicas", 1):
                yield Scale(DEPLOYMENT, self.owner.namespace, live["metadata"]["name"], 0)

    def scales(self, wanted: RevisionWanted) -> bool:
        """Whether an autoscaler counts this revision's pods."""
        scaling = self.spec.scaling
        given = scaling.most_replicas > scaling.min_replicas
        return given and self.is_stable(wanted) and not not_scaled(scaling, wanted.record.runtime, self.platform)

    @property
    def counting(self) -> Mapping[str, Object]:
        """The autoscalers that there are of the kind that the spec wants."""
        return self.seen.scaled_objects if self.spec.scaling.provider == "KEDA" else self.seen.autoscalers

    def may_sleep(self, wanted: RevisionWanted) -> bool:
        """Whether KEDA may stop its last server, and alone starts the first one again."""
        return wanted.replicas == 0 and self.scales(wanted)

    def is_stable(self, wanted: RevisionWanted) -> bool:
        return wanted.record.revision == self.plan.stable

    def protected(self, wanted: RevisionWanted) -> bool:
        """Whether a budget holds back whoever drains nodes: never for a candidate, which nobody depends on."""
        return self.is_stable(wanted) and self.spec.scaling.min_replicas >= BUDGET_FROM

    def around(self) -> Iterator[Effect]:
        for wanted in self.running:
            revision, tls = wanted.record.revision, wanted.record.runtime.tls is not None
            yield from _kept(revision_service(self.owner, revision, tls=tls), self.seen.services.get(revision))
        for wanted in self.running:
            revision = wanted.record.revision
            if self.protected(wanted):
                yield from _kept(budget(self.owner, revision), self.seen.budgets.get(revision))
        for wanted in self.running:
            if self.scales(wanted):
                yield from _kept(self.autoscaler(wanted), self.counting.get(wanted.record.revision))

    def autoscaler(self, wanted: RevisionWanted) -> dict[str, Any]:
        scaling, servers = self.spec.scaling, self.platform.keda
        if scaling.provider == "KEDA" and servers is not None:
            return scaled_object(self.owner, wanted, scaling, servers)
        return autoscaler(self.owner, wanted, scaling)

    # -- what goes ---------------------------------------------------------------------------------

    def unwanted(self) -> Iterator[Effect]:
        stays = {wanted.record.revision for wanted in self.running} | self.routed
        seen = self.seen
        for children in (seen.autoscalers, seen.scaled_objects, seen.deployments, seen.budgets, seen.services):
            for revision, live in sorted(children.items()):
                if revision not in stays:
                    yield from _removed(live)
        for wanted in self.running:
            unneeded = seen.budgets.get(wanted.record.revision)
            if unneeded is not None and not self.protected(wanted):
                yield from _removed(unneeded)
        if seen.access is not None and self.platform.access == "":
            yield from _removed(seen.access)
        yield from self.forgotten()

    @property
    def routed(self) -> frozenset[str]:
        """Revisions that front and routes, as they were seen, send requests to: they go when they have been let go."""
        reached = (reached_by(self.owner, live) for live in self.seen.routes.values())
        shared = (name for name, weight in shared_weights(self.owner, self.seen).items() if weight)
        return routed_by(self.seen.front).union(shared, *reached)

    def forgotten(self) -> Iterator[Effect]:
        """Records go after everything that was made from them."""
        planned = {wanted.record.revision for wanted in self.plan.revisions}
        needed = self.plan.keep | planned | self.seen.deployments.keys()
        for revision, live in sorted(self.seen.revision_objects.items()):
            if revision not in needed:
                yield from _removed(live)

    def job(self) -> Iterator[Effect]:
        asked = self.plan.resolve
        if asked is not None and job_name(self.owner, asked.key, asked.attempt) not in self.seen.jobs:
            yield Create(resolve_job(self.owner, asked, self.platform, self.spec.runtime))


def _whole(wanted: RevisionWanted) -> bool:
    """Whether the record is one that was resolved, and not pieced together from the status: that is never kept."""
    return bool(wanted.record.resolution.interface.outputs)


def _kept(wanted: Mapping[str, Any], live: Object | None) -> Iterator[Effect]:
    """What makes one object what is wanted."""
    if live is None:
        yield Create(wanted)
    elif not _leaving(live) and differs(wanted, live):
        if mendable(wanted, live):
            yield Apply({**wanted, "metadata": {**wanted["metadata"], "uid": live["metadata"]["uid"]}})
        else:
            yield from _removed(live)


def _removed(live: Object) -> Iterator[Effect]:
    meta = live["metadata"]
    if not _leaving(live):
        yield Delete(kind_of(live), meta["namespace"], meta["name"], meta["uid"])


def _leaving(live: Object) -> bool:
    return bool(live["metadata"].get("deletionTimestamp"))
