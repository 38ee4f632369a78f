"""A loopback network of its own for each control plane.

Linux answers on every address of 127.0.0.0/8 without any set-up, so a plane takes 127.N.0.0/16: its servers listen on
their usual ports there, pods get addresses that real processes can bind to, and two planes never meet.  Ports are never
"free a moment ago", because nothing else uses the network.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CANDIDATES = range(10, 200)


@dataclass(frozen=True, slots=True)
class Network:
    """A /16, here 127.N: pods of nodes in the lower half, pods that are processes of ours above, servers at the end."""

    prefix: str  # the first half of every address
    folder: Path  # for the files of whoever has the network
    pods: str = ""  # the first half of pods' addresses where those are no loopback ones: 10.244

    def at(self, third: int, fourth: int) -> str:
        return f"{self.prefix}.{third}.{fourth}"

    @property
    def simulated_pods(self) -> str:
        return f"{self._pods}.0.0/17"

    @property
    def _pods(self) -> str:
        return self.pods or self.prefix

    @property
    def etcd(self) -> str:
        return self.at(255, 1)

    @property
    def api(self) -> str:
        return self.at(255, 2)

    @property
    def controllers(self) -> str:
        return self.at(255, 3)

    @property
    def scheduler(self) -> str:
        return self.at(255, 4)

    @property
    def servers(self) -> tuple[str, ...]:
        return (self.etcd, self.api, self.controllers, self.scheduler)

    @property
    def node(self) -> str:
        return self.at(254, 1)

    def real_pods(self) -> Iterator[str]:
        """Addresses for pods that are played by real processes, each once."""
        block = ipaddress.ip_network(f"{self._pods}.128.0/18")
        return (str(address) for address in block.hosts())


def outer_address() -> str:
    """An address of this machine that is no loopback one: EndpointSlices may hold no other."""
    for family, documented in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as looking, contextlib.suppress(OSError):
            looking.connect((documented, 9))  # of a datagram: nothing is sent
            return str(looking.getsockname()[0])
    raise RuntimeError("this machine has no network besides loopback: the API server cannot be led to a process here")


@contextmanager
def claimed_network(pods: str = "") -> Iterator[Network]:
    """A network that no other control plane on this machine uses; free again when this process ends."""
    folder = Path(tempfile.gettempdir()) / f"tidegate-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in CANDIDATES:
        with (folder / f"127.{number}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            files = folder / f"127.{number}"
            shutil.rmtree(files, ignore_errors=True)  # of a run that was killed
            files.mkdir(mode=0o700)
            try:
                yield Network(f"127.{number}", files, pods)
            finally:
                shutil.rmtree(files, ignore_errors=True)
            return
    raise RuntimeError(f"every network from 127.{CANDIDATES[0]} to 127.{CANDIDATES[-1]} is in use by another test run")
