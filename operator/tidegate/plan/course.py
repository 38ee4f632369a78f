"""The course of a deployment in rows of JSON: what `tidegate report` draws and `tidegate history` lists.

A row says where everybody stood at one time: phase, step, weights, each version's figures, and the decisions of that
moment.  Rows are the same on one machine and in a cluster; each keeps them where it can.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tidegate.api.decision import decision_document
from tidegate.api.status import Measurement, Measurements, RevisionStatus
from tidegate.plan.wanted import Plan

Row = dict[str, Any]


def row(plan: Plan, at: datetime, figures: Mapping[str, Mapping[str, Any]]) -> Row:
    """One row; `figures` are those of each version: requests, errors, rps, p50Ms, p99Ms, divergence, ready."""
    rollout = plan.status.rollout
    return {
        "at": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "phase": plan.status.phase,
        "step": rollout.step if rollout else None,
        "weights": dict(plan.weights),
        "versions": {revision: {**one, **_identity(plan, revision)} for revision, one in figures.items()},
        "events": [decision_document(decision) for decision in plan.decisions],
    }


def _identity(plan: Plan, revision: str) -> Row:
    """Which role a revision has, and the version that it gives itself."""
    versions = {wanted.record.revision: wanted.record.resolution.version for wanted in plan.revisions}
    return {"role": _role(plan, revision), "version": versions.get(revision, "")}


def _role(plan: Plan, revision: str) -> str:
    candidate = plan.status.candidate
    if candidate and candidate.revision == revision:
        return "candidate"
    return "stable" if revision == plan.stable else "earlier"


def measured(plan: Plan) -> dict[str, Row]:
    """Figures as the status has them: of both versions while they are compared, else who is ready."""
    status, rollout = plan.status, plan.status.rollout
    previous = rollout.previous if rollout else None
    figures = rollout.measurements if rollout and rollout.measurements else Measurements()
    pairs = (
        ((previous, figures.stable), (status.stable, figures.candidate))
        if previous
        else ((status.stable, figures.stable), (status.candidate, figures.candidate))
    )
    return {version.revision: _figures(version, seen) for version, seen in pairs if version}


def _figures(version: RevisionStatus, seen: Measurement) -> Row:
    return {
        "ready": version.ready_replicas,
        "requests": seen.requests,
        "errors": round((seen.error_rate or 0.0) * seen.requests),
        "rps": seen.rps,
        "p50Ms": seen.p50_ms,
        "p99Ms": seen.p99_ms,
        "divergence": seen.divergence,
    }


def lines_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in rows]


def kept(lines: Sequence[str], limit: int) -> list[str]:
    """As many as fit into so many bytes: figures go before decisions, and the oldest first."""
    sizes = [len(line.encode()) + 1 for line in lines]
    excess = sum(sizes) - limit
    gone: set[int] = set()
    for place in sorted(range(len(lines)), key=lambda place: (_decides(lines[place]), place)):
        if excess <= 0:
            break
        excess -= sizes[place]
        gone.add(place)
    return [line for place, line in enumerate(lines) if place not in gone]


def _decides(line: str) -> bool:
    return '"events":[]' not in line
