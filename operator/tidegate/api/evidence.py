"""What status remembers of the counts that a rollout is judged by.

Everything here is counts, never rates: rates are made from them when somebody asks.  A *signal* is one kind of
bad event (`errors`, `latency/p99`, `latencyIncrease/p99`, `top1`, `output/scores`); every list of counts has one
number per signal, in the order of `Evidence.signals`, so that the largest evidence stays under 32 KiB of JSON (shown by
a test).  `tidegate.plan.evidence` fills these types, `tidegate.plan.verdict` reads them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_SIGNALS = 20
MAX_INSTANCES = 64
MAX_REMEMBERED = 400  # servers times signals: with more than six signals fewer servers are counted
MAX_SEGMENTS = 12
MAX_QUERIES = 5
RECENT_INTERVALS = 6

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SignalName = Annotated[str, Field(max_length=80)]
Counts = Annotated[tuple[Count, ...], Field(max_length=MAX_SIGNALS)]
Amounts = Annotated[tuple[Amount, ...], Field(max_length=MAX_SIGNALS)]


class EvidenceModel(BaseModel):
    """Status text: camelCase outside, frozen inside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Tally(EvidenceModel):
    """Counts of one version over some time."""

    requests: Count = Field(0, description="Answers with 2xx or a server fault; client errors are no evidence.")
    bins: Count = Field(0, description="Seconds in which at least one of them ended.")
    compared: Count = Field(0, description="Requests whose answer was compared with the other version's.")
    compared_bins: Count = Field(0, description="Seconds in which at least one comparison ended.")
    bad: Counts = Field((), description="Bad events, one number per signal.")
    squares: Amounts = Field((), description="Sum over seconds of bad²/requests, one number per signal.")
    blocks: Count = Field(0, description="Blocks of at least ten seconds in which at least one request ended.")
    compared_blocks: Count = Field(0, description="Such blocks in which at least one comparison ended.")
    block_squares: Amounts = Field((), description="Sum over blocks of bad²/requests, one number per signal.")


class Interval(EvidenceModel):
    """What one analysis interval brought, by version."""

    stable: Tally = Field(default_factory=Tally, description="The stable version's counts.")
    candidate: Tally = Field(default_factory=Tally, description="The candidate's counts.")


class Block(EvidenceModel):
    """Counts that are summed up until ten seconds are over: clumps show at this scale that seconds do not show."""

    started_at: AwareDatetime = Field(description="When it began.")
    counts: Interval = Field(default_factory=Interval, description="What it brought so far.")


class Segment(EvidenceModel):
    """A time in which the share of the traffic stayed the same: only within one are the two versions comparable."""

    share: str = Field(max_length=64, description="What was the same: the weights and the ready servers.")
    stable_requests: Count = Field(0, description="Requests of the stable version.")
    candidate_requests: Count = Field(0, description="Requests of the candidate.")
    stable_bad: Counts = Field((), description="Bad events of the stable version, one number per signal.")
    candidate_bad: Counts = Field((), description="Bad events of the candidate, one number per signal.")


class StepRequests(EvidenceModel):
    """Requests since the current step began; `minRequests` is about these."""

    step: int = Field(0, ge=0, description="The step they were counted in.")
    stable: Count = Field(0, description="Requests of the stable version.")
    candidate: Count = Field(0, description="Requests of the candidate.")


class Synthetic(EvidenceModel):
    """Golden samples sent as requests: counted apart, they enter no test."""

    stable_requests: Count = Field(0, description="Golden samples answered by the stable version.")
    stable_bad: Count = Field(0, description="Those that ended in a server fault or a wrong answer.")
    candidate_requests: Count = Field(0, description="Golden samples answered by the candidate.")
    candidate_bad: Count = Field(0, description="Those that ended in a server fault or a wrong answer.")


class LatencyLimit(EvidenceModel):
    """A latency limit as it is read off the servers' histograms; fixed when the rollout starts."""

    signal: SignalName = Field(description="The signal that counts requests slower than this.")
    seconds: Amount = Field(
        description="The limit, rounded up to an edge of the histogram; 0 where the stable version had too few "
        "requests to know its own figure."
    )
    stable_seconds: Amount = Field(0, description="For an increase: the stable version's own figure.")


class Baseline(EvidenceModel):
    """One server's counters when they were last read: the next reading counts from here."""

    instance: str = Field(max_length=64, description="The server process; a restarted one has another name.")
    until: Amount = Field(description="Unix time up to which its counters were read.")
    warm: bool = Field(True, description="Whether its warm-up is over.")
    requests: Count = Field(0, description="Its counters then: answers.")
    bins: Count = Field(0, description="Seconds with answers.")
    compared: Count = Field(0, description="Comparisons.")
    compared_bins: Count = Field(0, description="Seconds with comparisons.")
    bad: Counts = Field((), description="Bad events, one number per signal.")
    squares: Amounts = Field((), description="Sum over seconds of bad²/requests, one number per signal.")
    synthetic: tuple[Count, Count] = Field((0, 0), description="Golden samples: answered, bad.")


class Evidence(EvidenceModel):
    """All that a rollout has measured."""

    started_at: AwareDatetime = Field(description="When counting began.")
    interval_started_at: AwareDatetime = Field(description="When the interval that is still open began.")
    stable_revision: str = Field(max_length=63, description="The revision whose counts are under `stable`.")
    candidate_revision: str = Field(max_length=63, description="The revision whose counts are under `candidate`.")
    signals: Annotated[tuple[SignalName, ...], Field(max_length=MAX_SIGNALS)] = Field(
        ("errors",), description="The kinds of bad events, in the order of every list of counts."
    )
    limits: Annotated[tuple[LatencyLimit, ...], Field(max_length=10)] = Field(
        (), description="The latency limits, fixed when the rollout started."
    )
    ceilings: Amounts = Field((), description="The share of bad events that is accepted, by signal; 0 for no limit.")
    ratios: Amounts = Field(
        (), description="How many times the stable version's share is accepted, by signal; 0 for no limit."
    )
    exceeded: Counts = Field((), description="Intervals in which the share was above its ceiling, by signal.")
    increased: Counts = Field((), description="Intervals in which the rate was above its ratio, by signal.")
    intervals: Count = Field(0, description="Intervals that are over: how often the evidence was looked at.")
    before: Tally = Field(default_factory=Tally, description="The stable version's counts before the first step.")
    stable: Tally = Field(default_factory=Tally, description="The stable version's counts since then.")
    candidate: Tally = Field(default_factory=Tally, description="The candidate's counts.")
    recent: Annotated[tuple[Interval, ...], Field(max_length=RECENT_INTERVALS)] = Field(
        (), description="The last intervals, the newest last."
    )
    open: Interval = Field(default_factory=Interval, description="The interval that is not over yet.")
    block: Block = Field(description="The block that is not over yet.")
    segments: Annotated[tuple[Segment, ...], Field(max_length=MAX_SEGMENTS)] = Field(
        (), description="Counts by share of the traffic, the current one last."
    )
    step: StepRequests = Field(default_factory=StepRequests, description="Requests of the current step.")
    synthetic: Synthetic = Field(default_factory=Synthetic, description="Golden samples sent as requests.")
    baselines: Annotated[tuple[Baseline, ...], Field(max_length=MAX_INSTANCES)] = Field(
        (), description="The servers' counters at the last reading; of more than 64 servers a fixed sample."
    )


class QueryTally(EvidenceModel):
    """What a query to Prometheus has answered; it has no counts, only intervals."""

    key: Annotated[str, Field(max_length=10)] = Field(
        description="Stands for the query, its name and its limits: edited, it begins anew."
    )
    failed: Count = Field(0, description="Intervals whose answer was outside the limits.")
    value: Annotated[float, Field(allow_inf_nan=False)] | None = Field(None, description="The last answer.")
    message: Annotated[str, Field(max_length=72)] = Field("", description="Why there was none the last time.")
