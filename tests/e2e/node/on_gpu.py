"""The runtime image's program where a pretended GPU is all that there is: the server has one if its pod was given one.

It is the entry point of the image that `gpu_image.py` makes.  Only the server is on it: fetching, resolving and proving
are the image's own, on the CPU.
"""

from __future__ import annotations

import os
import sys

from tidegate_runtime.main import main

VISIBLE = "NVIDIA_VISIBLE_DEVICES"


def given() -> bool:
    """Whether a device plugin has given this container a device."""
    return bool(os.environ.get(VISIBLE))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        from tests.runtime.gpu.pretended import PretendedGpu, install

        install(PretendedGpu(starts=given()), setattr)
    sys.exit(main())
