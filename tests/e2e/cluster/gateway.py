"""The gateway of the node: Contour and its Envoy as processes of the node, as they would be with `hostNetwork`.

Envoy leads to the pods' own addresses, which Contour reads in the EndpointSlices.  Clients ask it on the node, by host
names that each story has for itself.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain

from tests.cluster.operating import weight
from tests.control_plane import programs
from tests.control_plane.resources import Object
from tests.e2e.cluster.story import MODEL, PATIENCE, Door, Story
from tests.gateway.clients import Grpc, Http1, Tally, so_often
from tests.gateway.shares import interval
from tests.gateway.world import HERE, HTTP_PORT, PARENT, Envoy

ENVOY = (HERE, HTTP_PORT)
CONNECTIONS = 4
REQUESTS = 2000
WAY_BACK = "from the route's way back until no client meets the candidate"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A story's clients come through it."""

    envoy: Envoy
    story: Story

    def takes_the_clients(self) -> Gateway:
        names = {"hostnames": [self.rest], "grpcHostnames": [self.grpc]}
        self.story.behind(Door(*ENVOY, host=self.rest), {"parentRefs": [PARENT], **names})
        return self

    @property
    def rest(self) -> str:
        return f"{self.story.namespace}.example.com"

    @property
    def grpc(self) -> str:
        return f"{self.story.namespace}-grpc.example.com"

    def without_envoy(self) -> AbstractContextManager[None]:
        """It is killed, and started again at the end."""
        return self.envoy.dead()

    @contextmanager
    def without_its_controller(self) -> Iterator[None]:
        """Contour hangs: it takes no change of a route, and Envoy goes on with what it was told last."""
        contour = self.envoy.plane.part(programs.CONTOUR).process
        contour.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            contour.send_signal(signal.SIGCONT)

    def gives_exactly(self, percent: int, version: str) -> None:
        """Of so many requests of each protocol none fails, and the version answers its share.

        One count in a thousand is outside by chance: a second one decides.
        """
        low, high = interval(percent, REQUESTS)
        for _ in range(2):
            counts = asyncio.run(self._asked())
            failures = [failure for tally in counts.values() for failure in tally.failures]
            assert not failures, failures[:5]
            if all(low <= tally.versions[version] <= high for tally in counts.values()):
                return
        raise AssertionError(f"{version} at {percent} %: {low:.0f} to {high:.0f} would do, of {REQUESTS}: {counts}")

    async def _asked(self) -> dict[str, Tally]:
        """What so many requests of each protocol were told, over a few connections."""
        opened: dict[str, Sequence[Http1 | Grpc]] = {
            "http/1.1": [Http1(ENVOY, self.rest) for _ in range(CONNECTIONS)],
            "grpc": [Grpc(ENVOY, self.grpc) for _ in range(CONNECTIONS)],
        }
        tallies = {name: await so_often([one.ask for one in clients], REQUESTS) for name, clients in opened.items()}
        for client in chain.from_iterable(opened.values()):
            await client.close()
        return tallies

    def takes_back(self, percent: int, version: str) -> None:
        """The version has had this weight, and has none any more; until when clients meet it is measured."""
        client, namespace = self.story.node.plane.client, self.story.namespace
        found = client.until("modeldeployments", namespace, MODEL, lambda one: weight(one) == percent, PATIENCE)
        service = f"{MODEL}-{found['status']['candidate']['revision']}"
        client.until("httproutes", namespace, MODEL, lambda route: share(route, service) == 0, PATIENCE)
        written = time.monotonic()
        self.story.all_answers_come_from("v1")
        for steady in self.story.clients:
            self.story.times.note(WAY_BACK, max(0.0, steady.last[version] - written))


def share(route: Object, service: str) -> int:
    """The weight that a route gives a Service."""
    rules = route["spec"]["rules"]
    return sum(one["weight"] for rule in rules for one in rule["backendRefs"] if one["name"] == service)
