"""Room for a candidate's servers where accelerators are few: what `surge: Auto` becomes, and when no server may stop.

Nobody but the scheduler knows whether pods fit.  So it is asked, with as many of the candidate's pods as the stable
version has, before any weight moves and while nothing of the stable version is touched:

| surge (status)  | what is true                                             | next                              |
|-----------------|----------------------------------------------------------|-----------------------------------|
| Auto            | the candidate's pods wait for nodes                      | Surge, when all of them have one  |
|                 |                                                          | Prove, when they lack accelerators|
|                 |                                                          | and stopping servers would help   |
|                 |                                                          | and may be done; else it waits    |
| Prove           | the whole bundle is proved, before a server stops for it | Surge, when room comes meanwhile  |
|                 |                                                          | and the spec says Auto            |
|                 |                                                          | Replace, when sound; else back    |
| Surge, Replace  | chosen, until the end                                    |                                   |

A version that has served needs no proof.  A server is never stopped where its accelerator would be lost with it: on a
node that is cordoned, or whose device plugin is gone, neither version could start again.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.api.pod import Pod
from tidegate.api.status import LONGEST_SURGE_MESSAGE, ResolutionStatus
from tidegate.plan.observed import Failure, FailureClass, RevisionRecord
from tidegate.plan.phases import Phase, Surge
from tidegate.plan.resolving import asks_for_proof, proof
from tidegate.plan.situation import Situation, Wish
from tidegate.plan.texts import shortened

# What a pod that is just ending holds is free within moments.  A node autoscaler takes longer: `surge: Surge` says that
# there is one.
ROOM_WITHIN = timedelta(seconds=20)
ALLOW = "the only server must stop before the next can start: write rollout.allowDowntime: true"
UNDECIDED = frozenset({Surge.AUTO.value, Surge.PROVE.value})


def at_start(s: Situation, wish: Wish) -> Surge:
    """How a rollout begins."""
    asked = Surge(s.spec.rollout.surge)
    if s.first:
        return Surge.SURGE
    if asked is Surge.REPLACE:  # it may have been read when the spec asked for something else
        return Surge.PROVE if wish.cause == "Spec" and not wish.record.proved else Surge.REPLACE
    scarce = s.observed.scheduled and wish.record.runtime.accelerator is not None
    return Surge.SURGE if asked is Surge.AUTO and not scarce else asked


def refused(s: Situation, wish: Wish) -> Failure | None:
    """Why there is no point in starting: what is there is too little for the stable version, or not to be had."""
    stable = s.servers(s.stable)
    least = max(1, s.spec.scaling.min_replicas)
    if stable.short and stable.ready < least and _needs_as_much(s, wish.record):
        return _unavailable(f"the stable version itself has {stable.ready} of {least} servers: {stable.short}")
    alone = max(stable.replicas, s.spec.scaling.min_replicas) <= 1
    if at_start(s, wish) in (Surge.PROVE, Surge.REPLACE) and alone and not s.spec.rollout.allow_downtime:
        return _unavailable(ALLOW)
    return None


def _unavailable(message: str) -> Failure:
    return Failure(FailureClass.ENVIRONMENT, "GPUUnavailable", message)


def undecided(s: Situation) -> bool:
    return s.rollout.surge in UNDECIDED and s.rollout.phase == Phase.PROVING


def asked_for(s: Situation) -> int:
    """Servers of the candidate that ask for room while that is undecided; none where it would not be taken."""
    return 0 if asks_for_proof(s) and s.spec.rollout.surge == "Replace" else s.rollout.live


def choose_room(s: Situation) -> Situation:
    """The situation with Surge or Replace in place of Auto, as soon as it is known which."""
    if not undecided(s) or s.frozen:
        return s
    servers, asked = s.servers(s.candidate), s.spec.rollout.surge
    if asked == "Surge" or (servers.placed >= s.rollout.live and asked == "Auto"):
        return _chosen(
            s, Surge.SURGE, f"{servers.placed} of {s.rollout.live} new servers have a node beside the old ones"
        )
    if asks_for_proof(s):
        answer = proof(s)
        return _chosen(s, Surge.REPLACE, s.rollout.surge_message) if answer and answer.resolution else s
    in_a_moment = asked == "Auto" and s.elapsed(s.rollout.waiting_since) < ROOM_WITHIN
    if not servers.short or in_a_moment or hindrance(s):
        return s
    if s.rollout.cause != "Spec":
        return _chosen(s, Surge.REPLACE, servers.short)
    return proved_first(s, servers.short)


def _chosen(s: Situation, surge: Surge, why: str) -> Situation:
    s = s.in_rollout(surge=surge.value, surge_message=shortened(why, LONGEST_SURGE_MESSAGE), waiting_since=None)
    event = "ReplaceChosen" if surge is Surge.REPLACE else "SurgeChosen"
    return s.tell(event, why, s.candidate)


def proved_first(s: Situation, why: str) -> Situation:
    """Ask for the proof: another reading of the same bundle, by a Job of its own."""
    known = s.status.resolution or ResolutionStatus()
    s = s.remember(resolution=known.model_copy(update={"attempt": known.attempt + 1}))
    return s.in_rollout(
        surge=Surge.PROVE.value, surge_message=shortened(why, LONGEST_SURGE_MESSAGE), waiting_since=None
    )


def given_up(s: Situation) -> Situation:
    """The candidate is needed at once: whatever was not chosen yet is a surge."""
    return s.in_rollout(surge=Surge.SURGE.value) if s.rollout.surge in UNDECIDED else s


def hindrance(s: Situation) -> str:
    """Why stopping servers of the stable version would not help the candidate's, or may not be done; empty: it may."""
    servers = s.servers(s.candidate)
    if not _frees_enough(s):
        return servers.failure.message if servers.failure else servers.short
    if lost := s.servers(s.stable).bound:
        return f"{servers.short}: {lost}"
    if s.rollout.live <= 1 and not s.spec.rollout.allow_downtime:
        return f"{servers.short}: {ALLOW}"
    return ""


def _frees_enough(s: Situation) -> bool:
    """Whether a server of the candidate fits where one of the stable version's was."""
    new, old = s.record_of(s.trial).runtime, s.record_of(s.serving).runtime
    if new.accelerator is None or old.accelerator is None or new.accelerator.resource != old.accelerator.resource:
        return False
    return _nodes_of(new.pod) == _nodes_of(old.pod) and new.accelerator.count <= old.accelerator.count


def _nodes_of(pod: Pod) -> tuple[object, ...]:
    """What decides on which nodes pods may be."""
    return pod.node_selector, pod.affinity, pod.tolerations, pod.topology_spread_constraints


def _needs_as_much(s: Situation, record: RevisionRecord) -> bool:
    new, old = record.runtime.accelerator, s.record_of(s.serving).runtime.accelerator
    return new is not None and old is not None and new.resource == old.resource and new.count >= old.count


def not_stopped_yet(s: Situation) -> int:
    """Servers of the stable version that stay for now though others are to take their places: one at a time does."""
    if s.rollout.surge != Surge.REPLACE:
        return 0
    most = s.rollout.live if kept(s) else s.rollout.live - s.servers(s.candidate).ready - 1
    return min(s.servers(s.stable).replicas, most)


def kept(s: Situation) -> str:
    """Why none of the stable version's servers is stopped for the candidate's now; empty: one may, or none has to."""
    servers = s.servers(s.stable)
    stops = s.rollout.surge == Surge.REPLACE and servers.replicas > s.capacity.stable_keeps(s.following_weight)
    return servers.bound if stops else ""
