"""GPUs on a real node: a kubelet that gives devices out, and takes them away, and rollouts where there are few of them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.cluster.gpus import GPU, Gpus, on
from tests.e2e.cluster.story import PATIENCE, Story, rollout
from tests.e2e.images import given
from tests.e2e.node import gpu_image
from tests.e2e.node.commands import NODE
from tests.e2e.node.device_plugin import DevicePlugin
from tests.e2e.node.node import Node
from tests.waiting import wait_until

MIG = "nvidia.com/mig-1g.10gb"
TWO = {"minReplicas": 2, "maxReplicas": 2}
REPLACE = {"surge": "Replace"}
DOWNTIME = {"allowDowntime": True}
ALLOW = "the only server must stop before the next can start: write rollout.allowDowntime: true"
Make = Callable[..., Gpus]


@pytest.fixture(scope="module")
def plugins(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DevicePlugin]]:
    """By resource; the image that they are for is on the node."""
    node.load(gpu_image.write(given()["cpu"], tmp_path_factory.mktemp("gpu") / "image.tar"))
    found: dict[str, DevicePlugin] = {}
    yield found
    for plugin in found.values():
        plugin.stop()


@pytest.fixture
def make(plugins: dict[str, DevicePlugin], story: Story) -> Make:
    """GPUs of a resource, which nobody holds."""

    def of(resource: str, *devices: str) -> Gpus:
        if resource not in plugins:
            plugins[resource] = DevicePlugin(resource).start()
        gpus = Gpus(story, plugins[resource])
        gpus.until_nobody_holds_any()
        gpus.are(*devices)
        gpus.plugin.given.clear()
        return gpus

    return of


def test_a_server_gets_the_gpu_that_its_manifest_asks_for(story: Story, make: Make) -> None:
    gpus = make(GPU, "gpu-0")
    story.given.a_model("v1", runtime=on(GPU)).steady_clients()

    assert (gpus.plugin.given, gpus.held()) == (["gpu-0"], ["gpu-0"])
    story.then.all_answers_come_from("v1").no_client_saw_an_error()


def test_the_only_server_makes_room_after_the_bundle_is_proved_on_the_cpu(story: Story, make: Make) -> None:
    gpus = make(GPU, "gpu-0")
    story.given.a_model("v1", runtime=on(GPU), rollout=DOWNTIME).steady_clients()
    [steady] = story.clients

    story.when.applied("v2").until(lambda one: rollout(one).get("surge") == "Prove")
    assert gpus.plugin.given == ["gpu-0"]
    assert not steady.failures
    # Whether clients see the gap hangs on how long it is: a connection that nobody takes is tried again for seconds.
    wait_until(lambda: gpus.plugin.given == ["gpu-0", "gpu-0"], "the old server has made room", PATIENCE)
    story.then.serves("v2").answers_come_from("v2")
    steady.more(20)
    missed = len(steady.failures)
    steady.more(100)

    assert len(steady.failures) == missed, "no request fails once the new server answers"
    assert (gpus.plugin.given, gpus.held()) == (["gpu-0", "gpu-0"], ["gpu-0"])
    assert proofs(story) == [1]


def test_servers_take_each_others_gpus_and_no_client_sees_it(story: Story, make: Make) -> None:
    gpus = make(GPU, "gpu-0", "gpu-1")
    story.given.a_model("v1", runtime=on(GPU), rollout=REPLACE, scaling=TWO).steady_clients()
    story.when.applied("v2")
    story.then.serves("v2").all_answers_come_from("v2").has_servers(2).no_client_saw_an_error()

    assert sorted(gpus.plugin.given) == ["gpu-0", "gpu-0", "gpu-1", "gpu-1"]
    assert gpus.held() == ["gpu-0", "gpu-1"]


def test_without_room_a_version_waits_with_counts_until_the_node_has_one_gpu_more(story: Story, make: Make) -> None:
    gpus = make(GPU, "gpu-0")
    story.given.a_model("v1", runtime=on(GPU)).steady_clients()
    story.when.applied("v2")
    story.then.says("Reconciling", "GPUUnavailable", f"1 server waits for 1 {GPU}, 0 of 1 free on 1 node: {ALLOW}")
    story.then.all_answers_come_from("v1")

    gpus.are("gpu-0", "gpu-1")

    story.then.serves("v2").all_answers_come_from("v2").has_servers(1).no_client_saw_an_error()
    assert gpus.plugin.given == ["gpu-0", "gpu-1"]


def test_a_gpu_that_fails_is_kept_by_its_server_and_by_its_restarts_until_the_pod_goes(
    story: Story, make: Make
) -> None:
    gpus = make(GPU, "gpu-0")
    story.given.a_model("v1", runtime=on(GPU) | {"grace": "1s"}).steady_clients()
    gpus.fails("gpu-0", left=0)
    story.then.says("Degraded", "DeviceUnhealthy", f"({GPU} gpu-0): delete the pod")
    story.then.answers_come_from("v1").no_client_saw_an_error()

    story.when.a_server_gets(signal.SIGKILL)
    story.then.a_server_was_restarted().has_servers(1)
    assert (gpus.plugin.given, gpus.held()) == (["gpu-0"], ["gpu-0"]), "the same device, and nobody was asked"

    story.when.a_server_is_deleted()
    story.then.says("Ready", "GPUUnavailable", f"no node has {GPU}")
    gpus.are("gpu-0", "gpu-1")
    story.then.says("Degraded", "AsExpected").serves("v1").has_servers(1)


def test_no_server_is_stopped_while_its_gpu_is_unhealthy(story: Story, make: Make) -> None:
    gpus = make(GPU, "gpu-0")
    story.given.a_model("v1", runtime=on(GPU), rollout=DOWNTIME | {"surge": "Replace"}).steady_clients()
    gpus.fails("gpu-0", left=0)
    story.when.applied("v2")
    story.then.says("Reconciling", "GPUUnavailable", f"none could start again on {NODE}, which has 0 {GPU} now")
    story.then.answers_come_from("v1").no_client_saw_an_error()
    gpus.are("gpu-0")
    story.then.serves("v2")


def test_no_server_is_stopped_where_more_gpus_are_held_than_are_sound(story: Story, make: Make) -> None:
    gpus = make(GPU, "gpu-0", "gpu-1")
    story.given.a_model("v1", runtime=on(GPU), rollout=REPLACE, scaling=TWO).steady_clients()
    gpus.fails("gpu-1", left=1)
    story.when.applied("v2")
    story.then.says("Reconciling", "GPUUnavailable", f"on {NODE}, which has 1 {GPU} now, and 2 are held")
    assert gpus.held() == ["gpu-0", "gpu-1"]
    gpus.are("gpu-0", "gpu-1")
    story.then.serves("v2").all_answers_come_from("v2").has_servers(2).no_client_saw_an_error()


def test_a_slice_has_a_name_of_its_own(story: Story, make: Make) -> None:
    slices = make(MIG, "slice-0")
    story.given.a_model("v1", runtime=on(MIG), rollout=DOWNTIME).steady_clients()
    assert slices.held() == ["slice-0"]

    story.when.applied("v2", runtime=on("nvidia.com/mig-1g.10bg"))
    story.then.says("Reconciling", "GPUUnavailable", "no node has nvidia.com/mig-1g.10bg, there is ").says(
        "Reconciling", "GPUUnavailable", MIG
    )
    story.then.all_answers_come_from("v1").no_client_saw_an_error()
    story.when.applied("v2", runtime=on(MIG))
    story.then.serves("v2")
    assert (slices.plugin.given, slices.held()) == (["slice-0", "slice-0"], ["slice-0"])


def test_a_plugin_that_is_gone_stops_nothing_that_runs_and_a_rollout_waits_for_it(story: Story, make: Make) -> None:
    gpus = make(GPU, "gpu-0")
    story.given.a_model("v1", runtime=on(GPU), rollout=DOWNTIME | {"surge": "Replace"}).steady_clients()
    gpus.plugin.stop()
    gpus.until_allocatable(0)
    story.when.applied("v2")
    story.then.says("Reconciling", "GPUUnavailable", f"none could start again on {NODE}, which has 0 {GPU} now")
    story.then.all_answers_come_from("v1").no_client_saw_an_error()

    gpus.plugin.start()

    story.then.serves("v2")
    assert gpus.held() == ["gpu-0"]


def test_a_plugin_that_cannot_give_a_device_leaves_the_old_server_and_says_why(story: Story, make: Make) -> None:
    gpus = make(GPU, "gpu-0", "gpu-1")
    story.given.a_model("v1", runtime=on(GPU)).steady_clients()
    gpus.plugin.refuses = True
    story.when.applied("v2")
    story.then.says("Reconciling", "PodConfigInvalid", "UnexpectedAdmissionError: Pod was rejected: Allocate failed")
    story.then.all_answers_come_from("v1")

    gpus.plugin.refuses = False

    story.then.serves("v2").all_answers_come_from("v2").no_client_saw_an_error()


def proofs(story: Story) -> list[int]:
    """How many pods of each Job that proved a bundle came to a good end."""
    jobs = story.node.plane.client.list("jobs", story.namespace)
    return [
        job["status"].get("succeeded", 0)
        for job in jobs
        if job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "prove"
    ]
