"""What one call of `plan()` costs, at rest, in mid-rollout and with 64 servers' evidence: printed, nothing is asserted.

python -m benchmarks.plan
"""

from __future__ import annotations

import gc
import json
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.unit.plan.conftest import Story

from tidegate.plan.evidence import EDGES, PodSample
from tidegate.plan.observed import Observed
from tidegate.plan.plan import plan

CALLS = 300
SERVERS = 64


def at_rest() -> Story:
    return Story(steps=[10, 50]).serving("v1")


def in_mid_rollout() -> Story:
    checks = {"maxErrorRate": 0.01, "maxLatency": {"p99": "80ms"}}
    return (
        Story(steps=[(10, "10m")], rollout={"analysis": checks}).serving("v1").apply("v2").until_weight(10).runs("3m")
    )


def watching() -> Story:
    return Story(steps=[50]).serving("v1").apply("v2").until_phase("Watching").runs("1m")


def many(observed: Observed) -> Observed:
    """The same with 32 servers of each version."""
    samples: list[PodSample] = []
    for sample in measured(observed).samples:
        samples += [replace(sample, instance=f"{sample.instance}-{number}") for number in range(SERVERS // 2)]
    return replace(observed, samples=tuple(samples))


def measured(observed: Observed) -> Observed:
    """The same with latency histograms as servers send them; the stories of the tests have none."""
    counts, squares = (*(100 * (edge < 0.06) for edge in EDGES), 0), (0.0,) * len(EDGES)
    return replace(
        observed,
        samples=tuple(
            replace(
                sample,
                requests=replace(
                    sample.requests, latency_counts=counts, latency_squares=squares, latency_squares10=squares
                ),
            )
            for sample in observed.samples
        ),
    )


def milliseconds(story: Story, observed: Observed) -> float:
    """Processor time of one call; the status is the one that the call before left."""
    world = story.world
    status = plan(world.spec, world.status, observed, world.now + timedelta(seconds=10)).status
    gc.freeze()  # the story's memory is no part of a plan
    start = time.process_time()
    for _ in range(CALLS):
        plan(world.spec, status, observed, world.now + timedelta(seconds=20))
    return (time.process_time() - start) / CALLS * 1e3


def main() -> None:
    rollout = in_mid_rollout()
    rows = {
        "at rest": milliseconds(story := at_rest(), story.world.observed()),
        "in mid-rollout": milliseconds(rollout, measured(rollout.world.observed())),
        "watching": milliseconds(story := watching(), measured(story.world.observed())),
        f"in mid-rollout, {SERVERS} servers": milliseconds(rollout, many(rollout.world.observed())),
    }
    for name, figure in rows.items():
        print(f"{name:32} {figure:6.3f} ms")
    folder = Path("build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps({"millisecondsPerCall": rows}, indent=1))


if __name__ == "__main__":
    main()
