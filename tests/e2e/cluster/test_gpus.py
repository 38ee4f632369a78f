"""GPUs on a real node: a kubelet that gives devices out, and takes them away, and rollouts where there are few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster.gpus import GPU, Gpus, on
from tests.e2e.cluster.story import QUICK_ROLLOUT, Story
from tests.e2e.images import given
from tests.e2e.node import gpu_image
from tests.e2e.node.node import Node
from tests.e2e.node.device_plugin import DevicePlugin

MIG = "nvidia.com/mig-1g.10gb"
TWO = {"minReplicas": 2, "maxReplicas": 2}
REPLACE = QUICK_ROLLOUT | {"surge": "Replace"}
DOWNTIME = {"allowDowntime": True}
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
