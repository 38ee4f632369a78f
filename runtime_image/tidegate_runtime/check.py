"""`tidegate-runtime check DIR`: the golden samples once, exactly as a pod runs them before it is ready."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tidegate.bundle.golden import Difference
from tidegate_runtime import golden, session
from tidegate_runtime.outcome import add_log_argument, answer
from tidegate_runtime.settings import DEVICES, parse
from tidegate_runtime.watchdog import Watchdog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="bundle directory")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="where the model runs [cpu]")
    add_log_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Check; the exit code."""
    return answer(lambda: check(arguments.directory, arguments.device), arguments.termination_log)


def check(directory: Path, device: str) -> dict[str, Any]:
    """Load the bundle, run every sample, and say how far off each output was at worst; raises GoldenMismatch."""
    began = time.monotonic()
    settings = parse(["--bundle", str(directory), "--device", device], {})
    watchdog = Watchdog()
    watchdog.start()
    try:
        lane = watchdog.lane()
        model = session.load(settings, lane)
        worst: dict[str, Difference] = {}
        for name, sample in golden.named_samples(model):
            differences = golden.run_sample(model, name, sample, lane, settings.request_timeout)
            golden.require_match(name, differences)
            for found in differences:
                before = worst.get(found.output)
                worst[found.output] = found if before is None or found.excess >= before.excess else before
    finally:
        watchdog.stop()
    return {
        "ok": True,
        "digest": model.digest,
        "device": device,
        "samples": len(model.samples),
        "seconds": round(time.monotonic() - began, 3),
        "outputs": [_row(difference) for difference in worst.values()],
    }


def _row(difference: Difference) -> dict[str, Any]:
    return {
        "output": difference.output,
        "worst": difference.worst,
        "excess": difference.excess,
        "mismatched": difference.mismatched,
        "total": difference.total,
    }
