"""A device plugin without devices: it speaks the kubelet's real API (v1beta1) and says that there are some.

As NVIDIA's does, it gives a container the names of its devices in a variable, by which a container runtime with that
vendor's hook would bring them in.  Without a kubelet on this machine nothing of it has any meaning.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from tests.e2e.node.on_gpu import VISIBLE
from tests.waiting import wait_until

FOLDER = Path(
    "/var/lib/kubelet/device-plugins"
)  # a constant of every kubelet; inside the boundary it is the node's own
VERSION = "v1beta1"
SECONDS = 20.0
STREAMS = 4  # calls at once; ListAndWatch keeps one of them for each time that the kubelet has connected

messages, services = grpc.protos_and_services("tests/e2e/node/device_plugin.proto")


class DevicePlugin:
    """One resource of one vendor; `given` are the devices that Allocate has given, in that order."""

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.given: list[str] = []
        self.refuses = False  # to give any more
        self._devices: dict[str, bool] = {}  # whether it is healthy
        self._changed = threading.Condition()
        self._version = 0
        self._server: grpc.Server | None = None
        self._socket = FOLDER / f"{resource.replace('/', '_')}.sock"

    # what a test does

    def start(self) -> DevicePlugin:
        """Serve, and tell the kubelet so."""
        self._server = grpc.server(ThreadPoolExecutor(STREAMS))
        services.add_DevicePluginServicer_to_server(self, self._server)
        self._socket.unlink(missing_ok=True)
        self._server.add_insecure_port(f"unix://{self._socket}")
        self._server.start()
        wait_until((FOLDER / "kubelet.sock").exists, "the kubelet takes device plugins", SECONDS)
        asked = messages.RegisterRequest(version=VERSION, endpoint=self._socket.name, resource_name=self.resource)
        with grpc.insecure_channel(f"unix://{FOLDER / 'kubelet.sock'}") as channel:
            services.RegistrationStub(channel).Register(asked, timeout=SECONDS)
        return self

    def stop(self) -> None:
        """As when its process ends: the stream and the socket are gone, the devices of running pods stay theirs."""
        if server := self._server:
            self._server = None
            self._change()
            server.stop(grace=None).wait()
            self._socket.unlink(missing_ok=True)

    def has(self, *devices: str) -> None:
        """These and no others, all healthy."""
        self._devices = dict.fromkeys(devices, True)
        self._change()

    def says(self, device: str, *, healthy: bool) -> None:
        self._devices[device] = healthy
        self._change()

    def _change(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    # what the kubelet calls

    def GetDevicePluginOptions(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        return messages.DevicePluginOptions()

    def ListAndWatch(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        server, seen = self._server, -1
        while self._server is server and context.is_active():
            with self._changed:
                self._changed.wait_for(lambda: self._version != seen)  # noqa: B023
                seen = self._version
            yield messages.ListAndWatchResponse(
                devices=[
                    messages.Device(ID=name, health="Healthy" if healthy else "Unhealthy")
                    for name, healthy in self._devices.items()
                ]
            )

    def Allocate(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.refuses:
            context.abort(grpc.StatusCode.INTERNAL, "the device does not answer")
        answers = []
        for container in request.container_requests:
            self.given += container.devices_ids
            answers.append(messages.ContainerAllocateResponse(envs={VISIBLE: ",".join(container.devices_ids)}))
        return messages.AllocateResponse(container_responses=answers)
