"""How a measurement is shown: as data, as tables, as a page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Any

import click

from tidegate.bench.plot import STYLE, plot
from tidegate.bench.run import Step
from tidegate.bench.scaling import HEADROOM, ScalingTarget, rounded, scaling_target
from tidegate.bench.sweep import Findings, full
from tidegate.cli.output import print_table
from tidegate.page import footer, framed, row, table
from tidegate.plan.wording import figures

COLUMNS = ["load", "answered/s", "p50 ms", "p90 ms", "p99 ms", "p99 between", "failed", "in flight", "limit"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement and what it was of; `target` is None where no knee was found."""

    found: Findings
    model: str
    where: str
    protocol: str
    asked: str  # the requests, in words
    limit_given: bool
    cores: int  # of the server; 0 if unknown

    @property
    def target(self) -> ScalingTarget | None:
        return scaling_target(self.found.target, self.cores) if self.found.target else None

    @property
    def title(self) -> str:
        return f"{self.model}: latency against load ({self.protocol}, {self.asked})"


def document(measured: Measured) -> dict[str, Any]:
    found, target = measured.found, measured.target
    return {
        "model": measured.model,
        "where": measured.where,
        "protocol": measured.protocol,
        "requests": measured.asked,
        "limit": {"p99Ms": _ms(found.limit), "given": measured.limit_given},
        "alone": found.alone and _step(found, found.alone),
        "peak": found.peak and {**_step(found, found.peak), "loadGeneratorFull": full(found.peak)},
        "levels": [_step(found, step) for step in found.steps],
        "knee": found.knee and _step(found, found.knee),
        "target": found.target and {**_step(found, found.target), "headroom": HEADROOM},
        "scaling": target and _scaling(target),
        "loadGeneratorBound": found.by_the_client,
        "finished": found.finished,
        "durationNeeded": found.too_short or None,
    }


def _scaling(target: ScalingTarget) -> dict[str, Any]:
    """Three forms of the same, of which a manifest has one."""
    return {
        "requestsPerSecond": target.requests_per_second,
        "concurrency": target.concurrency,
        "cpuUtilization": target.cpu_utilization or None,
        "cores": target.cores or None,
    }


def _step(found: Findings, step: Step) -> dict[str, Any]:
    low, high = step.p99_interval
    return {
        "requestsPerSecond": round(step.rate, 3) if step.rate else None,
        "connections": step.connections,
        "seconds": round(step.seconds, 3),
        "requests": step.requests,
        "failures": {str(status) if status else "unanswered": count for status, count in step.failures.items()},
        "answeredPerSecond": round(step.answered, 3),
        "p50Ms": _ms(step.p50),
        "p90Ms": _ms(step.p90),
        "p99Ms": _ms(step.p99),
        "p99BetweenMs": [_ms(low), _ms(high)],
        "inFlight": round(step.in_flight, 3),
        "serverCores": round(step.server_cores, 3) or None,
        "lagMs": _ms(step.lag),
        "verdict": str(step.verdict) if step.rate and math.isfinite(found.limit) else None,
    }


def _ms(seconds: float) -> float | None:
    return round(seconds * 1e3, 3) if math.isfinite(seconds) else None


def print_measured(measured: Measured) -> None:
    found = measured.found
    click.echo(f"{measured.model} at {measured.where}, {measured.protocol}: {measured.asked}")
    rows = [_row(found, step) for step in _in_order(found)]
    if rows:
        print_table(COLUMNS, rows)
    for line in conclusions(measured):
        click.echo(line)
    if measured.target:
        click.echo(measured.target.snippet(), nl=False)


def _in_order(found: Findings) -> list[Step]:
    closed = [step for step in (found.alone, found.peak) if step]
    return [*closed, *found.rising] + ([found.target] if found.target else [])


def _row(found: Findings, step: Step) -> list[object]:
    low, high = (figures(edge * 1e3) if math.isfinite(edge) else "?" for edge in step.p99_interval)
    load = f"{figures(step.rate)}/s" if step.rate else f"{step.connections} at a time"
    verdict = str(step.verdict) if step.rate and math.isfinite(found.limit) else ""
    return [
        load, figures(step.answered), _written(step.p50), _written(step.p90), _written(step.p99), f"{low} - {high}",
        step.failed, figures(step.in_flight), verdict,
    ]  # fmt: skip


def _written(seconds: float) -> str:
    return figures(seconds * 1e3) if math.isfinite(seconds) else "never"


def conclusions(measured: Measured) -> list[str]:
    """What follows from it, a sentence each."""
    found, lines = measured.found, []
    if not found.finished:
        lines.append("interrupted: this is what was measured until then")
    if found.alone and not measured.limit_given:
        lines.append(f"limit   p99 {_written(found.limit)} ms: ten times what a request takes alone; --slo-p99 sets it")
    if told := _knee(found):
        lines.append(f"knee    {told}")
    if not math.isfinite(found.limit) and not found.holds and found.finished:
        lines.append("failed  more than 1 % of the requests: no p99 at all")
    if found.by_the_client and found.beyond:
        late = f"late by {_written(found.beyond.lag)} ms at {figures(found.beyond.rate)}/s"
        lines.append(f"note    the load generator itself was {late}: the server may bear more")
    elif found.peak and full(found.peak):
        lines.append("note    the load generator's core was full in the closed loop: the server may do more")
    if found.target:
        share = f"{HEADROOM:.0%} of the knee"
        lines.append(f"target  {share}, measured: p99 {_written(found.target.p99)} ms, {_in_work(found.target)}")
        if not found.target.holds(found.limit):
            lines.append("note    even that did not hold, twice: something disturbs this machine; measure again")
    return lines


def _knee(found: Findings) -> str:
    if found.too_short:
        return f"not known: too short for this model: --duration {found.too_short:.0f}s"
    knee, limit = found.knee, f"p99 {_written(found.limit)} ms"
    if not knee:
        return _none(found, limit) if math.isfinite(found.limit) and not found.holds else ""
    beyond = f", {figures(found.beyond.rate)}/s are too many" if found.beyond else ", and more was not tried"
    return f"{figures(knee.rate)}/s within {limit} ({_in_work(knee)}){beyond}"


def _none(found: Findings, limit: str) -> str:
    if found.steps:
        return f"none: even {figures(found.rising[0].rate)}/s are above {limit}"
    alone = found.alone if found.finished else None
    return f"none: one request alone takes {_written(alone.p50)} ms, above {limit}" if alone else ""


def _in_work(step: Step) -> str:
    return f"{figures(rounded(step.in_flight))} in work at once"


def page(measured: Measured) -> str:
    """One HTML file with the plot and the figures; it fetches nothing."""
    rows = (row(_row(measured.found, step)) for step in _in_order(measured.found))
    said = "".join(f"<li>{escape(line)}</li>" for line in conclusions(measured))
    snippet = f"<pre>{escape(measured.target.snippet())}</pre>" if measured.target else ""
    body = f"""<h1>{escape(measured.model)}</h1>
<p class="under">{escape(measured.where)}, {escape(measured.protocol)}, {escape(measured.asked)}</p>
<figure>{plot(measured.found, measured.title)}</figure>
<ul class="facts">{said}</ul>
{snippet}
{table(COLUMNS, rows)}
{footer("tidegate bench")}"""
    return framed(measured.model, "bench", body, drawn=STYLE)
