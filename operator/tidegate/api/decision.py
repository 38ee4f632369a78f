"""One decision about a deployment, as it is told everywhere: in the operator's log, in the history and in the report.

The form is stable: docs/operations.md lists its fields, and a test compares the two.  Nothing in it is a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from tidegate.api.status import MAX_CHECKS, CheckStatus, Measurement, Reason, Revision, StatusModel, Weight


class Decider(StatusModel):
    """Who or what decided."""

    kind: Literal["Operator", "Person"] = Field("Operator", description="Operator, or Person: a command's act.")
    name: Annotated[str, Field(max_length=128)] = Field(
        "", description="The person, as `tidegate` wrote it beside the command; empty where nobody did."
    )
    command: Annotated[str, Field(max_length=181)] = Field("", description="The command: its verb and its value.")


class Standing(StatusModel):
    """Where a deployment stood."""

    phase: Annotated[str, Field(max_length=32)] = Field("", description="The phase of its status.")
    stable: Revision = Field("", description="The revision that serves.")
    candidate: Revision = Field("", description="The revision that is tried.")
    step: int = Field(0, ge=0, description="Steps that have been entered; 0 before the first.")
    weight: Weight = Field(0, description="Percent of the requests that the candidate is to get.")
    hold: Reason = Field("", description="Why the rollout did not move, as a code.")


class Decision(StatusModel):
    """What was decided, by whom, on which numbers, and what it changed."""

    number: int = Field(ge=1, description="Counts this deployment's decisions: none is missing between two numbers.")
    at: AwareDatetime = Field(description="When.")
    type: Literal["Normal", "Warning"] = Field("Normal", description="Warning: something did not go well.")
    reason: Reason = Field(description="What was decided, as a code of docs/errors.md.")
    message: Annotated[str, Field(max_length=512)] = Field("", description="Why, as a sentence with its numbers.")
    revision: Revision = Field("", description="The version that it is about.")
    generation: int = Field(0, ge=0, description="The generation of the spec that it followed.")
    by: Decider = Field(default_factory=Decider, description="Who or what decided.")
    before: Standing = Field(description="Where the deployment stood.")
    after: Standing = Field(description="Where it stood then.")
    checks: Annotated[tuple[CheckStatus, ...], Field(max_length=MAX_CHECKS)] = Field(
        (), description="What each check of the analysis said."
    )
    stable: Measurement | None = Field(None, description="Figures of the stable version.")
    candidate: Measurement | None = Field(None, description="Figures of the candidate.")


def decision_document(decision: Decision) -> Mapping[str, Any]:
    """The decision as JSON."""
    return decision.model_dump(mode="json", by_alias=True, exclude_none=True)
