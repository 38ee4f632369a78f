"""`make e2e`: the images, then the chart with them on a real node, each with all that its tests need.

What has to be fetched or built is, before: inside the node's machine (`node/boundary.py`) there is no network but its
own.  Nothing is installed on this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.control_plane import programs
from tests.control_plane.programs import say
from tests.control_plane.prometheus import DISCOVERING
from tests.e2e import images
from tests.e2e.node import boundary, metrics_server, packages
from tests.gateway.world import gateway_definitions

HERE = Path(__file__).parent
ON_NODE = HERE / "cluster"
PYTEST = (sys.executable, "-m", "pytest")
# Of one test, without the start of the node, whose waits have deadlines of their own.
LIMIT = ("--timeout", "180", "-o", "timeout_func_only=true")


def main(arguments: Sequence[str]) -> int:
    """Arguments go to both runs of pytest; 0 where this machine cannot do it, after saying so."""
    if why := boundary.lacking():
        say(f"== make e2e SKIPPED, nothing was tested: {why}")
        return 0
    with timed("programs"):
        programs.build_missing((*programs.NODE, DISCOVERING))
        gateway_definitions()
        metrics_server.manifests()
    with timed("packages"):
        debian = packages.unpacked(say)
    with timed("images"):
        os.environ |= images.handed_on(images.build(images.ROOT / "build/images", "cpu", "operator"))
    path = f"{os.environ['PATH']}:{debian / 'usr/bin'}"
    with timed("tests of the images"):
        status = subprocess.call([*PYTEST, HERE, "--ignore", ON_NODE, *arguments], env={**os.environ, "PATH": path})
    with timed("tests on a node"):
        return boundary.run([*PYTEST, str(ON_NODE), *LIMIT, *arguments], debian) or status


@contextmanager
def timed(part: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"== e2e: {part} took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (LookupError, RuntimeError, boundary.Impossible, packages.NoPackages) as error:
        sys.exit(f"error: {error}")
