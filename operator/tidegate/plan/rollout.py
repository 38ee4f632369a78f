"""The rollout, as a table; the code below is the table.

| phase    | what is true                              | next      | when                                              |
|----------|-------------------------------------------|-----------|---------------------------------------------------|
| (none)   | the stable version serves, or nothing yet | Proving   | the wish is another revision, not rejected, and   |
|          |                                           |           | its manifest is accepted                          |
| Proving  | the candidate starts, weight 0            | Shifting  | no gate objects: the first weight (100 for a      |
|          |                                           |           | first version, a rollback and `steps: []`)        |
|          |                                           | Returning | an exit, or awaited longer than progressDeadline  |
|          |                                           | Failed    | the same, when nothing has ever served            |
| Shifting | a weight is asked for                     | Holding   | route and counters show it                        |
|          |                                           | Watching  | it is 100 and the route has it: promoted          |
|          |                                           | (none)    | the same without anything to watch                |
|          |                                           | Returning | as from Proving                                   |
| Holding  | the weight is real                        | Shifting  | no gate objects: the next weight; too few servers |
|          |                                           |           | or SharedDegradation: a lower one for a while     |
|          |                                           | Returning | as from Proving, or the deadline decides so       |
| Returning| all weight is asked back                  | (none)    | the route has it: the candidate goes              |
| Watching | promoted, the old version is warm         | (none)    | scaleDownDelay is over, or another wish came      |
|          |                                           | Returning | it fails after promotion, a person aborts, or the |
|          |                                           |           | spec names the warm version again: at once        |
| Failed   | a first version did not come up           | Proving   | it may be tried again                             |
|          |                                           | (none)    | after 10 minutes, or another wish came            |

Gates are in gates.py, exits in exits.py, the arrows in moves.py.  From Proving, Shifting and Holding there is one
jump: 100 % when no stable server has been ready for 30 s and the candidate is (`StableLost`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from tidegate.api.evidence import RECENT_INTERVALS
from tidegate.plan import moves
from tidegate.plan.exits import end, timed_out
from tidegate.plan.gates import For, Hold, objection
from tidegate.plan.observed import Failure, FailureClass
from tidegate.plan.phases import Phase
from tidegate.plan.rejected import blocked
from tidegate.plan.replicas import FULL
from tidegate.plan.resolving import choose
from tidegate.plan.room import choose_room, given_up
from tidegate.plan.situation import Situation
from tidegate.plan.splits import converged, in_effect
from tidegate.plan.texts import code, duration, sentence
from tidegate.plan.verdict import AtDeadline, Judgement, Outcome, at_deadline
from tidegate.plan.watching import watching

STABLE_LOST_AFTER = timedelta(seconds=30)
DECIDED_AGAINST = frozenset({"SharedDegradation", "SyntheticFailing", "EvidenceMissing"})  # at the deadline
MOST_MOVES = 8  # in one plan; every longer chain needs an observation in between

PhaseMove = Callable[[Situation], Situation]


def advance(s: Situation) -> Situation:
    """As many arrows as this observation allows."""
    for _ in range(MOST_MOVES):
        before = _where(s)
        s = PHASES[s.rollout.phase](choose(s))
        if _where(s) == before:
            break
    return s


def _where(s: Situation) -> tuple[object, ...]:
    rollout = s.rollout
    at = (rollout.phase, rollout.weight, rollout.decided, rollout.stable_lost, rollout.full, rollout.surge)
    return (*at, s.stable, s.candidate)


def settled(s: Situation) -> Situation:
    return moves.start(s, s.wish) if s.wish else s


def proving(s: Situation) -> Situation:
    return _leave(s) or _go_on(choose_room(s))


def shifting(s: Situation) -> Situation:
    return _leave(s) or _arrive(_give_weight(s))


def holding(s: Situation) -> Situation:
    return _leave(s) or _go_on(_give_weight(s))


def returning(s: Situation) -> Situation:
    never_asked = s.rollout.weight_asked_at is None
    if not s.routed(s.candidate) and (s.observed.route.accepted or never_asked):
        return moves.settle(s)
    return s


def failed(s: Situation) -> Situation:
    until = s.rollout.until
    if s.wish or until is None or s.now >= until:
        return moves.settle(s)
    return s


PHASES: Mapping[str, PhaseMove] = {
    "": settled,
    Phase.PROVING: proving,
    Phase.SHIFTING: shifting,
    Phase.HOLDING: holding,
    Phase.RETURNING: returning,
    Phase.WATCHING: watching,
    Phase.FAILED: failed,
}


def _leave(s: Situation) -> Situation | None:
    """The way out of an active phase, when there is one to take."""
    if reason := end(s):
        return moves.send_back(s, reason.failure, reason.why)
    return None


def _arrive(s: Situation) -> Situation:
    given = s.trial.weight
    if given == FULL and in_effect(s):
        return moves.promote(s)
    if given < FULL and converged(s):
        return s.in_rollout(phase=Phase.HOLDING.value, step_started_at=s.now)
    return _go_on(s)


def _go_on(s: Situation) -> Situation:
    hold = objection(s)
    s = _thawed(s, hold)
    return _held(s, hold) if hold else moves.grant(s, s.following_weight)


def _held(s: Situation, hold: Hold) -> Situation:
    """Remember why it does not move; waiting has its deadlines."""
    awaited = hold.waits_for is For.PLATFORM
    since = (s.rollout.waiting_since or s.now) if awaited else None
    frozen = (s.rollout.frozen_since or s.now) if hold.waits_for is For.PERSON else None
    s = s.in_rollout(
        hold_reason=code(hold.reason), hold_message=sentence(hold.message), waiting_since=since, frozen_since=frozen
    )
    limit = s.spec.rollout.progress_deadline
    if awaited and s.elapsed(since) >= limit:
        return moves.send_back(s, timed_out(hold.reason, hold.message, duration(limit)))
    if hold.waits_for is For.EVIDENCE and _deadline_passed(s):
        return _decided(s, hold)
    return s


def _thawed(s: Situation, hold: Hold | None) -> Situation:
    """Time in which a person was awaited counts neither for the hold nor for the deadline."""
    rollout = s.rollout
    if rollout.frozen_since is None or (hold and hold.waits_for is For.PERSON):
        return s
    frozen = s.elapsed(rollout.frozen_since)
    return s.in_rollout(
        frozen_since=None,
        started_at=rollout.started_at and rollout.started_at + frozen,
        step_started_at=rollout.step_started_at and rollout.step_started_at + frozen,
    )


def _deadline_passed(s: Situation) -> bool:
    return s.rollout.started_at is not None and s.elapsed(s.rollout.started_at) >= s.spec.rollout.analysis.deadline


def _decided(s: Situation, hold: Hold) -> Situation:
    """What `onInconclusive` says at the deadline; numbers that are bad on both versions promote nobody."""
    judgement = s.judgement or Judgement(Outcome.UNDECIDED, hold.reason, hold.message, ())
    decision = at_deadline(s.spec.rollout.analysis, judgement)
    if decision.action is AtDeadline.WAIT:
        return s
    certain = hold.reason not in DECIDED_AGAINST
    if decision.action is AtDeadline.PROMOTE and certain:
        return s.in_rollout(decided=True).tell("DeadlinePromotes", decision.message, s.candidate)
    message = f"{hold.reason}: {decision.message or hold.message}"
    return moves.send_back(s, Failure(FailureClass.ENVIRONMENT, "DeadlineExceeded", message))


def _give_weight(s: Situation) -> Situation:
    """Ask the route for the step's weight, or for as much of it as servers and evidence allow now."""
    ceiling = _ceiling(s)
    if ceiling != s.rollout.ceiling and not s.frozen:
        s = s.in_rollout(ceiling=ceiling)
    return moves.ask_weight(s, _possible_weight(s))


def _ceiling(s: Situation) -> int | None:
    """The last lower weight while both versions are bad alike, and until the longest window has seen them better."""
    held = s.rollout.ceiling
    if s.judgement is not None and s.judgement.outcome == Outcome.SHARED:
        return s.lower_weight if held is None else held
    window = RECENT_INTERVALS * s.spec.rollout.analysis.interval
    return held if held is not None and s.elapsed(s.rollout.weight_asked_at) < window else None


def _possible_weight(s: Situation) -> int:
    rollout, ready = s.rollout, s.servers(s.candidate).ready
    if s.first or rollout.stable_lost:
        return rollout.weight if ready else 0
    most = rollout.weight if rollout.ceiling is None else min(rollout.weight, rollout.ceiling)
    granted = (weight for weight in {*s.ladder, rollout.weight} if weight <= most)
    weights = (weight for weight in granted if s.capacity.supports(weight, ready))
    return max(weights, default=0)


def stable_lost(s: Situation) -> Situation:
    """The one jump: 100 % to a proved candidate when the stable version has had no ready server for 30 s."""
    if s.rollout.phase not in (Phase.PROVING, Phase.SHIFTING, Phase.HOLDING) or s.first:
        return s
    if s.servers(s.stable).ready:
        return s.in_rollout(stable_down_since=None) if s.rollout.stable_down_since else s
    since = s.rollout.stable_down_since or s.now
    s = s.in_rollout(stable_down_since=since)
    proved = s.servers(s.candidate).ready and not blocked(s, s.candidate)
    if s.frozen or s.rollout.stable_lost or not proved or s.elapsed(since) < STABLE_LOST_AFTER:
        return s
    s = given_up(s).in_rollout(stable_lost=True, ceiling=None).tell(
        "StableLost", "no stable server is ready: all requests go to the candidate", s.candidate, warning=True
    )  # fmt: skip
    return moves.grant(s, FULL)
