"""`make e2e`: the images, and the chart with them on real nodes beside each other, with all that their tests need.

Most of a story is waiting, for a kubelet or a rollout: on a node it uses less than half of a core.  What has to be
fetched or built is, before: inside a node's machine (`node/boundary.py`) there is no network but its own.  Nothing is
installed on this one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

from tests.control_plane import programs
from tests.control_plane.programs import say
from tests.e2e import containerd, images, together
from tests.e2e.cluster import times
from tests.e2e.node import boundary, metrics_server, packages
from tests.gateway.world import gateway_definitions

HERE = Path(__file__).parent
ON_NODE = HERE / "cluster"
SECOND_BUILD = HERE / "test_second_build.py"
PYTEST = (sys.executable, "-m", "pytest", "-v", "--durations", "5")
# One story needs it, the last of its node: where this takes longer than those before, it waits for the build's lock.
PROMETHEUS = (sys.executable, "-m", "tests.control_plane.prometheus")
# What the nodes after the first one play, which has all others: each takes about as long.
FURTHER_NODES = (
    ("test_gpus.py", "test_scaling.py"),
    ("test_killed_operator.py", "test_traffic.py", "test_prometheus.py"),
    ("test_chart_upgrade.py", "test_encrypted.py", "test_stores.py"),
)
NOTHING_TO_DO = 5  # of pytest, where its arguments leave no test of a part
# Of one test, without the start of the node, whose waits have deadlines of their own.
LIMIT = ("--timeout", "300", "-o", "timeout_func_only=true")


def main(arguments: Sequence[str]) -> int:
    """Arguments go to each run of pytest; 0 where this machine cannot do it, after saying so."""
    if why := boundary.lacking():
        say(f"== make e2e SKIPPED, nothing was tested: {why}")
        return 0
    with ExitStack() as until_tested:
        with ThreadPoolExecutor() as beside:  # what one of them fetches, the other compiles meanwhile
            imaged = beside.submit(with_images, until_tested)
            with timed("programs"):
                programs.build_missing(programs.NODE)
                gateway_definitions()
                metrics_server.manifests()
            debian, told = imaged.result()
        without = ("--ignore", str(ON_NODE), "--ignore", str(SECOND_BUILD))
        parts = {
            "prometheus": PROMETHEUS,
            "second build": [*PYTEST, str(SECOND_BUILD), *arguments],
            "images": [*PYTEST, str(HERE), *without, *arguments],
        } | {
            f"node {number}": on_a_node(debian, stories, arguments, f"e2e-{number}.json")
            for number, stories in enumerate(by_node(), start=1)
        }
        with timed("tests"):
            ended = together.run(parts, {**os.environ, **told})
    statuses = {status for part, status in ended.items() if part != "prometheus"}  # who needs it fails without it
    return next(iter(statuses - {0, NOTHING_TO_DO}), min(statuses))


def with_images(until_tested: ExitStack) -> tuple[Path, dict[str, str]]:
    """Debian's packages, unpacked and on PATH, and the variables that tell the tests where the images are."""
    with timed("packages"):
        debian = packages.unpacked(say)
    os.environ["PATH"] += f":{debian / 'usr/bin'}"
    with timed("images"):
        made = images.build(images.ROOT / "build/images", *images.TARGETS)
        imported = until_tested.enter_context(containerd.imported(one.archive for one in made.values()))
    return debian, {images.GIVEN: images.handed_on(made), containerd.IMPORTED: str(imported)}


def by_node() -> list[list[Path]]:
    """The files of stories that each node plays, in their order."""
    further = [[ON_NODE / name for name in names] for names in FURTHER_NODES]
    return [[one for one in sorted(ON_NODE.glob("test_*.py")) if one not in chain(*further)], *further]


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
    except KeyboardInterrupt:
        say("== e2e: interrupted; what is built already is there for the next run")
        sys.exit(128 + signal.SIGINT)
