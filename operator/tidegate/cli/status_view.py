"""How deployments are shown to a person: one as a tree of versions and pods with its verdicts, several as a table.

Reads the documents that `-o json` prints, whose parts an older or newer operator may leave out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from tidegate.cli.output import print_plain, print_table, print_tree, printable

Document = Mapping[str, Any]
Row = tuple[int, Sequence[str]]
SHORT_DIGEST = 19  # sha256: and twelve digits
FULL = 100  # percent
GOOD, BAD, WAITING = "green", "red", "yellow"
STYLES = {
    "pass": GOOD, "Serving": GOOD, "Watching": GOOD, "Running": GOOD, "Succeeded": GOOD,
    "fail": BAD, "Failed": BAD, "Refused": BAD, "Returning": BAD, "Error": BAD, "CrashLoopBackOff": BAD,
    "OOMKilled": BAD, "Unschedulable": BAD, "ImagePullBackOff": BAD, "ErrImagePull": BAD,
    "undecided": WAITING, "Holding": WAITING, "Shifting": WAITING, "Proving": WAITING, "Resolving": WAITING,
    "Pending": WAITING, "Terminating": WAITING,
}  # fmt: skip
UNITS = (("d", 86400), ("h", 3600), ("m", 60))
PRECISE_BELOW = 10  # 9m5s, but 10m


def print_status(found: Sequence[Document]) -> None:
    if len(found) == 1:
        print_one(found[0])
    elif found:
        print_many(found)
    else:
        click.echo("there is no ModelDeployment here")


# -- several


def print_many(found: Sequence[Document]) -> None:
    """A line for each, as `kubectl get` has it, and what it waits for."""
    spaces = {one.get("namespace") for one in found}
    columns = ["name", "ready", "phase", "stable", "candidate", "weight", "replicas", "age", "reason"]
    rows = [list_cells(one) for one in found]
    if len(spaces) > 1:
        columns = ["namespace", *columns]
        rows = [[one["namespace"], *row] for one, row in zip(found, rows, strict=True)]
    print_tree(columns, [(0, row) for row in rows], STYLES)


def list_cells(one: Document) -> list[str]:
    known = one["status"]
    stable, candidate = known.get("stable") or {}, known.get("candidate") or {}
    return [
        one["name"],
        condition(known, "Ready").get("status", ""),
        known.get("phase", ""),
        stable.get("version", ""),
        candidate.get("version", ""),
        f"{candidate.get('weight', 0)} %" if candidate else "",
        str(stable.get("replicas", "")),
        age(one.get("createdAt", "")),
        waits_for(known)[0],
    ]


# -- one


def print_one(one: Document) -> None:
    click.echo("\n".join(map(printable, heading(one))))
    click.echo()
    print_tree(["name", "role", "status", "weight", "ready", "age", "info"], list(tree(one)), STYLES)
    if one.get("podsRefused"):
        click.echo(f"pods are not shown: {one['podsRefused']}")
    if figures := list(measurements(one["status"])):
        click.echo()
        print_plain(["figures", "requests", "per second", "errors", "p50", "p99", "differ"], figures)
    if checks := (one["status"].get("rollout") or {}).get("checks"):
        click.echo()
        rows = [(0, [row.get("name", ""), row.get("verdict", ""), row.get("message", "")]) for row in checks]
        print_tree(["check", "verdict", "evidence"], rows, STYLES)
    if lines := facts(one["status"]):
        click.echo()
        click.echo("\n".join(map(printable, lines)))


def heading(one: Document) -> list[str]:
    """Where it stands, in some lines."""
    known = one["status"]
    where = one.get("url", "")
    place = f" in namespace {one['namespace']} of context {one['context']}" if one["target"] == "cluster" else ""
    lines = [f"{one['name']}{place}: {known.get('phase') or 'starting'}" + (f" on {where}" if where else "")]
    if not one.get("running", True):
        lines[0] += " (not running)"
    if rollout := known.get("rollout"):
        steps = [str(step.get("weight")) for step in one.get("steps") or []]
        planned = f" of {len(steps)} ({', '.join(steps)} %)" if steps else ""
        lines.append(f"  step {rollout.get('step', 0)}{planned} {rollout.get('phase', '')}")
    reason, message = waits_for(known)
    if reason:
        lines.append(f"  {reason}" + (f": {message}" if message else ""))
    if known.get("paused"):
        lines.append("  paused by a command")
    return lines + [f"  {verb} of {value} is asked for" for verb, value in (one.get("waiting") or {}).items()]


def waits_for(known: Mapping[str, Any]) -> tuple[str, str]:
    """What holds a rollout, else why the spec is not tried, else nothing."""
    rollout = known.get("rollout") or {}
    if rollout.get("holdReason"):
        return rollout["holdReason"], rollout.get("holdMessage", "")
    fact = condition(known, "Stalled") or condition(known, "Reconciling")
    return fact.get("reason", ""), fact.get("message", "")


def tree(one: Document) -> Iterator[Row]:
    """The deployment, its versions, and the pods of each."""
    known, pods = one["status"], one.get("pods") or []
    yield 0, [one["name"], "", known.get("phase", ""), "", "", age(one.get("createdAt", "")), ""]
    versions = [
        ("candidate", known.get("candidate")),
        ("stable", known.get("stable")),
        ("previous", (known.get("rollout") or {}).get("previous")),
    ]
    there = [(role, version) for role, version in versions if version]
    for role, version in there:
        yield 1, version_cells(role, version)
        yield from pod_rows(pods, version.get("revision", ""))
    named = {version.get("revision", "") for _, version in there}
    for revision in sorted({pod["revision"] for pod in pods} - named):
        yield 1, [revision, "going", "", "", "", "", ""]
        yield from pod_rows(pods, revision)


def version_cells(role: str, version: Mapping[str, Any]) -> list[str]:
    seen = version.get("realisedWeight")
    real = "" if seen is None else f" ({seen:.1f} % seen)"
    return [
        f"{version.get('version', '')} ({version.get('revision', '')})",
        role,
        "",
        f"{version.get('weight', 0)} %{real}",
        f"{version.get('readyReplicas', 0)}/{version.get('replicas', 0)}",
        "",
        version.get("digest", "")[:SHORT_DIGEST],
    ]


def pod_rows(pods: Sequence[Document], revision: str) -> Iterator[Row]:
    for pod in pods:
        if pod["revision"] == revision:
            restarts = f"{pod['restarts']} restarts" if pod["restarts"] else ""
            info = ", ".join(filter(None, [restarts, pod["node"]]))
            yield 2, [pod["name"], "pod", pod["status"], "", pod["ready"], age(pod["createdAt"]), info]


def measurements(known: Mapping[str, Any]) -> Iterator[list[str]]:
    """The last figures of both versions."""
    measured = (known.get("rollout") or {}).get("measurements") or {}
    for role in ("stable", "candidate"):
        if row := measured.get(role):
            yield [
                role,
                f"{row.get('requests', 0):,}",
                number(row.get("rps"), "", 1),
                number(row.get("errorRate"), " %", 100),
                number(row.get("p50Ms"), " ms", 1),
                number(row.get("p99Ms"), " ms", 1),
                number(row.get("divergence"), " %", 100),
            ]


def number(value: float | None, unit: str, times: float) -> str:
    return "" if value is None else f"{value * times:.3g}{unit}"


def facts(known: Mapping[str, Any]) -> list[str]:
    """Its conditions, a line each."""
    return [
        f"{row.get('type')}={row.get('status')} {row.get('reason', '')}"
        + (f": {row['message']}" if row.get("message") else "")
        for row in known.get("conditions") or []
    ]


def condition(known: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((row for row in known.get("conditions") or [] if row.get("type") == kind), {})


def age(since: str) -> str:
    """The time since an RFC 3339 timestamp as kubectl writes it: 45s, 4m30s, 3h, 5d."""
    if not since:
        return ""
    left = max(0, int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()))
    for i, (unit, size) in enumerate(UNITS):
        if left >= size:
            whole, rest = divmod(left, size)
            finer, finer_size = UNITS[i + 1] if i + 1 < len(UNITS) else ("s", 1)
            part = rest // finer_size
            return f"{whole}{unit}{part}{finer}" if whole < PRECISE_BELOW and part else f"{whole}{unit}"
    return f"{left}s"


# -- history


def print_history(entries: Sequence[Mapping[str, Any]]) -> None:
    columns = ["number", "revision", "version", "outcome", "reason", "at", "digest"]
    print_table(columns, [history_cells(one) for one in entries])


def print_decisions(made: Sequence[Mapping[str, Any]]) -> None:
    if not made:
        click.echo("no decision is written down")
        return
    print_table(["number", "at", "decision", "version", "weight", "by", "why"], [decision_cells(one) for one in made])


def decision_cells(one: Mapping[str, Any]) -> list[str]:
    before, after, by = (one.get(part) or {} for part in ("before", "after", "by"))
    who = (by.get("name") or "a person") if by.get("kind") == "Person" else "operator"
    moved = f"{share(before, one.get('revision'))} → {share(after, one.get('revision'))} %"
    named = [str(one.get(key, "")) for key in ("reason", "revision")]
    at = str(one.get("at", ""))[:19].replace("T", " ")
    return [str(one.get("number", "")), at, *named, moved, who, str(one.get("message", ""))]


def share(standing: Mapping[str, Any], revision: object) -> int:
    """Percent of the requests that a version was to get."""
    given = int(standing.get("weight") or 0)
    if revision == standing.get("candidate"):
        return given
    return FULL - given if revision == standing.get("stable") else 0


def history_cells(one: Mapping[str, Any]) -> list[str]:
    at = str(one.get("at", ""))[:19].replace("T", " ")
    named = [str(one.get(key, "")) for key in ("number", "revision", "version", "outcome", "reason")]
    return [*named, at, str(one.get("digest", ""))[:SHORT_DIGEST]]
