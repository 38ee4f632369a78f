"""Builds `tidegate_runtime/_json_numbers.c` with the package; without a C compiler the package goes without it.

`$CC` or `cc` compiles it where there is one, else Zig's, which comes from the package index.  One file serves every
Python from 3.11 on (the limited API).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by itself, as the image's build does
    BuildHookInterface = object  # type: ignore[assignment,misc]

SOURCE = Path("runtime_image/tidegate_runtime/_json_numbers.c")
MADE = SOURCE.with_suffix(".abi3.so")
FLAGS = ("-O3", "-fPIC", "-shared", "-Wall", "-Wextra")
LINKING = {"darwin": ("-undefined", "dynamic_lookup"), "linux": ("-s",)}


def compiler() -> list[str] | None:
    """The machine's own C compiler."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    return command if shutil.which(command[0]) else None


def build(root: Path) -> Path:
    """Compile; raises CalledProcessError with what the compiler said, OSError when there is none."""
    command = compiler() or [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]  # zig's default is this machine's
    linking = LINKING.get(sys.platform, ())
    include = f"-I{sysconfig.get_path('include')}"
    made = root / MADE
    subprocess.run([*command, *FLAGS, *linking, include, str(root / SOURCE), "-o", str(made)], check=True)
    return made


class NativeBuild(BuildHookInterface):
    """See the module."""

    def dependencies(self) -> list[str]:
        return [] if compiler() or self.target_name != "wheel" else ["ziglang>=0.14"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatch's signature
        if self.target_name != "wheel":
            return
        try:
            build(Path(self.root))
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"JSON numbers will be read by orjson, which is slower: {error}")
            return
        build_data["artifacts"].append(str(MADE))
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


if __name__ == "__main__":
    print(build(Path(__file__).resolve().parent))
