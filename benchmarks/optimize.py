"""What `tidegate optimize` makes of two networks for digits, beside the figures that were to be reached.

Every variant is made by the command's own function, with the training rows to learn from; the 719 test rows judge all
of them, and all of a network are timed in turns in one run, on one thread.  Writes build/bench/optimize.json and the
tables and plots of docs/optimize.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from benchmarks import digits
from benchmarks.docs import with_section
from benchmarks.machine import machine, sentence

from tidegate.author import DataSet, GoldenRequest, PackRequest, pack
from tidegate.author.metrics import predictions
from tidegate.author.optimize import OptimizeRequest, optimize
from tidegate.author.optimize.comparison import Comparison, Variant
from tidegate.author.optimize.plot import plot
from tidegate.author.optimize.quality import judge
from tidegate.author.optimize.timing import latencies
from tidegate.author.session import Runner, open_runner
from tidegate.bundle.manifest import read_bundle_dir

ROOT = Path(__file__).resolve().parents[1]
PAGE, JSON = ROOT / "docs/optimize.md", ROOT / "build/bench/optimize.json"
KEPT = ROOT / "build/digits"  # trained networks: made once per machine
NETWORKS = {"cnn": digits.cnn, "mlp": digits.mlp}
SECONDS = 3.0
LEAST_SPEEDUP = 2.5  # of the MLP's int8 at 64 rows
STUDENT = f"{Path(__file__).with_name('student.py')}:student"

# What is asked for, by the name of its row.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "static int8": {"precision": "int8-static"},
    "mixed int8": {"precision": "int8-mixed"},
    "dynamic int8": {"precision": "int8-dynamic"},
    "fp16": {"precision": "fp16"},
    "pruned": {},
    "pruned, static int8": {"precision": "int8-static"},
    "student": {"student": STUDENT},
}
PRUNED = {"cnn": 0.15, "mlp": 0.5}
# KiB and accuracy that were to be reached (719 rows of the same data).
TO_REACH: Mapping[str, Mapping[str, tuple[int, float]]] = {
    "cnn": {
        "fp32": (638, 0.9944), "static int8": (177, 0.9944), "dynamic int8": (442, 0.9944), "fp16": (327, 0.9944),
        "pruned": (507, 0.9958),
    },
    "mlp": {
        "fp32": (4407, 0.9791), "static int8": (1140, 0.9791), "dynamic int8": (1122, 0.9791), "fp16": (2208, 0.9791),
        "pruned": (1182, 0.9305),
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One variant of one network; `to_reach` is (KiB, accuracy), where there is one."""

    network: str
    variant: str
    bytes: int
    accuracy: float
    interval: tuple[float, float]
    lost: tuple[float, float, float]  # with its interval
    us: tuple[float, float]  # of 1 and of 64 rows
    speedup: tuple[float, float]
    to_reach: tuple[int, float] | None

    @property
    def reached(self) -> bool:
        """As accurate at most as large; the MLP's int8 as fast as well."""
        slow = (
            self.network == "mlp"
            and self.variant in ("static int8", "dynamic int8")
            and self.speedup[1] < LEAST_SPEEDUP
        )
        if self.to_reach is None:
            return not slow
        size, accuracy = self.to_reach
        return not slow and self.bytes <= size * 1024 and round(self.accuracy, 4) >= accuracy


def main(arguments: Sequence[str]) -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=SECONDS, help="to time each variant and batch size for")
    options.add_argument("--no-docs", action="store_true", help="leave docs/optimize.md and its plots alone")
    given = options.parse_args(arguments)
    data = digits.load()
    found = {name: measured(name, data, given.seconds) for name in NETWORKS}
    rows = [row for name, comparison in found.items() for row in rows_of(name, comparison)]
    JSON.parent.mkdir(parents=True, exist_ok=True)
    JSON.write_text(json.dumps({"rows": [asdict(row) for row in rows], "machine": machine()}, indent=1) + "\n")
    print(table(rows))
    if not given.no_docs:
        write_docs(found, rows)
    missed = [f"{row.network} {row.variant}" for row in rows if not row.reached]
    print(f"not reached: {', '.join(missed)}" if missed else "everything that was to be reached is reached")
    return 1 if missed else 0


def trained(name: str, data: digits.Digits) -> Path:
    """The network as an ONNX file, trained where it is not there yet."""
    path = KEPT / f"{name}.onnx"
    if not path.is_file():
        print(f"training the {name}: a minute", file=sys.stderr)
        KEPT.mkdir(parents=True, exist_ok=True)
        onnx.save(NETWORKS[name](data), path)
    return path


def measured(name: str, data: digits.Digits, seconds: float) -> Comparison:
    """The network and all its variants, judged and timed together."""
    test = DataSet("digits, 719 test rows", {"pixels": data.test_rows}, data.test_digits)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch:
        folder = Path(scratch)
        pack(trained(name, data), PackRequest(folder / "parent", name, "1", golden=GoldenRequest(count=2)))
        made = {"fp32": folder / "parent"}
        for variant, asked in VARIANTS.items():
            made[variant] = folder / variant
            share = PRUNED[name] if variant.startswith("pruned") else 0.0
            optimize(
                str(folder / "parent"),
                OptimizeRequest(
                    made[variant], variant.replace(", ", "-").replace(" ", "-"), test,
                    calibration=DataSet("digits, training rows", {"pixels": data.rows}),
                    max_drop=0.05, prune=share, seconds=0, **asked,
                ),
            )  # fmt: skip
        return compared(made, test, seconds)


def compared(made: Mapping[str, Path], test: DataSet, seconds: float) -> Comparison:
    """Bundles side by side, the first the parent."""
    runners = [_runner(path) for path in made.values()]
    kinds = {output.name: output.element_type for output in runners[0].interface.outputs}
    judged = [judge(predictions(runner, test.columns), test.labels, kinds) for runner in runners]
    timed = [latencies(runners, test.columns, size, seconds) for size in (1, 64)]
    variants = tuple(
        Variant(
            name, _bytes(path), judged[at].estimate(), judged[0].drop_to(judged[at]), tuple(size[at] for size in timed)
        )
        for at, (name, path) in enumerate(made.items())
    )
    return Comparison("accuracy", len(test.labels), test.name, 0.01, variants)


def _runner(path: Path) -> Runner:
    bundle = read_bundle_dir(path)
    return open_runner(path / bundle.manifest.model.file, bundle.manifest.interface)


def _bytes(path: Path) -> int:
    """Of the graph and its weights."""
    manifest = read_bundle_dir(path).manifest
    return sum(file.bytes for file in manifest.files if file.path.startswith(("weights/", manifest.model.file)))


def rows_of(network: str, found: Comparison) -> list[Row]:
    return [
        Row(
            network, each.name, each.bytes, each.quality.value, (each.quality.low, each.quality.high),
            (each.drop.value, each.drop.low, each.drop.high),
            (each.latencies[0].us, each.latencies[1].us),
            (each.latencies[0].speedup, each.latencies[1].speedup),
            TO_REACH[network].get(each.name),
        )
        for each in found.variants
    ]  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """As it stands in docs/optimize.md."""
    heads = ["network", "variant", "KiB", "accuracy", "95 % interval", "1 row, µs", "64 rows, µs", "speed", "to reach"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *map(_line, rows)])


def _line(row: Row) -> str:
    wanted = f"{row.to_reach[1]:.4f} in {row.to_reach[0]:,}" if row.to_reach else ""
    cells = [
        row.network, row.variant, f"{row.bytes / 1024:,.0f}", f"{row.accuracy:.4f}",
        f"{row.interval[0]:.4f} - {row.interval[1]:.4f}", f"{row.us[0]:,.0f}", f"{row.us[1]:,.0f}",
        f"{row.speedup[1]:,.2f} x", wanted,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def write_docs(found: Mapping[str, Comparison], rows: Sequence[Row]) -> None:
    for name, comparison in found.items():
        title = f"{name}: size, accuracy and latency of its variants"
        (PAGE.parent / f"optimize-{name}.svg").write_text(plot(comparison, title), encoding="utf-8")
    PAGE.write_text(with_section(PAGE.read_text(), "digits", f"{table(rows)}\n\n{sentence(machine())} One thread."))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
