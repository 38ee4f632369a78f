"""A small Kubernetes around the fake API: the controllers, the scheduler and the nodes, moved on by hand.

    world = World(cluster)
    world.bundles["s3://models/fraud/2"] = bundle("s3://models/fraud/2")
    world.servers["s3://models/fraud/2"] = Servers(ready_after=30)
    world.step()             # every controller once, at the clock's present time
    world.settle()           # until nothing changes any more at that time
    world.pass_time(60)      # second by second

Every step reads what is there and remembers nothing but names already given, so steps may be left out, doubled, or
taken one controller at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from .behaviours import Behaviours, Bundle, Servers
from .cluster import FakeCluster
from .fields import Object
from .kubelet import image_digest, run_pods, schedule
from .scaling import run_autoscalers, run_budgets
from .workloads import run_deployments, run_jobs

MOST_STEPS = 50


class World:
    """What happens by itself in a cluster."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.behaviours = Behaviours()
        self.room: int | None = None  # pods for which the nodes have room
        self.load: dict[str, int] = {}  # by Deployment or revision: how many pods its load asks for
        self.metrics_dead = False
        self.image_digest = image_digest("runtime")
        self.pod_admission: list[Callable[[Object], object]] = []  # see a pod's labels and spec; may raise
        self.stopped: set[str] = set()  # controllers that do not run, by their names below
        self.pods_made = 0
        self.controllers: dict[str, Callable[[World], None]] = {
            "garbage collector": lambda world: world.cluster.collect(),
            "deployments": run_deployments,
            "jobs": run_jobs,
            "scheduler": schedule,
            "kubelet": run_pods,
            "autoscalers": run_autoscalers,
            "budgets": run_budgets,
        }

    @property
    def now(self) -> datetime:
        return self.cluster.clock.now()

    @property
    def servers(self) -> dict[str, Servers]:
        """How pods fare, by bundle address or revision."""
        return self.behaviours.servers

    @property
    def bundles(self) -> dict[str, Bundle]:
        """The store, by address."""
        return self.behaviours.bundles

    def step(self) -> bool:
        """Every controller once; whether anything changed."""
        before = self.cluster.objects.version
        for name, run in self.controllers.items():
            if name not in self.stopped:
                run(self)
        return self.cluster.objects.version != before

    def settle(self) -> None:
        """Steps until nothing changes; time stands still."""
        for _ in range(MOST_STEPS):
            if not self.step():
                return
        raise AssertionError(f"the world does not come to rest within {MOST_STEPS} steps")

    def pass_time(self, seconds: float, pace: float = 1.0) -> None:
        """Let time go by, with everything settled after each `pace` of it."""
        left = seconds
        while left > 0:
            self.cluster.clock.advance(min(pace, left))
            left -= pace
            self.settle()
