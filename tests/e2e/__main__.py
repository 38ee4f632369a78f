"""`make e2e`: the images, and the chart with them on two real nodes beside each other, with all that their tests need.

Most of a story is waiting, for a kubelet or a rollout: two nodes take little more than half of the time of one.  What
has to be fetched or built is, before: inside a node's machine (`node/boundary.py`) there is no network but its own.
Nothing is installed on this one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.control_plane import programs
from tests.control_plane.programs import say
from tests.control_plane.prometheus import DISCOVERING
from tests.e2e import images, together
from tests.e2e.cluster import times
from tests.e2e.node import boundary, metrics_server, packages
from tests.gateway.world import gateway_definitions

HERE = Path(__file__).parent
ON_NODE = HERE / "cluster"
PYTEST = (sys.executable, "-m", "pytest", "-v")
SECOND_NODE = ("test_gpus.py", "test_killed_operator.py", "test_traffic.py")  # about half of the time
NOTHING_TO_DO = 5  # of pytest, where its arguments leave no test of a part
# Of one test, without the start of the node, whose waits have deadlines of their own.
LIMIT = ("--timeout", "180", "-o", "timeout_func_only=true")


def main(arguments: Sequence[str]) -> int:
    """Arguments go to each run of pytest; 0 where this machine cannot do it, after saying so."""
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
    stories = sorted(ON_NODE.glob("test_*.py"))
    second = [story for story in stories if story.name in SECOND_NODE]
    first = [story for story in stories if story not in second]
    parts = {
        "images": [*PYTEST, str(HERE), "--ignore", str(ON_NODE), *arguments],
        "node 1": on_a_node(debian, first, arguments, "e2e.json"),
        "node 2": on_a_node(debian, second, arguments, "e2e-2.json"),
    }
    with timed("tests"):
        statuses = set(together.run(parts, {**os.environ, "PATH": path}).values())
    return next(iter(statuses - {0, NOTHING_TO_DO}), min(statuses))


def on_a_node(debian: Path, stories: Sequence[Path], arguments: Sequence[str], record: str) -> list[str]:
    """The command that runs them on a node of their own, and records in build/bench how long its phases took."""
    command = [*PYTEST, *map(str, stories), *LIMIT, *arguments]
    return ["env", f"{times.RECORD}={record}", sys.executable, "-m", "tests.e2e.node.boundary", str(debian), *command]


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
