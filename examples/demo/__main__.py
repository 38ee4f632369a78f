"""`make demo`: one model published, proved, served, moved to a better version, and saved from five bad ones.

Everything is real: handwritten digits, scikit-learn, an S3 server, Envoy, ONNX Runtime.  It ends with exit code 1
when any act ends otherwise than told.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
from examples.demo.acts import Act, Stage, applied, rolled_back
from examples.demo.course import rows_since
from examples.demo.models import digits
from examples.demo.prepare import Version, Workshop
from examples.demo.product import NAME, DemoFailed, Product, serving
from examples.demo.s3 import free_ports, s3_server
from examples.demo.traffic import Load, Traffic, wait_until

FOLDER = Path("build/demo")
RATE = 900.0
LEAST = 50_000
LAST_ROW = 2.5  # seconds until the timeline holds all that was answered
STEPS = "[{weight: 10, hold: 9s}, {weight: 50, hold: 9s}]"
CAREFUL = "[{weight: 2, hold: 10s}, {weight: 50, hold: 10s}]"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` closes what it started
    started = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    try:
        with s3_server((FOLDER / "s3").resolve()) as server:
            product = Product(FOLDER.resolve(), server.credentials())
            say(f"An S3 server answers on {server.endpoint}.")
            workshop = Workshop(product, server, digits())
            versions = workshop.everything()
            introduce(versions)
            key = workshop.tamper(versions["2.0.1"])
            say(f"One byte of 2.0.1 was changed in the store, behind its signed manifest ({key[:40]}…).")
            acts, problems, answered = play(product, workshop, versions)
    except (DemoFailed, TimeoutError, subprocess.TimeoutExpired) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    seconds = time.monotonic() - started
    return conclude(acts, problems, answered, seconds)


def say(text: str) -> None:
    print(text, flush=True)


def introduce(versions: dict[str, Version]) -> None:
    say("Trained, packed, signed and pushed:")
    for one in versions.values():
        say(f"  {one.version:<18} {one.digest[:19]}…  {one.uri}")


def play(
    product: Product, workshop: Workshop, versions: dict[str, Version]
) -> tuple[list[dict[str, Any]], list[str], int]:
    """All acts under steady traffic."""
    (port,) = free_ports(1)
    product.apply(versions["1.0.0"].uri, STEPS)
    with product.run(port, workshop.keys) as process:
        serving(product, process, 60)
        bodies = [request(row) for row in workshop.data.heldout.tolist()]
        load = Load(port, f"/v2/models/{NAME}/infer", bodies, workshop.expected(versions), RATE)
        say(f"\nVersion 1.0.0 serves on port {port}; {load.connections} connections send {RATE:.0f} digits a second.")
        began = time.monotonic()
        with Traffic(load) as traffic:
            stage = Stage(product, traffic)
            acts = [one_act(stage, act, versions) for act in script(versions)]
            tally = traffic.tally
            wait_until(lambda: tally.answered >= LEAST, LEAST / RATE * 3, f"answering {LEAST} requests")
        rate = tally.answered / (time.monotonic() - began)
        time.sleep(LAST_ROW)
        product.tidegate("report", NAME, "-o", FOLDER / "report.html", "--state", product.state)
        servers = served(product)
    problems = stage.problems
    if tally.answered < tally.sent:
        problems.append(f"{tally.sent} requests were sent and {tally.answered} answered rightly: {tally.messages}")
    say(f"\nClients counted {tally.answered:,} right answers and {tally.errors} errors.")
    say(f"The timeline has {servers:,} of them: not what a version's servers answered after its last row.")
    say(f"That is {rate:.0f} a second over all acts, from {load.connections} connections.")
    return acts, problems, tally.answered


def request(row: list[float]) -> bytes:
    """One digit in the Open Inference Protocol."""
    return orjson.dumps({"inputs": [{"name": "input", "shape": [1, 64], "datatype": "FP32", "data": row}]})


def script(versions: dict[str, Version]) -> list[Act]:
    """What is done, and how it must end."""
    broken = [one for name, one in versions.items() if name.startswith("3.0.0-")]
    return [
        Act("v1", versions["1.0.0"], "serving", "Promoted"),
        Act("v2", versions["2.0.0"], "promoted", "Promoted", (10, 50)),
        *(Act(f"v3 {one.version[6:]}", one, "refused", "GoldenMismatch") for one in broken),
        Act("tampered twin", versions["2.0.1"], "refused", "DigestMismatch"),
        Act("v4", versions["4.0.0"], "rolledback", "LatencyExceeded", (2,)),
        Act("rollback", versions["1.0.0"], "promoted", "Promoted"),
    ]


def one_act(stage: Stage, act: Act, versions: dict[str, Version]) -> dict[str, Any]:
    """Play one act and tell it."""
    product = stage.product
    if act.name == "v1":
        row = stage.watch(act)
    elif act.name == "rollback":
        row = stage.play(act, rolled_back(product, versions["1.0.0"]))
    else:
        row = stage.play(act, applied(product, act.version, CAREFUL if act.name == "v4" else STEPS))
    tell(act, row, stage.told)
    return row


def tell(act: Act, row: dict[str, Any], message: str) -> None:
    say(f"\n{act.name}: {row['outcome']} ({row['reason']}) after {row['seconds']} s")
    say(f"  {message}")
    for seen in row["weightObserved"]:
        share, low, high = (f"{100 * seen[key]:.1f} %" for key in ("share", "low", "high"))
        say(f"  at {seen['step']} % clients saw {share} (99.9 % interval {low} … {high})")
    requests = ", ".join(f"{revision}: {count:,}" for revision, count in row["requests"].items())
    say(f"  answers by revision: {requests}; client errors: {row['clientErrors']}")


def served(product: Product) -> int:
    """Requests that the timeline has, by the servers' count; a revision that comes back counts from nothing again."""
    total, last = 0, dict[str, int]()
    for row in rows_since(product.timeline, 0.0):
        for revision, seen in row["versions"].items():
            count, before = seen["requests"], last.get(revision, 0)
            total += count - before if count >= before else count
            last[revision] = count
    return total


def conclude(acts: list[dict[str, Any]], problems: list[str], answered: int, seconds: float) -> int:
    ok = not problems and answered >= LEAST
    (FOLDER / "summary.json").write_text(json.dumps({"acts": acts, "ok": ok}, indent=2) + "\n")
    for problem in problems:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    say(f"{'All acts ended as told' if ok else 'The demo failed'} after {seconds:.0f} s.")
    say(f"Page: {FOLDER / 'report.html'}   figures: {FOLDER / 'summary.json'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
