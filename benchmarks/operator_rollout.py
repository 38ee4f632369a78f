"""One canary of five steps, split by the pods of a plain Service: what it costs the API server."""

from __future__ import annotations

import json
import time
from typing import Any

from benchmarks.counting_servers import CountingServers
from benchmarks.operator_cluster import Bench, Crowd, by_kind, say, until
from tests.cluster.operating import condition, serves
from tests.control_plane.resources import Object

STEPS = (10, 20, 30, 40, 50)  # more than half would need more pods than the old version has
REPLICAS = 9  # the fewest of which one more pod makes 10 %
Figures = dict[str, Any]


def rollout(bench: Bench, minutes: float) -> Figures:
    """From the change of the bundle until the old version is gone; every step is held for a fifth of the time."""
    hold = f"{round(60 * minutes / len(STEPS))}s"
    steps = [{"weight": weight, "hold": hold} for weight in STEPS]
    replicas = {"minReplicas": REPLICAS, "maxReplicas": REPLICAS}
    rules = {"steps": steps, "scaleDownDelay": "0s", "analysis": {"warmup": "0s", "minRequests": 20}}
    bench.lead()
    crowd = bench.crowd(1, scaling=replicas, rollout=rules)
    crowd.create()
    crowd.until_ready(120)
    with CountingServers(bench.plane.client, crowd.namespace):
        bench.until_settled()
        mark, began = bench.plane.audit.mark(), time.monotonic()
        bench.plane.client.apply(crowd.manifest(crowd.names[0], "v2"))
        follow(crowd, 60 * minutes + 300)
        seconds = time.monotonic() - began
        bench.until_settled()
        writes, reads = bench.requests(mark, writes=True), bench.requests(mark, writes=False)
        return {
            "rolloutSteps": list(STEPS),
            "rolloutHoldMinutes": minutes,
            "rolloutSeconds": round(seconds, 1),
            "writesPerRollout": len(writes),
            "writesPerRolloutByKind": by_kind(writes),
            "readsPerRollout": sum(one.verb != "watch" for one in reads),
            "eventsPerRollout": bench.events(mark),
        }


def follow(crowd: Crowd, seconds: float) -> None:
    """Tell each new weight; until the new version serves and nothing is left of the old one."""
    shown = ""

    def settled() -> bool:
        nonlocal shown
        found = crowd.plane.client.read("modeldeployments", crowd.namespace, crowd.names[0])
        if (now := told(found)) != shown:
            shown = now
            say(f"  {now}")
        return serves(found, "v2") and condition(found, "Promoted") == "True" and not candidate(found)

    until(settled, "the new version serves alone", seconds)
    until(lambda: len(servers(crowd)) == REPLICAS, "only its servers are left", 120)


def servers(crowd: Crowd) -> list[Object]:
    return crowd.plane.client.list("pods", crowd.namespace, "app.kubernetes.io/component=server")


def candidate(found: Object) -> Object:
    given: Object = (found.get("status") or {}).get("candidate") or {}
    return given


def told(found: Object) -> str:
    """Where the rollout stands, for whoever waits."""
    status = found.get("status") or {}
    hold = (status.get("rollout") or {}).get("holdMessage", "")
    return f"{status.get('phase')} {json.dumps(candidate(found).get('weight'))} {hold}"
