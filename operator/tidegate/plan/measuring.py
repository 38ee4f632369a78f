"""Where the rollout meets its evidence: counting begins, goes on and is judged; nothing is decided here.

Counts are kept by the two revisions that the evidence names, so that they mean the same before and after promotion.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tidegate.api.evidence import Evidence, Tally
from tidegate.api.rollout import Analysis
from tidegate.api.status import MAX_CHECKS, CheckStatus, Measurement, Measurements
from tidegate.plan.evidence import Reading, Start, accumulate, begin, fits, latency_quantiles
from tidegate.plan.phases import ACTIVE, Phase
from tidegate.plan.queries import Answers, compared, results
from tidegate.plan.signals import QUERY
from tidegate.plan.situation import Situation
from tidegate.plan.texts import sentence
from tidegate.plan.verdict import Judgement, joined, judge, judge_promoted


def measure(s: Situation) -> Situation:
    """The situation with the latest counts and what they say."""
    rollout = s.status.rollout
    if rollout is None or s.first or rollout.phase not in ACTIVE | {Phase.WATCHING}:
        return s
    if rollout.started_at is None:
        return _begun(s) if s.servers(s.candidate).ready else s
    evidence = _counted(s)
    s = s.in_rollout(**_queried(s))
    judgement = joined(_judged(s, evidence), results(_analysis(s), s.rollout.queries))
    s = s.in_rollout(evidence=evidence, checks=_checks(judgement), measurements=_measurements(s, evidence))
    return replace(s, judgement=judgement)


def versions(s: Situation) -> tuple[str, str]:
    """The two revisions that are compared: (stable, candidate) as they were before the promotion."""
    return (s.previous, s.stable) if s.rollout.phase == Phase.WATCHING else (s.stable, s.candidate)


def unread(s: Situation) -> bool:
    """Whether a version's counters cannot be read: missing evidence is never a zero."""
    return not set(versions(s)) <= {sample.revision for sample in s.observed.samples}


def quiet(s: Situation) -> bool:
    """Whether no user has sent anything to either version since the step began."""
    evidence = s.rollout.evidence
    return evidence is not None and not (evidence.step.stable or evidence.step.candidate)


def counted_in_step(s: Situation) -> timedelta:
    """How much of the step the counters tell of: what comes by way of Prometheus is as old as its last scrape."""
    latest = [_latest(s, revision) for revision in versions(s)]
    began = s.rollout.step_started_at
    return timedelta(seconds=min(latest) - began.timestamp()) if began else timedelta(0)


def _latest(s: Situation, revision: str) -> float:
    return max((sample.until for sample in s.observed.samples if sample.revision == revision), default=0.0)


def _begun(s: Situation) -> Situation:
    return s.in_rollout(started_at=s.now, evidence=_fresh(s))


def _fresh(s: Situation) -> Evidence:
    stable, candidate = versions(s)
    return begin(_analysis(s), Start(stable, candidate, s.observed.samples, s.now))


def _counted(s: Situation) -> Evidence:
    evidence = s.rollout.evidence
    if evidence is None or not fits(evidence, _analysis(s)):
        return _fresh(s)
    if (evidence.stable_revision, evidence.candidate_revision) != versions(s):
        return _fresh(s)
    analysis = _analysis(s)
    reading = Reading(s.observed.samples, _share(s), s.rollout.step, analysis.interval, analysis.warmup, s.now)
    return accumulate(evidence, reading)


def _queried(s: Situation) -> dict[str, Any]:
    """Answers are about a version that gets requests; until it does there is nothing to compare."""
    if not s.trial.weight and s.rollout.phase != Phase.WATCHING:
        return {"queried_at": None}
    return compared(s.rollout, s.spec, Answers(s.observed.queries, s.observed.unanswered), s.now)


def _share(s: Situation) -> str:
    """Weight and ready servers as the last plan saw them: the counts since then were made under these."""
    old, new = s.serving, s.trial
    if s.rollout.phase == Phase.WATCHING:
        old, new = s.rollout.previous or s.serving, s.serving
    return f"{new.weight}:{old.ready_replicas}/{new.ready_replicas}"


def _judged(s: Situation, evidence: Evidence) -> Judgement:
    analysis = _analysis(s)
    ask = judge_promoted if s.rollout.phase == Phase.WATCHING else judge
    return ask(analysis, evidence, analysis.deadline + s.spec.rollout.scale_down_delay)


def _analysis(s: Situation) -> Analysis:
    return s.spec.rollout.analysis


def _checks(judgement: Judgement) -> tuple[CheckStatus, ...]:
    """What there is room for; of many the queries are always shown, for nothing else tells of them."""
    queries = [result for result in judgement.results if result.check.name.startswith(QUERY)]
    others = [result for result in judgement.results if result not in queries]
    return tuple(
        CheckStatus(name=result.check.name, verdict=result.verdict.value, message=sentence(result.sentence))
        for result in (*others[: MAX_CHECKS - len(queries)], *queries)
    )


def _measurements(s: Situation, evidence: Evidence) -> Measurements:
    stable, candidate = versions(s)
    last = evidence.recent[-1] if evidence.recent else None
    return Measurements(
        stable=_figures(s, stable, evidence.stable, last.stable if last else None),
        candidate=_figures(s, candidate, evidence.candidate, last.candidate if last else None),
    )


def _figures(s: Situation, revision: str, totals: Tally, last: Tally | None) -> Measurement:
    samples = [sample for sample in s.observed.samples if sample.revision == revision]
    p50, p99 = latency_quantiles(samples, (0.5, 0.99))
    return Measurement(
        requests=totals.requests,
        rps=last.requests / _analysis(s).interval.total_seconds() if last else None,
        error_rate=_share_of(totals.bad[:1], totals.requests),
        p50_ms=_milliseconds(p50),
        p99_ms=_milliseconds(p99),
        divergence=_share_of(_top1(s, totals), totals.compared),
    )


def _top1(s: Situation, totals: Tally) -> tuple[int, ...]:
    """Comparisons whose best class differed, where that is counted."""
    evidence = s.rollout.evidence
    signals = evidence.signals if evidence else ()
    return totals.bad[signals.index("top1") :][:1] if "top1" in signals else ()


def _share_of(bad: tuple[int, ...], n: int) -> float | None:
    return bad[0] / n if bad and n else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
