"""What Tidegate says about a ModelDeployment, and all that it remembers of it.

Every list, map and text is bounded: the largest status stays under 64 KiB (shown by a test).  Fields that an older
version does not know are passed over, so that a status may be read by the version before the one that wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from tidegate.api.evidence import MAX_QUERIES, Evidence, QueryTally
from tidegate.api.rules import Keyed

Revision = Annotated[str, Field(max_length=63)]
Reason = Annotated[str, Field(max_length=63)]
Message = Annotated[str, Field(max_length=256)]
Weight = Annotated[int, Field(ge=0, le=100)]
LONGEST_SURGE_MESSAGE = 150
MAX_CHECKS = 16
MAX_REJECTED = 10
MAX_HISTORY = 11  # historyLimit and the version that serves


class StatusModel(BaseModel):
    """Part of a status: camelCase outside, frozen inside, a null is not there."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, written: Any) -> Any:
        if isinstance(written, Mapping):
            return {name: value for name, value in written.items() if value is not None}
        return written


class Condition(StatusModel):
    """One fact about the object, as in Kubernetes."""

    type: Annotated[str, Field(max_length=63)] = Field(description="What the fact is about, such as Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Reason = Field(description="Why, as a code of docs/errors.md.")
    message: Message = Field("", description="Why, as a sentence.")
    last_transition_time: AwareDatetime = Field(description="When `status` last changed.")
    observed_generation: int = Field(0, ge=0, description="Generation of the spec that was looked at.")


class RevisionStatus(StatusModel):
    """One version as it is served."""

    revision: Revision = Field(description="Name of the revision.")
    number: int = Field(0, ge=0, description="Counts revisions from 1; the integer version of the TensorFlow API.")
    digest: Annotated[str, Field(max_length=71)] = Field("", description="Digest of the bundle.")
    uri: Annotated[str, Field(max_length=512)] = Field("", description="Where the bundle came from.")
    version: Annotated[str, Field(max_length=64)] = Field("", description="Version that the bundle gives itself.")
    weight: Weight = Field(0, description="Percent of the requests that it is to get.")
    realised_weight: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None, description="Percent of the requests that it got when last measured."
    )
    replicas: int = Field(0, ge=0, description="Servers that exist.")
    ready_replicas: int = Field(0, ge=0, description="Servers that are ready.")
    device: Annotated[str, Field(max_length=32)] = Field("", description="What it runs on.")


class Measurement(StatusModel):
    """Figures of one version in the last interval and in all."""

    requests: int = Field(0, ge=0, description="Requests since the rollout began.")
    rps: float | None = Field(None, description="Requests per second in the last interval.")
    error_rate: float | None = Field(None, description="Share of requests that failed by the server's fault.")
    p50_ms: float | None = Field(None, alias="p50Ms", description="Median answer time in milliseconds.")
    p99_ms: float | None = Field(None, alias="p99Ms", description="Answer time of the slowest percent.")
    divergence: float | None = Field(None, description="Share of the compared requests that differed.")


class Measurements(StatusModel):
    """Both versions side by side."""

    stable: Measurement = Field(default_factory=Measurement, description="The stable version's figures.")
    candidate: Measurement = Field(default_factory=Measurement, description="The candidate's figures.")


class CheckStatus(StatusModel):
    """What one check says."""

    name: Annotated[str, Field(max_length=80)] = Field(description="The check, such as maxErrorRate.")
    verdict: Literal["pass", "fail", "undecided"] = Field(description="What it says so far.")
    message: Message = Field("", description="The numbers, as a sentence.")


class RolloutStatus(StatusModel):
    """A rollout in progress, and all that is needed to go on after a crash."""

    cause: Annotated[str, Field(max_length=16)] = Field("", description="What began it: Spec, Rollback or Restart.")
    phase: Annotated[str, Field(max_length=32)] = Field("", description="Where the rollout stands.")
    surge: Annotated[str, Field(max_length=16)] = Field(
        "Surge",
        description="Surge or Replace; before one is chosen Auto, and Prove while the bundle is proved for Replace.",
    )
    surge_message: Annotated[str, Field(max_length=LONGEST_SURGE_MESSAGE)] = Field(
        "", description="Why that was chosen, as a sentence."
    )
    step: int = Field(0, ge=0, description="Steps that have been entered; 0 before the first.")
    weight: Weight = Field(0, description="Weight of the current step; the candidate's own may be held lower.")
    live: int = Field(1, ge=0, description="Servers of the stable version at the start: they stay until the end.")
    idle: bool = Field(False, description="Whether the deployment was scaled to zero at the start.")
    previous: RevisionStatus | None = Field(None, description="The old version, kept warm after the promotion.")
    began_at: AwareDatetime | None = Field(None, description="When the rollout began.")
    entered_at: AwareDatetime | None = Field(None, description="Since when it has this phase and weight.")
    started_at: AwareDatetime | None = Field(None, description="When the candidate was ready for its first step.")
    weight_before: Weight = Field(0, description="The candidate's weight before the current one.")
    weight_asked_at: AwareDatetime | None = Field(None, description="When the route was last asked for a weight.")
    step_started_at: AwareDatetime | None = Field(None, description="When the step's weight was seen in the counts.")
    waiting_since: AwareDatetime | None = Field(None, description="Since when servers or the route are awaited.")
    frozen_since: AwareDatetime | None = Field(None, description="Since when it is paused or waits for a person.")
    stable_down_since: AwareDatetime | None = Field(None, description="Since when no stable server is ready.")
    checked_old_at: AwareDatetime | None = Field(None, description="When golden samples went to the old version.")
    checked_old_requests: int = Field(0, ge=0, description="Golden samples that it had answered until then.")
    checked_old_bad: int = Field(0, ge=0, description="Those of them that it had answered badly.")
    until: AwareDatetime | None = Field(None, description="When the old version, or a failed first one, is stopped.")
    promoted_step: int = Field(-1, ge=-1, description="The step whose hold a person has ended.")
    full: bool = Field(False, description="Whether a person wants 100 % without further steps.")
    decided: bool = Field(False, description="Whether the deadline has decided for the candidate.")
    stable_lost: bool = Field(False, description="Whether the candidate stands in for a stable version that is gone.")
    ceiling: Weight | None = Field(None, description="The weight it is held at while both versions are bad alike.")
    hold_reason: Reason = Field("", description="Why it does not move, as a code of docs/errors.md.")
    hold_message: Message = Field("", description="Why it does not move, as a sentence.")
    checks: Annotated[tuple[CheckStatus, ...], Field(max_length=MAX_CHECKS)] = Field(
        (), description="What each check says so far."
    )
    queries: Annotated[tuple[QueryTally, ...], Field(max_length=MAX_QUERIES)] = Field(
        (), description="What the queries to Prometheus have answered."
    )
    queried_at: AwareDatetime | None = Field(None, description="When their answers were last compared.")
    measurements: Measurements | None = Field(None, description="Last figures of both versions.")
    evidence: Evidence | None = Field(None, description="The counts that verdicts are made from.")


class RejectedRevision(StatusModel):
    """A version that was refused or rolled back."""

    key: Annotated[str, Field(max_length=74)] = Field(description="The revision and what it was judged by.")
    class_: Literal["Content", "Environment", "Command"] = Field(
        alias="class", description="Content: not tried again; Environment: tried again later; Command: a person."
    )
    reason: Reason = Field(description="Why, as a code of docs/errors.md.")
    message: Message = Field("", description="Why, as a sentence.")
    at: AwareDatetime = Field(description="When.")
    attempts: int = Field(1, ge=0, description="How often it was tried.")
    environment: Annotated[str, Field(max_length=128)] = Field("", description="What was around it when it failed.")
    retry_at: AwareDatetime | None = Field(None, description="When it is tried again.")


class HistoryEntry(StatusModel):
    """A version that was stable, or tried to become it."""

    revision: Revision = Field(description="Name of the revision.")
    number: int = Field(0, ge=0, description="Counts revisions from 1.")
    digest: Annotated[str, Field(max_length=71)] = Field("", description="Digest of the bundle.")
    version: Annotated[str, Field(max_length=64)] = Field("", description="Version that the bundle gives itself.")
    outcome: Annotated[str, Field(max_length=16)] = Field("", description="How it ended.")
    reason: Reason = Field("", description="Why, as a code of docs/errors.md.")
    at: AwareDatetime = Field(description="When it ended.")


class ResolutionStatus(StatusModel):
    """What the bundle in the spec turned out to be; asked once for each change of `spec.bundle`."""

    key: Annotated[str, Field(max_length=16)] = Field(
        "", description="Stands for what was read: `spec.bundle`, and the image that serves it."
    )
    source: Annotated[str, Field(max_length=16)] = Field(
        "", description="Stands for the `spec.bundle` that was read: while it stays, so does the digest."
    )
    attempt: int = Field(0, ge=0, description="Counts the readings.")
    digest: Annotated[str, Field(max_length=71)] = Field("", description="The bundle's digest, pinned from then on.")
    revision: Revision = Field("", description="A revision that serves it.")


Verb = Annotated[str, Field(max_length=20)]


class ModelDeploymentStatus(StatusModel):
    """What is there."""

    observed_generation: int = Field(0, ge=0, description="Generation of the spec that this status speaks of.")
    phase: Annotated[str, Field(max_length=32)] = Field("", description="One word for where the deployment stands.")
    conditions: Annotated[tuple[Condition, ...], Field(max_length=8), Keyed("type")] = Field(
        (),
        description="Facts: Ready, Promoted, Reconciling, Stalled, BundleVerified, RouteReady, Degraded.",
    )
    stable: RevisionStatus | None = Field(None, description="The version that serves.")
    candidate: RevisionStatus | None = Field(None, description="The version that is being tried.")
    rollout: RolloutStatus | None = Field(None, description="The rollout in progress.")
    resolution: ResolutionStatus | None = Field(None, description="What the bundle in the spec turned out to be.")
    decisions: int = Field(0, ge=0, description="How many have been made: the number of the last one in the history.")
    last_number: int = Field(0, ge=0, description="The highest number that a revision has had: none is given twice.")
    paused: bool = Field(False, description="Whether the pause command froze rollouts.")
    rollback: Revision = Field("", description="The revision that a person wants back, until it serves.")
    restart: Revision = Field("", description="The revision that a restart command made, until it serves.")
    rejected: Annotated[tuple[RejectedRevision, ...], Field(max_length=MAX_REJECTED)] = Field(
        (), description="Versions that were refused or rolled back, the newest last."
    )
    commands: Annotated[dict[Verb, Annotated[str, Field(max_length=160)]], Field(max_length=8)] = Field(
        default_factory=dict, description="The last command handled, by verb."
    )
    history: Annotated[tuple[HistoryEntry, ...], Field(max_length=MAX_HISTORY)] = Field(
        (), description="Versions that served or tried to, the newest last."
    )
    url: Annotated[str, Field(max_length=320)] = Field("", description="Where the model answers.")
