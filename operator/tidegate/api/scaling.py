"""How many servers run, and by what they multiply."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tidegate.api.rules import ApiModel, Rule
from tidegate.api.scalars import NUMBER, Between, SettingName

TARGETS = ("cpuUtilization", "concurrency", "requestsPerSecond", "queueTime", "gpuUtilization")
Utilization = Annotated[int, Field(ge=1, le=100), NUMBER]


def one_target(target: Any) -> bool:
    return sum(value is not None for _, value in target) == 1


class Target(ApiModel):
    """What an autoscaler holds: exactly one of the fields."""

    RULES: ClassVar = (
        Rule(
            f"[{', '.join(f'has(self.{name})' for name in TARGETS)}].exists_one(given, given)",
            f"write exactly one of {', '.join(TARGETS)}",
            one_target,
        ),
    )
    cpu_utilization: Utilization | None = Field(None, description="Percent of the requested CPU, mean of the pods.")
    concurrency: Annotated[float, Field(ge=0.1, le=100_000), NUMBER] | None = Field(
        None, description="Requests in work at once, per pod."
    )
    requests_per_second: Annotated[float, Field(ge=0.1, le=10_000_000), NUMBER] | None = Field(
        None, description="Requests per second, per pod."
    )
    queue_time: Annotated[timedelta, Between("1ms", "1m")] | None = Field(
        None, description="How long requests wait for the model, mean of the pods."
    )
    gpu_utilization: Utilization | None = Field(None, description="Percent of the time that the GPU works.")


class ScalingPolicy(ApiModel):
    """How much may change in how long, as in HPA v2."""

    type: Literal["Pods", "Percent"] = Field(description="Unit of the value.")
    value: Annotated[int, Field(ge=1, le=1000), NUMBER] = Field(description="The largest change within the period.")
    period_seconds: Annotated[int, Field(ge=1, le=1800), NUMBER] = Field(description="Length of the period.")


class ScalingRules(ApiModel):
    """One direction of scaling, as in HPA v2."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600), NUMBER] | None = Field(
        None, description="How long earlier recommendations are still considered."
    )
    select_policy: Literal["Max", "Min", "Disabled"] | None = Field(
        None, description="Which of the policies counts; Max when not given."
    )
    policies: Annotated[tuple[ScalingPolicy, ...], Field(max_length=4)] | None = Field(
        None, description="Limits of the change; the autoscaler's own when not given."
    )


class Behavior(ApiModel):
    """How fast the number of pods may change, as in HPA v2."""

    scale_up: ScalingRules | None = Field(None, description="Towards more pods.")
    scale_down: ScalingRules | None = Field(None, description="Towards fewer pods.")


class Keda(ApiModel):
    """Where KEDA learns of the load, and what starts the first server when there is none."""

    prometheus: SettingName = Field(
        "main", description="Name of the Prometheus server in the operator's settings that KEDA asks."
    )
    wake: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[\t\n -~]+$")] | None = Field(
        None,
        description="PromQL: while it is above 0 there is at least one server. minReplicas: 0 needs it, for no server "
        "counts requests when there is none; none of those waits for it either.",
    )


class Scaling(ApiModel):
    """How many servers run."""

    RULES: ClassVar = (
        Rule(
            "!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "write a maxReplicas that is not below minReplicas",
            lambda scaling: scaling.max_replicas is None or scaling.min_replicas <= scaling.max_replicas,
        ),
        Rule(
            "self.minReplicas > 0 || self.provider == 'KEDA'",
            "minReplicas: 0 needs provider: KEDA; write 1 or more otherwise",
            lambda scaling: scaling.min_replicas > 0 or scaling.provider == "KEDA",
        ),
        Rule(
            "self.minReplicas > 0 || has(self.maxReplicas)",
            "minReplicas: 0 needs a maxReplicas of 1 or more",
            lambda scaling: scaling.min_replicas > 0 or scaling.max_replicas is not None,
        ),
    )
    min_replicas: Annotated[int, Field(ge=0, le=1000), NUMBER] = Field(
        1, description="Servers that always run; 0 is possible with KEDA."
    )
    max_replicas: Annotated[int, Field(ge=1, le=1000), NUMBER] | None = Field(
        None, description="Servers that run under load. Equal to minReplicas, or not given: no autoscaler."
    )
    target: Target = Field(
        Target(cpu_utilization=70), description="What the autoscaler holds: exactly one of the fields."
    )
    provider: Literal["HPA", "KEDA"] = Field(
        "HPA", description="Who scales: the HorizontalPodAutoscaler, or KEDA, which can also scale to zero."
    )
    behavior: Behavior | None = Field(None, description="How fast the number may change, as in HPA v2.")
    keda: Keda | None = Field(None, description="What KEDA asks, with provider: KEDA.")

    @property
    def most_replicas(self) -> int:
        """The upper end, given or not."""
        return self.min_replicas if self.max_replicas is None else self.max_replicas
