"""Whether a candidate may go to its next weight.

Each gate looks at one fact and says why it stands in the way; `objection` asks them in order and the first one that
objects wins.  The order goes from what a person wants over what servers and route can do to what evidence says;
servers for the next weight are asked for last, when nothing else is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto

from tidegate.plan.measuring import counted_in_step, quiet, unread
from tidegate.plan.phases import Phase
from tidegate.plan.replicas import FULL, Capacity
from tidegate.plan.resolving import asks_for_proof, resolving
from tidegate.plan.room import hindrance, kept, undecided
from tidegate.plan.signals import QUERY
from tidegate.plan.situation import Situation
from tidegate.plan.splits import contradicted, contradicted_all_along, split
from tidegate.plan.texts import duration
from tidegate.plan.verdict import Outcome, Verdict


class For(Enum):
    """What a hold waits for; `progressDeadline` runs for servers and the route, `deadline` for evidence only."""

    PERSON = auto()
    PLATFORM = auto()
    TIME = auto()
    EVIDENCE = auto()


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a rollout does not move; `reason` is a stable code from docs/errors.md."""

    reason: str
    message: str
    waits_for: For
    look_again: timedelta | None = None  # None: an observation will wake us
    only_servers: bool = False  # nothing but servers is missing for the next weight: then they are asked for


Gate = Callable[[Situation], Hold | None]


def paused(s: Situation) -> Hold | None:
    if s.frozen:
        by = "spec.paused is true" if s.spec.paused else "paused by command"
        return Hold("Paused", by, For.PERSON)
    return None


def spec_is_known(s: Situation) -> Hold | None:
    if resolving(s) and s.rollout.cause == "Spec":
        return Hold("Resolving", "the spec names another bundle, which is being read", For.PLATFORM)
    return None


def room_is_found(s: Situation) -> Hold | None:
    if not undecided(s):
        return None
    if asks_for_proof(s):
        # Its Job has a deadline of its own.
        message = f"{s.rollout.surge_message}: the bundle is proved before a server stops for it"
        return Hold("BundleBeingProved", message, For.TIME)
    servers = s.servers(s.candidate)
    if servers.short:
        return Hold("GPUUnavailable", hindrance(s) or servers.short, For.PLATFORM)
    return _not_ready(s, f"{servers.placed} of {s.rollout.live} servers have a node")


def candidate_is_ready(s: Situation) -> Hold | None:
    return None if s.servers(s.candidate).ready else _not_ready(s, "its servers start and prove themselves")


def surplus_is_gone(s: Situation) -> Hold | None:
    """Room was asked for by more servers than the first step may have: where ready ones make the split, those go."""
    ready, wanted = s.servers(s.candidate).ready, max(1, s.capacity.candidate_needs(s.following_weight))
    if s.observed.exact_weights or s.first or s.rollout.phase != Phase.PROVING or ready <= wanted:
        return None
    return Hold("Converging", f"{ready} servers are ready, {wanted} make {s.following_weight} %", For.PLATFORM)


def _not_ready(s: Situation, otherwise: str) -> Hold:
    """Why servers of the candidate are missing, `otherwise` when nothing is known against them."""
    servers = s.servers(s.candidate)
    if servers.short and (why := kept(s)):
        return Hold("GPUUnavailable", f"{servers.short}: {why}", For.PLATFORM)
    if servers.failure:
        return Hold(servers.failure.reason, servers.failure.message, For.PLATFORM)
    return Hold("CandidateNotReady", otherwise, For.PLATFORM)


def record_is_kept(s: Situation) -> Hold | None:
    # A version that serves without a record could neither be started again nor returned to.
    if s.rollout.weight or s.candidate in s.observed.records:
        return None
    return Hold("RecordMissing", "what the version is made of could not be kept yet", For.PLATFORM)


def weight_is_given(s: Situation) -> Hold | None:
    # Readiness observed, not desired: argo-rollouts #3372 sent 100 % to a scaled-down version.
    if s.trial.weight >= s.rollout.weight:
        return None
    if s.rollout.ceiling is not None:
        message = s.judgement.message if s.judgement else "both versions are bad alike"
        return Hold("SharedDegradation", message, For.EVIDENCE)
    return _servers_missing(s, s.capacity, s.rollout.weight)


def route_converged(s: Situation) -> Hold | None:
    route, shifting, holding = s.observed.route, s.rollout.phase == Phase.SHIFTING, s.rollout.phase == Phase.HOLDING
    if not route.accepted and not route.pending and (shifting or holding):
        return Hold(route.reason, route.message or "the route is not accepted", For.PLATFORM)
    if (shifting and contradicted(s)) or (holding and contradicted_all_along(s)):
        return Hold("WeightIgnored", _ignored(s), For.PLATFORM)
    return Hold("Converging", f"{s.rollout.weight} % is not seen in the counts yet", For.PLATFORM) if shifting else None


def _ignored(s: Situation) -> str:
    counts = split(s)
    seen = f"{round(100 * counts.candidate / counts.requests, 1):g} % of {counts.requests}"
    ask = "does the gateway heed weights, and do all clients go through it"
    return f"the requests do not follow {s.rollout.weight} %, {seen} reached the new version: {ask}"


def person_agrees(s: Situation) -> Hold | None:
    if s.step is not None and s.step.hold == "manual" and not _waived_by_person(s):
        return Hold("WaitingForPromote", f"step {s.step_number} ends by `tidegate promote`", For.PERSON)
    return None


def dwell_is_over(s: Situation) -> Hold | None:
    if s.step is None or not isinstance(s.step.hold, timedelta) or _waived_by_person(s):
        return None
    left = s.step.hold - s.elapsed(s.rollout.step_started_at)
    if left > timedelta(0):
        return Hold("StepHold", f"{s.rollout.weight} % for {duration(s.step.hold)}", For.TIME, look_again=left)
    return None


def requests_are_enough(s: Situation) -> Hold | None:
    if not _judged_by_requests(s) or _waived(s):
        return None
    if quiet(s):
        return _unread_objection(s) or _synthetic_objection(s)
    evidence, least = s.rollout.evidence, s.spec.rollout.analysis.min_requests
    had = evidence.step.candidate if evidence else 0
    if had < least:
        return Hold("TooFewRequests", f"{had} of {least} requests in this step", For.EVIDENCE)
    return None


def evidence_passes(s: Situation) -> Hold | None:
    """Asked once, before 100 %."""
    if s.following_weight < FULL or _waived(s) or s.first:
        return None
    if _judged_by_requests(s):
        return _query_objection(s) if quiet(s) else _whole_objection(s)
    return _comparison_objection(s)


def candidate_has_capacity(s: Situation) -> Hold | None:
    missing = _servers_missing(s, s.grown, s.following_weight)
    return replace(missing, only_servers=True) if missing else None


GATES: tuple[Gate, ...] = (
    paused,
    spec_is_known,
    room_is_found,  # nothing else is worth asking before it is known in whose place servers start
    candidate_is_ready,
    surplus_is_gone,
    record_is_kept,
    weight_is_given,
    route_converged,  # the split is seen in the counters before the dwell time starts
    person_agrees,
    dwell_is_over,
    requests_are_enough,
    evidence_passes,
    candidate_has_capacity,  # last: servers for a weight that nothing else stands in the way of
)


def objection(s: Situation) -> Hold | None:
    """The first thing that stands in the way of the next weight."""
    for gate in GATES:
        if hold := gate(s):
            return hold
    return None


def _servers_missing(s: Situation, capacity: Capacity, weight: int) -> Hold | None:
    need, have = capacity.candidate_needs(weight), s.servers(s.candidate).ready
    if have >= need:
        return None
    return _not_ready(s, f"{have} of {need} servers ready for {weight} %")


def _waived_by_person(s: Situation) -> bool:
    return s.rollout.full or s.rollout.promoted_step == s.step_number


def _waived(s: Situation) -> bool:
    return s.rollout.decided or s.rollout.stable_lost or _waived_by_person(s)


def _judged_by_requests(s: Situation) -> bool:
    """Users' requests can say something only where the candidate gets some."""
    return s.rollout.weight > 0


def _unread_objection(s: Situation) -> Hold | None:
    if unread(s):
        return Hold("EvidenceMissing", s.observed.unread or "the servers' counters cannot be read", For.EVIDENCE)
    return None


def _synthetic_objection(s: Situation) -> Hold | None:
    """Nobody sends anything: golden samples stand in, and a model without users is updated too."""
    analysis, evidence = s.spec.rollout.analysis, s.rollout.evidence
    left = analysis.interval - min(s.elapsed(s.rollout.step_started_at), counted_in_step(s))
    if left > timedelta(0):
        return Hold("NoTraffic", "no requests on either version", For.TIME, look_again=left)
    record = s.record(s.candidate)
    if evidence is None or not analysis.synthetic.rate or record is None or not record.resolution.has_golden:
        return None
    if not evidence.synthetic.candidate_requests:
        return Hold("NoTraffic", "no requests on either version, golden samples are sent", For.EVIDENCE)
    if evidence.synthetic.candidate_bad:
        bad, sent = evidence.synthetic.candidate_bad, evidence.synthetic.candidate_requests
        return Hold("SyntheticFailing", f"{bad} of {sent} golden samples were answered badly", For.EVIDENCE)
    return None


def _query_objection(s: Situation) -> Hold | None:
    """Nobody's requests are missed, but a query was to answer before everything goes to the candidate."""
    results = s.judgement.results if s.judgement else ()
    for result in results:
        if result.check.name.startswith(QUERY) and result.verdict != Verdict.PASS:
            return Hold("Undecided", result.sentence, For.EVIDENCE)
    return None


def _whole_objection(s: Situation) -> Hold | None:
    if s.judgement is not None and s.judgement.outcome == Outcome.PASS:
        return None
    message = s.judgement.message if s.judgement else ""
    return Hold("Undecided", message or "the evidence does not say enough yet", For.EVIDENCE)


def _comparison_objection(s: Situation) -> Hold | None:
    """Before its first request a candidate can only be judged by comparing answers."""
    if not (s.compares and s.shadow_percent):
        return None
    if s.judgement is None:
        return Hold("Undecided", "the comparison of answers begins", For.EVIDENCE)
    asked = [result for result in s.judgement.results if result.check.name.startswith(("top1", "output/"))]
    if all(result.verdict == Verdict.PASS for result in asked):
        return None
    if not any(result.requests for result in asked) and s.elapsed(s.rollout.started_at) >= _silence(s):
        return _unread_objection(s)
    undecided = next(result for result in asked if result.verdict != Verdict.PASS)
    return Hold("Undecided", undecided.sentence, For.EVIDENCE)


def _silence(s: Situation) -> timedelta:
    """So long nothing was compared: there is nobody whose requests could be."""
    return 12 * s.spec.rollout.analysis.interval
