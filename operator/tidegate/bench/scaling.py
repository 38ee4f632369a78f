"""What an autoscaler should hold, from the knee: the fields of spec.scaling.target."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.bench.run import Step

# As the default target of 70 % CPU: until a new pod is ready the ones there take what comes on top.
HEADROOM = 0.7
LEAST = 0.1  # what the manifest accepts


@dataclass(frozen=True, slots=True)
class ScalingTarget:
    """Per replica; either of the two goes into a manifest."""

    requests_per_second: float
    concurrency: float

    def snippet(self) -> str:
        """YAML for a ModelDeployment."""
        return (
            "spec:\n"
            "  scaling:\n"
            "    target:\n"
            f"      requestsPerSecond: {_written(self.requests_per_second)}"
            f"   # or instead: concurrency: {_written(self.concurrency)}\n"
        )


def scaling_target(step: Step) -> ScalingTarget:
    """What one replica did at the level that it should be held at."""
    return ScalingTarget(max(LEAST, rounded(step.rate)), max(LEAST, rounded(step.in_flight)))


def rounded(value: float) -> float:
    """Three figures."""
    return float(f"{value:.3g}")


def _written(value: float) -> str:
    return f"{value:.10g}"
