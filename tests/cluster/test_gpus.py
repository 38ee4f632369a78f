"""Rollouts where GPUs are few, by the real scheduler on simulated nodes: room, no room, and what is lost on the way.

Each test has a node of its own, whose GPU is cut into slices (MIG) of a size that no other test uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from tests.cluster import faults
from tests.cluster.operating import Operator, Site, fact, serves, weight
from tests.control_plane import simulation
from tests.control_plane.audit import Mark
from tests.control_plane.plane import is_usable
from tests.control_plane.resources import Object
from tests.control_plane.users import OPERATOR
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
SIZES = count(1)
PATIENCE = 60.0  # a GPU that may come free in a moment is waited for
ALLOWED = "write rollout.allowDowntime: true"
NOW = "2026-01-01T00:00:00Z"


class Gpu:
    """A node with slices of one size, and deployments that use them."""

    def __init__(self, site: Site, slices: int) -> None:
        self.site = site
        self.resource = f"nvidia.com/mig-{next(SIZES)}g.5gb"
        self.name = f"gpu-of-{site.namespace}"
        client, address = site.plane.client, site.plane.place.network.node
        client.create(simulation.node(self.name, address, {self.resource: str(slices)}))
        self.uid = client.until("nodes", "", self.name, is_usable)["metadata"]["uid"]

    def has(self, slices: int) -> None:
        """As the device plugin tells it from now on; 0: it is gone."""
        found = {self.resource: str(slices)}
        status = {"status": {"capacity": found, "allocatable": found}}
        self.site.plane.client.patch("nodes", "", self.name, status, subresource="status")

    def cordon(self, *, closed: bool) -> None:
        self.site.plane.client.patch("nodes", "", self.name, {"spec": {"unschedulable": closed}})

    def apply(self, version: str, servers: int = 1, resource: str = "", mode: str = "", **rollout: Any) -> Object:
        runtime: Object = {"device": "cuda", "accelerator": {"resource": resource or self.resource}}
        if mode:
            runtime["pod"] = {"annotations": {simulation.MODE: mode}}
        scaling = {"minReplicas": servers, "maxReplicas": servers}
        return self.site.simulate(version, runtime=runtime, scaling=scaling, rollout={"steps": [], **rollout})

    def servers(self, version: str) -> list[Object]:
        """Pods of a version that have a node and stay."""
        return [
            pod for pod in self.site.servers()
            if any(word.endswith(f"/{version}") for word in pod["spec"]["initContainers"][0]["args"])
            and pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp")
        ]  # fmt: skip

    def waits(self, reason: str = "GPUUnavailable") -> Object:
        return self.site.until_reason("Reconciling", reason, PATIENCE)

    def says(self, *words: str) -> Object:
        """Wait until the reason for waiting has these words."""
        return self.site.until(
            lambda one: all(word in fact(one, "Reconciling").get("message", "") for word in words), PATIENCE
        )

    def takes(self) -> str:
        """Somebody else's pod, to whom the next slice belongs that is free; its name.

        Bound without the scheduler, which counts it: a race with it would be won by either.
        """
        name = "somebody-elses"
        container = {"name": "train", "image": "a", "resources": {"limits": {self.resource: "1"}}}
        meta = {"name": name, "namespace": self.site.namespace}
        spec = {"containers": [container], "nodeName": self.name}
        self.site.plane.client.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        return name


@pytest.fixture
def gpu(operator: Operator, site: Site) -> Iterator[Callable[[int], Gpu]]:
    made: list[Gpu] = []

    def of(slices: int) -> Gpu:
        made.append(Gpu(site, slices))
        return made[-1]

    yield of
    for one in made:
        site.plane.client.delete("nodes", "", one.name, uid=one.uid)


Make = Callable[[int], Gpu]


def acts(site: Site) -> list[str]:
    """What Jobs were told to do, in the order in which they were made."""
    jobs = sorted(site.children("jobs"), key=lambda job: int(job["metadata"]["name"].rsplit("-", 1)[1]))
    return [job["spec"]["template"]["spec"]["containers"][0]["args"][0] for job in jobs]


def nodes_read(site: Site, mark: Mark) -> int:
    """How often the operator has listed nodes since then."""
    return sum(one.resource == "nodes" for one in site.plane.audit.since(mark, user=OPERATOR.name))


# -- Auto


def test_auto_surges_where_the_scheduler_finds_room_for_a_second_set(gpu: Make, site: Site) -> None:
    card = gpu(4)
    card.apply("v1", servers=2)
    site.until_serving("v1")

    card.apply("v2", servers=2)
    site.until_serving("v2")

    assert faults.notes(site, "SurgeChosen") == ["2 of 2 new servers have a node beside the old ones"]
    assert acts(site) == ["resolve", "resolve"]


def test_auto_replaces_server_by_server_where_there_is_no_room_after_the_bundle_is_proved(
    gpu: Make, site: Site
) -> None:
    card = gpu(2)
    card.apply("v1", servers=2)
    before = site.until_serving("v1")["status"]["stable"]["revision"]
    mark = site.plane.audit.mark()

    card.apply("v2", servers=2)
    card.says(f"2 servers wait for 1 {card.resource} each, 0 of 2 free on 1 node")
    assert len(card.servers("v1")) == 2
    site.until_serving("v2", PATIENCE)

    assert faults.notes(site, "ReplaceChosen") == [f"2 servers wait for 1 {card.resource} each, 0 of 2 free on 1 node"]
    assert acts(site) == ["resolve", "resolve", "prove"]
    writes = site.plane.audit.writes(mark, user=OPERATOR.name, namespace=site.namespace)
    order = [
        one.resource for one in writes
        if one.resource == "jobs" or (one.resource == "deployments/scale" and one.name.endswith(before))
    ]  # fmt: skip
    assert order[:2] == ["jobs", "jobs"], "nobody was stopped before the proof was asked for"
    assert "deployments/scale" in order
    wait_until(lambda: not card.servers("v1"), lambda: "the old servers go")


def test_a_bundle_that_fails_its_proof_has_stopped_nobody(gpu: Make, site: Site) -> None:
    sound = faults.bad_is({})
    wrong = faults.last_words("GoldenMismatch", "y differs: pack again")
    faults.answer_jobs(
        site,
        lambda pod: wrong if pod["spec"]["containers"][0]["args"][0] == "prove" else sound(pod),
    )
    card = gpu(1)
    card.apply("v1", allowDowntime=True)
    site.until_serving("v1")
    servers = [pod["metadata"]["uid"] for pod in card.servers("v1")]

    card.apply("v2", allowDowntime=True)
    found = site.until_reason("Stalled", "GoldenMismatch", PATIENCE)

    assert serves(found, "v1")
    assert found["status"]["rejected"][-1]["class"] == "Content"
    assert [pod["metadata"]["uid"] for pod in card.servers("v1")] == servers


# -- a single server


def test_a_single_server_is_kept_and_the_wait_ends_by_itself_when_room_comes(gpu: Make, site: Site) -> None:
    card = gpu(1)
    card.apply("v1")
    site.until_serving("v1")

    card.apply("v2")
    held = card.says(f"1 server waits for 1 {card.resource}, 0 of 1 free on 1 node", ALLOWED)
    assert serves(held, "v1")
    assert fact(held, "Reconciling")["reason"] == "GPUUnavailable"
    assert held["status"]["rollout"]["surge"] == "Auto"
    card.has(2)

    site.until_serving("v2", PATIENCE)
    assert faults.notes(site, "SurgeChosen") == ["1 of 1 new servers have a node beside the old ones"]


def test_a_single_server_makes_room_once_that_is_allowed(gpu: Make, site: Site) -> None:
    card = gpu(1)
    card.apply("v1")
    site.until_serving("v1")
    card.apply("v2")
    card.says(ALLOWED)

    card.apply("v2", allowDowntime=True)

    site.until_serving("v2", PATIENCE)
    assert acts(site)[-1] == "prove"


# -- what does not help


def test_a_slice_that_no_node_has_is_named_beside_those_that_there_are(gpu: Make, site: Site) -> None:
    card = gpu(1)
    card.apply("v1", allowDowntime=True)
    site.until_serving("v1")

    card.apply("v2", resource="nvidia.com/mig-1g.5bg", allowDowntime=True)
    held = card.says("no node has nvidia.com/mig-1g.5bg, there is nvidia.com/", "correct runtime.accelerator.resource")

    assert serves(held, "v1")
    card.apply("v2", allowDowntime=True)
    site.until_serving("v2", PATIENCE)


def test_a_first_version_says_that_no_node_has_its_gpu(operator: Operator, site: Site) -> None:
    runtime = {"device": "cuda", "accelerator": {"resource": "amd.com/gpu"}}
    site.simulate("v1", runtime=runtime)

    found = site.until(lambda one: "no node has amd.com/gpu" in fact(one, "Reconciling").get("message", ""))

    assert fact(found, "Ready")["reason"] == "GPUUnavailable"


def test_on_a_cordoned_node_no_server_is_stopped_until_it_takes_pods_again(gpu: Make, site: Site) -> None:
    card = gpu(1)
    card.apply("v1", allowDowntime=True)
    site.until_serving("v1")
    card.cordon(closed=True)

    card.apply("v2", allowDowntime=True, surge="Replace")
    held = card.says(f"none could start again on {card.name}, which is cordoned", "1 more cordoned")
    assert serves(held, "v1")
    card.cordon(closed=False)

    site.until_serving("v2", PATIENCE)


@pytest.mark.parametrize(
    ("left", "waits", "why"),
    [(0, "no node has {}", "has 0 {} now"), (3, "0 of 3 free on 1 node", "has 3 {} now, and 4 are held")],
)
def test_a_device_plugin_that_goes_or_takes_back_in_mid_rollout_stops_the_next_step_and_no_more(
    gpu: Make, site: Site, left: int, waits: str, why: str
) -> None:
    card = gpu(4)
    manual = [{"weight": 25, "hold": "manual"}]
    card.apply("v1", servers=4, surge="Replace", steps=manual)
    site.until_serving("v1")
    card.apply("v2", servers=4, surge="Replace", steps=manual)
    candidate = site.until(lambda one: weight(one) == 25, PATIENCE)["status"]["candidate"]["revision"]

    card.has(left)
    mark = site.plane.audit.mark()
    wait_until(lambda: nodes_read(site, mark) > 1, lambda: "the operator looks at nodes")
    site.command("promote-full", f"{candidate}@{NOW}")
    held = card.says(waits.format(card.resource), f"on {card.name}, which {why.format(card.resource)}")
    assert serves(held, "v1")
    assert (len(card.servers("v1")), len(card.servers("v2"))) == (3, 1)
    card.has(4)

    site.until_serving("v2", PATIENCE)
    wait_until(lambda: len(card.servers("v2")) == 4, lambda: "all of v2")


def test_a_gpu_that_was_taken_meanwhile_is_waited_for_on_the_way_back(gpu: Make, site: Site) -> None:
    card = gpu(1)
    rollout: Object = {"surge": "Replace", "allowDowntime": True, "progressDeadline": "5s"}
    card.apply("v1", **rollout)
    site.until_serving("v1")
    card.apply("v2", mode="never-ready", **rollout)
    wait_until(lambda: card.servers("v2"), lambda: "v2 has v1's GPU")

    other = card.takes()

    lost = site.until(lambda one: fact(one, "Ready").get("reason") == "GPUUnavailable", PATIENCE)
    assert lost["status"]["stable"]["version"] == "v1"
    site.until_reason("Stalled", "GPUUnavailable", PATIENCE)
    site.plane.client.delete("pods", site.namespace, other, grace=0)

    site.until(lambda one: serves(one, "v1"), PATIENCE)
