"""What an autoscaler should hold, from the knee: the fields of spec.scaling.target."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.bench.run import Step

# As the default target of 70 % CPU: until a new pod is ready the ones there take what comes on top.
HEADROOM = 0.7
LEAST = 0.1  # what the manifest accepts


@dataclass(frozen=True, slots=True)
class ScalingTarget:
    """Per replica; one of them goes into a manifest.  `cpu_utilization` is in percent of `cores`, 0 if unknown."""

    requests_per_second: float
    concurrency: float
    cpu_utilization: int
    cores: int

    def snippet(self) -> str:
        """YAML for a ModelDeployment."""
        lines = [
            "spec:",
            "  scaling:",
            "    target:   # one of them",
            f"      requestsPerSecond: {self.requests_per_second:.10g}",
            f"      # concurrency: {self.concurrency:.10g}",
        ]
        if self.cpu_utilization:
            lines.append(f"      # cpuUtilization: {self.cpu_utilization}   # where pods request {self.cores} CPU")
        return "\n".join(lines) + "\n"


def scaling_target(step: Step, cores: int) -> ScalingTarget:
    """What one replica with so many cores did at the level that it should be held at."""
    utilization = round(100 * step.server_cores / cores) if cores else 0
    return ScalingTarget(
        requests_per_second=max(LEAST, rounded(step.rate)),
        concurrency=max(LEAST, rounded(step.in_flight)),
        cpu_utilization=min(100, utilization),
        cores=cores,
    )


def rounded(value: float) -> float:
    """Three figures."""
    return float(f"{value:.3g}")
