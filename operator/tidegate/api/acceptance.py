"""What must hold before a version gets any traffic."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidegate.api.rules import ApiModel, Rule
from tidegate.api.scalars import NUMBER, matches

METRIC_NAME = r"^[A-Za-z][-A-Za-z0-9_.@]*$"
MetricName = Annotated[
    str, Field(min_length=1, max_length=63), matches(METRIC_NAME, "start a metric's name with a letter")
]
Bound = Annotated[float, Field(ge=-1e12, le=1e12), NUMBER]


class MetricBound(ApiModel):
    """Bounds of one metric."""

    RULES: ClassVar = (
        Rule(
            "has(self.min) || has(self.max)",
            "write min, max or both",
            lambda bound: bound.min is not None or bound.max is not None,
        ),
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "write a min that is not above max",
            lambda bound: bound.min is None or bound.max is None or bound.min <= bound.max,
        ),
    )
    min: Bound | None = Field(None, description="The least value that is accepted.")
    max: Bound | None = Field(None, description="The greatest value that is accepted.")


class Acceptance(ApiModel):
    """What must hold before any traffic."""

    golden: Literal["Require", "Report", "Skip"] | None = Field(
        None,
        description="What to do with the bundle's golden samples: Require refuses a version that fails them, and one "
        "that has none; Report only records the result. Without it they are required when the bundle has some.",
    )
    metrics: dict[MetricName, MetricBound] = Field(
        default_factory=dict,
        max_length=20,
        description="Bounds for the metrics recorded in the bundle. A metric that is not recorded is refused.",
    )
    interface_change: Literal["Refuse", "Allow"] = Field(
        "Refuse", description="Whether inputs and outputs may differ from the stable version's."
    )
