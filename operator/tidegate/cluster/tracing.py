"""Rollouts and turns as spans, for whoever follows them in a tracing system; off unless somebody says where to.

Nothing here waits: what has ended goes into a queue of bounded length, from which a thread sends (spans.py, the only
module of the operator that imports OpenTelemetry).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.api import Key
from tidegate.cluster.workers import Reconciles
from tidegate.plan.manifests.identity import Owner
from tidegate.plan.spans import Span, ended_spans, trace_name
from tidegate.plan.wanted import Plan

PATH = "/v1/traces"
Attributes = Mapping[str, str | int | float]


class Exporter(Protocol):
    """Who sends spans; neither waits."""

    def rollout(self, trace: str, spans: Sequence[Span], about: Attributes) -> None:
        """Spans of a rollout, which `trace` tells from all others."""

    def turn(self, began: int, ended: int, about: Attributes, trace: str, *, failed: bool) -> None:
        """A look at a deployment, in Unix nanoseconds, and the rollout that it was about."""


class Traces:
    """What turns did, gathered from what is chronicled in them."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._turns: dict[Key, tuple[str, str]] = {}  # of those under way: the rollout's trace, and what was decided

    def chronicle(self, owner: Owner, before: ModelDeploymentStatus, plan: Plan, now: datetime) -> None:
        """A plan whose status is written."""
        about = {"k8s.namespace.name": owner.namespace, "tidegate.model": owner.name}
        trace = trace_name(owner.uid, before)
        if spans := ended_spans(before, plan, now):
            self._exporter.rollout(trace, spans, about)
        decided = ",".join(decision.reason for decision in plan.decisions)
        self._turns[owner.namespace, owner.name] = trace or trace_name(owner.uid, plan.status), decided

    def turned(self, key: Key, began: int, error: str) -> None:
        """A turn is over, with an error if it has a name."""
        trace, decided = self._turns.pop(key, ("", ""))
        about = {"k8s.namespace.name": key[0], "tidegate.model": key[1], "tidegate.decisions": decided}
        named = {**about, "error.type": error} if error else about
        self._exporter.turn(began, time.time_ns(), named, trace, failed=bool(error))


class Traced:
    """A reconciler whose turns are spans."""

    def __init__(self, reconciler: Reconciles, traces: Traces) -> None:
        self._reconciler = reconciler
        self._traces = traces

    async def reconcile(self, key: Key) -> timedelta | None:
        began, error = time.time_ns(), ""
        try:
            return await self._reconciler.reconcile(key)
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self._traces.turned(key, began, error)

    def knows(self, key: Key) -> bool:
        return self._reconciler.knows(key)


def collector(text: str) -> str:
    """The address that spans are sent to, below that of a collector; raises ValueError with a sentence."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port that is none, half an IPv6 address
        usable = False
    if not usable:
        raise ValueError("write http://HOST:4318 or https://HOST:4318; credentials go into OTEL_EXPORTER_OTLP_HEADERS")
    return text.rstrip("/").removesuffix(PATH) + PATH
