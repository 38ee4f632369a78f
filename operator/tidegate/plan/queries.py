"""Queries to a Prometheus server: what is asked, what the answers add up to, and what they say of the candidate.

A value has no counts behind it, so no test can weigh it: once in every interval it is compared plainly with its limits.

    outside a limit                  a failed interval; `failureLimit` of them send the candidate back (QueryFailed)
    within them, when last answered  this query has nothing against 100 %
    no answer                        neither: nothing, NaN, an infinity and old samples are missing evidence

They are compared while the candidate gets requests, and anew after its promotion.  An edited query begins anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from tidegate.api.evidence import QueryTally
from tidegate.api.rollout import Analysis, PrometheusQuery
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus, RolloutStatus
from tidegate.plan.intervals import EARLY
from tidegate.plan.phases import ACTIVE, Phase
from tidegate.plan.revision import query_key
from tidegate.plan.signals import QUERY
from tidegate.plan.texts import shortened
from tidegate.plan.verdict import Check, CheckResult, Verdict, fails_too_often

LONGEST_WHY = 72
NO_NUMBER = "an empty result, or no finite number"
# What PromQL takes as one piece: three kinds of strings, comments, and the places that are filled in.
PIECES = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|#[^\n]*|\{\{\w+\}\}""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back, by the query's name: a value, or None and why there is none."""

    values: Mapping[str, float | None]
    why_not: Mapping[str, str]


# What is asked.


def asked(analysis: Analysis) -> tuple[PrometheusQuery, ...]:
    return analysis.prometheus.queries if analysis.prometheus else ()


def questions(
    spec: ModelDeploymentSpec, status: ModelDeploymentStatus, namespace: str, name: str, now: datetime
) -> dict[str, str]:
    """PromQL by the query's name, for a runner to ask before it plans; empty until the interval is over."""
    rollout = status.rollout
    if rollout is None or rollout.phase not in ACTIVE | {Phase.WATCHING} or not _is_due(rollout, spec, now):
        return {}
    on_trial = status.stable if rollout.phase == Phase.WATCHING else status.candidate
    places = {"namespace": namespace, "name": name, "revision": on_trial.revision if on_trial else ""}
    return {query.name: filled_in(query.query, places) for query in asked(spec.rollout.analysis)}


def _is_due(rollout: RolloutStatus, spec: ModelDeploymentSpec, now: datetime) -> bool:
    return rollout.queried_at is not None and now - rollout.queried_at >= EARLY * spec.rollout.analysis.interval


def filled_in(query: str, places: Mapping[str, str]) -> str:
    """The query with `{{…}}` of `places` filled in: inside a string as it is, elsewhere as a string."""

    def piece(found: re.Match[str]) -> str:
        text = found[0]
        if text.startswith("{{"):
            return json.dumps(places[text[2:-2]]) if text[2:-2] in places else text
        for place, value in places.items():
            text = text if text.startswith("#") else text.replace("{{" + place + "}}", value)
        return text

    return PIECES.sub(piece, query)


# What the answers add up to.


def compared(rollout: RolloutStatus, spec: ModelDeploymentSpec, answers: Answers, now: datetime) -> dict[str, Any]:
    """What changes in the rollout's status; answers that come before the interval is over are left."""
    queries = asked(spec.rollout.analysis)
    tallies = [tally_of(query, rollout.queries) for query in queries]
    if not queries or rollout.queried_at is None:
        return {"queries": tuple(tallies), "queried_at": now if queries else None}
    if not _is_due(rollout, spec, now) or not any(query.name in answers.values for query in queries):
        return {"queries": tuple(tallies)}
    latest = [_with_answer(query, tally, answers) for query, tally in zip(queries, tallies, strict=True)]
    return {"queries": tuple(latest), "queried_at": now}


def tally_of(query: PrometheusQuery, known: Sequence[QueryTally]) -> QueryTally:
    key = query_key(query)
    return next((tally for tally in known if tally.key == key), QueryTally(key=key))


def _with_answer(query: PrometheusQuery, tally: QueryTally, answers: Answers) -> QueryTally:
    value = answers.values.get(query.name)
    if value is None or not isfinite(value):
        why = answers.why_not.get(query.name) or NO_NUMBER
        return tally.model_copy(update={"message": shortened(why, LONGEST_WHY)})
    failed = tally.failed + (not is_within(query, value))
    return tally.model_copy(update={"value": value, "failed": failed, "message": ""})


def is_within(query: PrometheusQuery, value: float) -> bool:
    return (query.max is None or value <= query.max) and (query.min is None or value >= query.min)


# What they say.


def results(analysis: Analysis, known: Sequence[QueryTally]) -> list[CheckResult]:
    """One result for each query; they take no part in `confidence`."""
    return [_result(query, tally_of(query, known), analysis) for query in asked(analysis)]


def _result(query: PrometheusQuery, tally: QueryTally, analysis: Analysis) -> CheckResult:
    within = tally.value is not None and is_within(query, tally.value)
    failed = fails_too_often(tally.failed, analysis)
    verdict = Verdict.FAIL if failed else Verdict.PASS if within else Verdict.UNDECIDED
    return CheckResult(
        check=Check(
            QUERY + query.name, f"query {query.name}", reason="QueryFailed", signal=-1, absolute=True, limit=0.0
        ),
        verdict=verdict,
        sentence=f"{_numbers(query, tally)}, {verdict.value}",
        requests=0,
        bad=tally.failed,
        stable_requests=0,
        stable_bad=0,
        outside=tally.value is not None and not within,
    )


def _numbers(query: PrometheusQuery, tally: QueryTally) -> str:
    said = [f"min {query.min:.6g}"] if query.min is not None else []
    said += [f"max {query.max:.6g}"] if query.max is not None else []
    if tally.value is None:
        why = f": {tally.message}" if tally.message else ""
        return f"query {query.name}: no answer yet ({', '.join(said)}){why}"
    intervals = "1 failed interval" if tally.failed == 1 else f"{tally.failed} failed intervals"
    silence = f"; no answer now: {tally.message}" if tally.message else ""
    return f"query {query.name}: {tally.value:.6g} ({', '.join(said)}), {intervals}{silence}"
