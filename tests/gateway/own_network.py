"""A network of one's own, for which nobody has to be root: a namespace in which pods have usual addresses.

No EndpointSlice may hold a loopback address, and a real gateway reads those slices.  In a new network namespace nobody
else uses 10.244.0.0/16, and an address with that mask on the loopback device makes all of it local.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

PODS = "10.244"
SET_ADDRESS, SET_MASK, GET_FLAGS, SET_FLAGS = 0x8916, 0x891C, 0x8913, 0x8914
UP = 1
WAYS = (
    ("unshare", "--user", "--map-root-user", "--net", "--"),
    ("unshare", "--net", "--"),  # root's, where user namespaces are off
)


@functools.cache
def unshare() -> tuple[str, ...]:
    """The words before a command that then has a network of its own; LookupError where nobody may have one."""
    said = []
    for way in WAYS:
        try:
            done = subprocess.run([*way, "true"], capture_output=True, text=True, timeout=30, check=False)
        except FileNotFoundError as missing:
            raise LookupError(
                f"{missing}: install util-linux, or on another system than Linux leave this out"
            ) from None
        if done.returncode == 0:
            return way
        said.append(done.stderr.strip())
    raise LookupError(
        "this machine lets nobody have a network of his own, which pods with usual addresses need: allow it (sysctl "
        "user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1, "
        f"kernel.apparmor_restrict_unprivileged_userns=0, whichever is there), or be root: {'; '.join(said)}"
    )


def told(module: str, folder: Path, *arguments: str, seconds: float = 280) -> dict[str, Any]:
    """What a module has told in a network of its own: the JSON of its last line."""
    done = subprocess.run(
        [*unshare(), sys.executable, "-m", module, *arguments],
        env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, check=False, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-8000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def take_addresses() -> None:
    """Once inside: the loopback device up, and all addresses of pods on it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
        flags = struct.unpack("16sh", fcntl.ioctl(ask, GET_FLAGS, struct.pack("16sh", b"lo", 0)))[1]
        fcntl.ioctl(ask, SET_FLAGS, struct.pack("16sh", b"lo", flags | UP))
        fcntl.ioctl(ask, SET_ADDRESS, of_interface("lo:pods", f"{PODS}.0.1"))
        fcntl.ioctl(ask, SET_MASK, of_interface("lo:pods", "255.255.0.0"))


def of_interface(name: str, address: str) -> bytes:
    """The kernel's `ifreq` with an IPv4 address."""
    return struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, socket.inet_aton(address))
