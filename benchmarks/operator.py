"""The operator against a real API server: how fast, how many requests, how much of the machine.

`make bench-operator` measures everything (about half an hour) and writes build/bench/operator.json and the plot;
`python -m benchmarks.operator --only new,rest --objects 200` is a quick look.  Requests are counted from the API
server's audit log, so they are exact; seconds depend on the machine, whose load is written beside each of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import operator_changes, operator_rollout, operator_scale
from benchmarks.operator_cluster import Bench, load_average, say
from benchmarks.operator_table import picture, table
from tests.cluster.operating import grant
from tests.control_plane.plane import whole

OUT = Path("build/bench")
Figures = dict[str, Any]
Part = Callable[[Bench, argparse.Namespace], Figures]

PARTS: dict[str, Part] = {
    "failover": lambda bench, sizes: operator_changes.failover(bench, sizes.rounds),
    "new": lambda bench, sizes: operator_scale.new(bench, sizes.objects),
    "known": lambda bench, sizes: operator_scale.known(bench, sizes.objects),
    "start": lambda bench, sizes: operator_scale.start(bench, sizes.existing),
    "rest": lambda bench, sizes: operator_scale.rest(bench, sizes.existing),
    "rollout": lambda bench, sizes: operator_rollout.rollout(bench, sizes.minutes),
    "hot": lambda bench, sizes: operator_changes.hot(bench, sizes.beside),
    "latency": lambda bench, sizes: operator_changes.latency(bench, sizes.beside),
    "crowded": lambda bench, sizes: operator_changes.crowded(bench, sizes.rounds),
}
NEEDS = {"known": "new"}


def main() -> int:
    given = arguments()
    chosen = [name for name in PARTS if name in given.only.split(",")] if given.only else list(PARTS)
    found = measured(chosen, given)
    print(table(found))
    output = given.output or (None if given.only else OUT / "operator.json")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=1) + "\n")
        output.with_suffix(".svg").write_text(picture(found))
    return 1 if found["failed"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"parts, with commas between: {','.join(PARTS)}; nothing is written")
    parser.add_argument("--objects", type=int, default=1000, help="new deployments")
    parser.add_argument("--existing", type=int, default=2000, help="deployments at the operator's start and at rest")
    parser.add_argument("--minutes", type=float, default=2, help="holds of the canary, all five together")
    parser.add_argument("--beside", type=int, default=200, help="deployments beside the hot one, and behind latency")
    parser.add_argument("--rounds", type=int, default=3, help="how often a leader is killed")
    parser.add_argument("--output", type=Path, help=f"where the figures go ({OUT}/operator.json), the plot beside them")
    given = parser.parse_args()
    for name in given.only.split(",") if given.only else ():
        if name not in PARTS:
            parser.error(f"there is no part {name!r}")
        if NEEDS.get(name, name) not in given.only.split(","):
            parser.error(f"{name} needs {NEEDS[name]}")
    return given


def measured(parts: list[str], given: argparse.Namespace) -> Figures:
    """One part after the other in one cluster, what came before still there; one that fails costs only its figures."""
    found: Figures = {"loadAverage": {}, "failed": {}}
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    with whole() as plane:
        grant(plane)
        bench = Bench(plane, folder)
        try:
            for name in parts:
                before, began = load_average(), time.monotonic()
                say(f"{name}: load average {before}")
                figures: Figures = {}
                try:
                    figures = PARTS[name](bench, given)
                except (RuntimeError, AssertionError) as error:
                    found["failed"][name] = str(error)
                    say(f"  failed: {error}; the operators' logs are in {folder}")
                    bench.start_anew()
                found["loadAverage"][name] = [before, load_average()]
                say(f"  {time.monotonic() - began:.0f} s: {json.dumps(figures)}")
                found |= figures
        finally:
            bench.close()
    if not found["failed"]:
        shutil.rmtree(folder, ignore_errors=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
