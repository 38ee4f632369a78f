"""How traffic moves from the stable version to the candidate, and what sends it back."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidegate.api.evidence import MAX_QUERIES
from tidegate.api.rules import ApiModel, Keyed, Rule
from tidegate.api.scalars import (
    NUMBER,
    Between,
    Duration,
    Flag,
    Percent,
    Positive,
    Rate,
    Seconds,
    SettingName,
    matches,
)

MAX_STEPS = 20
OutputName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[!-~]+$")]
Tolerance = Annotated[float, Field(ge=0, le=1e12), NUMBER]


class Step(ApiModel):
    """A share of the traffic, and how long it is watched."""

    weight: Annotated[int, Field(ge=1, le=99), NUMBER] = Field(
        description="Percent of the requests that go to the candidate, 1 to 99."
    )
    hold: Annotated[timedelta | Literal["manual"], Between("0s", "168h", word="manual")] = Field(
        timedelta(minutes=1),
        description="How long the step lasts at least; `manual` waits for `tidegate promote`.",
    )


class LatencyLimits(ApiModel):
    """The longest answer times by quantile: `p99: 80ms` means at most 1 % of the requests are slower than 80 ms."""

    p50: Positive | None = Field(None, description="Half of the requests may take longer.")
    p90: Positive | None = Field(None, description="One in ten requests may take longer.")
    p95: Positive | None = Field(None, description="One in twenty requests may take longer.")
    p99: Positive | None = Field(None, description="One in a hundred requests may take longer.")
    p99_9: Positive | None = Field(None, alias="p99.9", description="One in a thousand requests may take longer.")

    def written(self) -> dict[str, timedelta]:
        """The limits that were given, by the quantile's name in manifests."""
        return {name: value for name in QUANTILES if (value := getattr(self, name.replace(".", "_"))) is not None}


class LatencyIncreases(ApiModel):
    """How much slower than the stable version a candidate may be, by quantile."""

    p50: Percent | None = Field(None, description="Against the stable version's median.")
    p90: Percent | None = Field(None, description="Against the stable version's p90.")
    p95: Percent | None = Field(None, description="Against the stable version's p95.")
    p99: Percent | None = Field(None, description="Against the stable version's p99.")
    p99_9: Percent | None = Field(None, alias="p99.9", description="Against the stable version's p99.9.")

    def written(self) -> dict[str, float]:
        """The increases that were given, as shares, by the quantile's name in manifests."""
        return {name: value for name in QUANTILES if (value := getattr(self, name.replace(".", "_"))) is not None}


# Name in manifests -> the share of the requests that may be slower.
QUANTILES: dict[str, float] = {"p50": 0.5, "p90": 0.1, "p95": 0.05, "p99": 0.01, "p99.9": 0.001}


class OutputDivergence(ApiModel):
    """When an output of the candidate counts as different."""

    name: OutputName = Field(description="Name of the output tensor.")
    atol: Tolerance = Field(1e-3, description="Absolute tolerance of one element.")
    rtol: Tolerance = Field(1e-2, description="Tolerance relative to the stable version's value.")
    max_share: Rate = Field(0.01, description="Share of the compared requests that may differ.")


class MaxDivergence(ApiModel):
    """How much the answers of the two versions may differ."""

    RULES: ClassVar = (
        Rule(
            "has(self.top1Disagreement) || size(self.outputs) > 0",
            "write top1Disagreement, outputs or both",
            lambda limits: limits.top1_disagreement is not None or bool(limits.outputs),
        ),
    )
    top1_disagreement: Rate | None = Field(
        None, description="Share of the compared requests whose best class may differ."
    )
    outputs: Annotated[tuple[OutputDivergence, ...], Field(max_length=8), Keyed("name")] = Field(
        (),
        description="Limits by output tensor.",
    )


class Synthetic(ApiModel):
    """Golden samples sent as requests."""

    rate: Annotated[float, Field(ge=0, le=100), NUMBER] = Field(1, description="Requests per second; 0 sends none.")


class PrometheusQuery(ApiModel):
    """A query whose value must stay within bounds."""

    RULES: ClassVar = (
        Rule(
            "has(self.min) || has(self.max)",
            "write min, max or both",
            lambda query: query.min is not None or query.max is not None,
        ),
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "write a min that is not above max",
            lambda query: query.min is None or query.max is None or query.min <= query.max,
        ),
    )
    name: Annotated[
        str, Field(min_length=1, max_length=40), matches(r"^[A-Za-z0-9][-A-Za-z0-9_.]*$", "start with a letter")
    ] = Field(description="Name in the status and in reports.")
    query: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[\t\n -~]+$")] = Field(
        description="PromQL that gives one number; {{namespace}}, {{name}} and {{revision}} (the candidate's) are "
        "filled in: inside a string as they are, elsewhere quoted."
    )
    min: Annotated[float, Field(ge=-1e15, le=1e15), NUMBER] | None = Field(None, description="Least good value.")
    max: Annotated[float, Field(ge=-1e15, le=1e15), NUMBER] | None = Field(None, description="Greatest good value.")


class Prometheus(ApiModel):
    """A Prometheus server that the operator knows, and questions to it."""

    ref: SettingName = Field(
        "main", description="Name of the server in the operator's settings; the object holds no address."
    )
    queries: Annotated[tuple[PrometheusQuery, ...], Field(max_length=MAX_QUERIES), Keyed("name")] = Field(
        (),
        description="Queries judged at each interval.",
    )


class Analysis(ApiModel):
    """What a candidate is judged by."""

    source: Literal["Direct", "Prometheus"] = Field(
        "Direct", description="Where the counts come from: the servers themselves, or a Prometheus server."
    )
    interval: Annotated[timedelta, Between("1s", "1h")] = Field(
        timedelta(seconds=10), description="How often the counts are looked at."
    )
    confidence: Annotated[float, Field(ge=0, le=0.9999), NUMBER] = Field(
        0.99,
        description="How sure a rollback must be, over the whole rollout, however often it is looked at; at least "
        "0.5. 0 compares each interval plainly and counts failures.",
    )
    min_requests: Annotated[int, Field(ge=1, le=1_000_000), NUMBER] = Field(
        50, description="Requests that the candidate must have had in a step; fewer leave it undecided."
    )
    warmup: Duration = Field(timedelta(seconds=10), description="A server's first time, which is left out.")
    max_error_rate: Rate = Field(
        0.05, description="Share of the requests that may fail by the server's fault (5xx, timeouts)."
    )
    max_error_rate_increase: Annotated[float, Field(ge=1, le=1000), NUMBER] = Field(
        1.5, description="How many times the stable version's error rate is still accepted."
    )
    max_latency: LatencyLimits | None = Field(None, description="Limits of the answer times.")
    max_latency_increase: LatencyIncreases | None = Field(
        None, description="Limits of the answer times against the stable version's."
    )
    max_divergence: MaxDivergence | None = Field(
        None, description="Limits of differing answers, on copied requests (see shadow)."
    )
    synthetic: Synthetic = Field(
        default_factory=Synthetic,
        description="Golden samples sent to the candidate where users send no requests.",
    )
    prometheus: Prometheus | None = Field(None, description="Questions to a Prometheus server.")
    failure_limit: Annotated[int, Field(ge=1, le=100), NUMBER] = Field(
        2, description="Failed intervals before the rollback, for queries and for confidence 0."
    )
    on_inconclusive: Literal["Promote", "Rollback", "Wait"] = Field(
        "Promote",
        description="What to do when the deadline comes without a verdict: Promote does it only when the measured "
        "figures are within the limits, and rolls back otherwise; Wait never decides.",
    )
    deadline: Seconds = Field(timedelta(minutes=30), description="For the whole rollout, from its first step.")

    RULES: ClassVar = (
        Rule(
            "self.confidence == 0.0 || self.confidence >= 0.5",
            "write a confidence between 0.5 and 0.9999, or 0 for a plain comparison of each interval",
            lambda analysis: analysis.confidence == 0 or analysis.confidence >= 0.5,  # noqa: PLR2004
        ),
        Rule(
            "self.source != 'Prometheus' || has(self.prometheus)",
            "add prometheus: {ref: NAME}, or write source: Direct",
            lambda analysis: analysis.source != "Prometheus" or analysis.prometheus is not None,
        ),
    )


class Shadow(ApiModel):
    """Copies of requests to the candidate; its answers never reach clients."""

    percent: Annotated[float, Field(ge=0, le=100), NUMBER] = Field(
        10, description="Percent of the stable version's requests that are copied, before and during steps."
    )


RISING = Rule(
    "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]"
    ".all(i, i + 1 >= size(self.steps) || self.steps[i].weight < self.steps[i + 1].weight)",
    "write the steps with rising weights, such as 10, 50; 100 follows by itself",
    lambda rollout: all(a.weight < b.weight for a, b in zip(rollout.steps, rollout.steps[1:], strict=False)),
)


class Rollout(ApiModel):
    """How a new version takes over."""

    RULES: ClassVar = (RISING,)
    steps: Annotated[tuple[Step, ...], Field(max_length=MAX_STEPS)] = Field(
        (Step(weight=10, hold=timedelta(minutes=1)), Step(weight=50, hold=timedelta(minutes=1))),
        description="Shares of the traffic, rising; 100 % follows the last. An empty list sends all at once.",
    )
    surge: Literal["Auto", "Surge", "Replace"] = Field(
        "Auto",
        description="Whether the candidate gets servers beside the stable version's (Surge) or in place of them "
        "(Replace, which needs no spare GPU); Auto asks the scheduler where servers have an accelerator, else it is "
        "Surge.",
    )
    allow_downtime: Flag = Field(
        False, description="Whether Replace may stop the only server before the next one is ready."
    )
    analysis: Analysis = Field(default_factory=Analysis, description="What the candidate is judged by.")
    shadow: Shadow | None = Field(None, description="Copies of requests to the candidate; none without it.")
    progress_deadline: Seconds = Field(
        timedelta(minutes=15), description="How long servers or the route may be awaited."
    )
    scale_down_delay: Duration = Field(
        timedelta(minutes=5),
        description="How long the old version stays warm after promotion; until then checks go on and the way back "
        "is instant.",
    )
    history_limit: Annotated[int, Field(ge=1, le=10), NUMBER] = Field(
        5, description="Earlier versions that are remembered and can be returned to."
    )
