"""Where the time goes from `kubectl apply` to a model that is Ready, as the objects of the cluster show it.

Each phase ends with something that stays so, or with what the next ones end with: a look that comes late misses none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.cluster.operating import GROUP, ready
from tests.control_plane.resources import Object
from tests.e2e.cluster.times import Times
from tests.e2e.node.node import Node
from tests.waiting import wait_until

PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The pods of one deployment: of the Job that reads its bundle, and of its servers."""

    jobs: list[Object]
    servers: list[Object]


def runs(pod: Object, which: str = "containerStatuses") -> bool:
    """Whether the process of one of its containers has begun."""
    return any("waiting" not in one["state"] for one in pod["status"].get(which) or ())


def prepares(pod: Object) -> bool:
    return runs(pod, "initContainerStatuses")


def succeeded(pod: Object) -> bool:
    return bool(pod["status"]["phase"] == "Succeeded")


Phase = tuple[str, Callable[[Seen], bool]]
PHASES: tuple[Phase, ...] = (
    ("the operator makes a Job for the bundle, and has its pod", lambda seen: bool(seen.jobs or seen.servers)),
    ("the Job's pod starts", lambda seen: bool(seen.servers) or any(map(runs, seen.jobs))),
    ("the Job reads the bundle", lambda seen: bool(seen.servers) or any(map(succeeded, seen.jobs))),
    ("the operator takes the result, and has a server's pod", lambda seen: bool(seen.servers)),
    ("the server's pod starts", lambda seen: any(map(prepares, seen.servers))),
    ("it fetches the bundle", lambda seen: any(map(runs, seen.servers))),
    ("the server loads and proves the model", lambda seen: any(map(ready, seen.servers))),
)


def follow(node: Node, namespace: str, name: str, times: Times) -> None:
    """Note how long each phase takes from now on."""

    def look() -> Seen:
        pods = node.plane.client.list("pods", namespace, f"{GROUP}/deployment={name}")
        servers = [pod for pod in pods if f"{GROUP}/revision" in pod["metadata"]["labels"]]
        return Seen([pod for pod in pods if pod not in servers], servers)

    began = time.monotonic()
    for phase, over in PHASES:
        wait_until(lambda: over(look()), f"the end of: {phase}", PATIENCE)  # noqa: B023
        now = time.monotonic()
        times.note(f"  {phase}", now - began)
        began = now
