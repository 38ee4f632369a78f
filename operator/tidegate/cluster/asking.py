"""What a rollout wants to know from Prometheus before it is planned: its queries' answers, and counters if so asked.

Nothing here raises for a server that is down or a query that is wrong: the plan gets a sentence in place of a number,
shows it, and decides what waiting means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.prometheus import Prometheus
from tidegate.cluster.prometheus_answer import PrometheusError
from tidegate.plan.phases import ACTIVE, Phase
from tidegate.plan.queries import questions
from tidegate.plan.samples import PodSample

Key = tuple[str, str]  # namespace, name


@dataclass(frozen=True, slots=True)
class Heard:
    """Parts of an `Observed`, under the names they have there."""

    samples: tuple[PodSample, ...] = ()
    unread: str = ""
    queries: Mapping[str, float | None] = field(default_factory=dict)
    unanswered: Mapping[str, str] = field(default_factory=dict)


async def hear(
    prometheus: Prometheus, key: Key, spec: ModelDeploymentSpec, status: ModelDeploymentStatus, now: datetime
) -> Heard:
    """What Prometheus says now about a deployment; nothing where the spec asks nothing of it, or no rollout runs."""
    named = spec.rollout.analysis.prometheus
    if named is None:
        return Heard()
    by_prometheus = spec.rollout.analysis.source == "Prometheus"
    texts = questions(spec, status, *key, now)
    (samples, unread), answers = await asyncio.gather(
        _counters(prometheus, named.ref, key, compared_revisions(status) if by_prometheus else []),
        asyncio.gather(*(_answer(prometheus, named.ref, text) for text in texts.values())),
    )
    heard = dict(zip(texts, answers, strict=True))
    values = {name: value for name, (value, _) in heard.items()}
    return Heard(samples, unread, values, {name: why for name, (_, why) in heard.items() if why})


def compared_revisions(status: ModelDeploymentStatus) -> list[str]:
    """The two versions whose counters are compared, the stable one first as it was before the promotion."""
    rollout = status.rollout
    if rollout is None or status.stable is None:
        return []
    if rollout.phase == Phase.WATCHING:
        return [one.revision for one in (rollout.previous, status.stable) if one]
    return [one.revision for one in (status.stable, status.candidate) if one] if rollout.phase in ACTIVE else []


async def _counters(
    prometheus: Prometheus, ref: str, key: Key, revisions: list[str]
) -> tuple[tuple[PodSample, ...], str]:
    """The counters, and what to say when a version has none."""
    try:
        samples = await prometheus.samples(ref, *key, revisions)
    except PrometheusError as error:
        return (), str(error)
    missing = [revision for revision in revisions if revision not in {sample.revision for sample in samples}]
    if not missing:
        return samples, ""
    what = f"Prometheus {ref} has no fresh counters of revision {missing[0]}"
    return samples, f"{what}: are its pods scraped (port 9090), with their namespace as the label `namespace`?"


async def _answer(prometheus: Prometheus, ref: str, text: str) -> tuple[float | None, str]:
    try:
        return await prometheus.query(ref, text), ""
    except PrometheusError as error:
        return None, error.what
