"""The node's GPUs as a story changes them, and which server holds which.

There is no GPU: a device plugin says that there is, to the real kubelet, and the image's server is on a pretended one
if the kubelet has given its pod a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cluster.story import PATIENCE, RESOURCES, Story
from tests.e2e.node import gpu_image
from tests.e2e.node.commands import NODE
from tests.e2e.node.device_plugin import DevicePlugin
from tests.e2e.node.on_gpu import VISIBLE
from tests.waiting import wait_until

GPU = "nvidia.com/gpu"


def on(resource: str) -> dict[str, Any]:
    """A story's `runtime`."""
    return {
        "image": gpu_image.NAME, "device": "cuda", "accelerator": {"resource": resource}, "resources": RESOURCES,
    }  # fmt: skip


@dataclass
class Gpus:
    """Those of one resource; each word returns when the API server says so too."""

    story: Story
    plugin: DevicePlugin

    def are(self, *devices: str) -> None:
        """These, and all are healthy."""
        self.plugin.has(*devices)
        self.until_allocatable(len(devices))

    def fails(self, device: str, *, left: int) -> None:
        self.plugin.says(device, healthy=False)
        self.until_allocatable(left)

    def until_allocatable(self, count: int) -> None:
        """The kubelet writes it with the node's next status."""
        wait_until(lambda: self.allocatable() == count, lambda: f"{count} allocatable: {self.allocatable()}", PATIENCE)

    def allocatable(self) -> int | None:
        """None: the kubelet has never heard of it, or has forgotten it."""
        node = self.story.node.plane.client.read("nodes", "", NODE)
        count = node["status"]["allocatable"].get(self.plugin.resource)
        return None if count is None else int(count)

    def held(self) -> list[str]:
        """What the story's servers see of their devices, each in its own process."""
        found = []
        for pod in self.story.servers():
            if "containerStatuses" not in pod["status"]:
                continue  # no node has taken it
            [container] = pod["status"]["containerStatuses"]
            variables = Path(f"/proc/{self.story.node.process_of(container['containerID'])}/environ").read_text()
            found += [text.partition("=")[2] for text in variables.split("\0") if text.startswith(f"{VISIBLE}=")]
        return sorted(found)

    def until_nobody_holds_any(self) -> None:
        """The scheduler counts those of pods that are still ending."""

        def holders() -> list[str]:
            return [
                pod["metadata"]["name"] for pod in self.story.node.plane.client.list("pods")
                for container in pod["spec"]["containers"]
                if self.plugin.resource in (container.get("resources", {}).get("limits") or {})
            ]  # fmt: skip

        wait_until(lambda: not holders(), lambda: f"nobody holds a {self.plugin.resource}: {holders()}", PATIENCE)
