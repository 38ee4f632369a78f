"""The dashboard with many rollouts: how long an update takes, on its way and in the browser, and memory of the process.

A real API server, 500 rollouts in ten namespaces with four pods each, `tidegate dashboard -A` as its own process, eight
pages that only read, and one in a headless Chromium.  Then statuses change: one at a time, and in bursts of fifty.

- *on its way*: from the moment at which a plain watch of ours hears of the change until a page has the bytes;
- *in the browser*: from the first look at the bytes until the next frame is painted, by the page's own clock.

Writes build/bench/dashboard.json; with --write-docs the table of docs/dashboard.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import urllib3
from benchmarks.docs import with_section
from benchmarks.machine import machine
from playwright.sync_api import Page, sync_playwright
from tests.browser import chromium, scenes
from tests.browser.served import Served, served
from tests.control_plane.plane import Plane, only_api
from tests.control_plane.resources import Object
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build/bench/dashboard.json"
PAGE = ROOT / "docs/dashboard.md"
READERS = 8
SINGLE, BURSTS, BURST = 60, 6, 50
CHANGE = re.compile(rb'"surgeMessage":"change (\d+)"')
PAINTED = """() => { window.updates = []; new PerformanceObserver((list) => { for (const one of list.getEntries())
  requestAnimationFrame(() => { const channel = new MessageChannel();
    channel.port1.onmessage = () => window.updates.push([one.duration, performance.now() - one.startTime]);
    channel.port2.postMessage(0); }); }).observe({entryTypes: ["measure"]}); }"""


class Arrivals:
    """When each numbered change was first seen in a stream of bytes."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self.at: dict[int, float] = {}
        self._answer = answer
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(urllib3.exceptions.HTTPError):  # closed
            while piece := self._answer.read1(1 << 20):
                now = time.perf_counter()
                whole, _, rest = (rest + piece).rpartition(b"\n")
                for found in CHANGE.finditer(whole):
                    self.at.setdefault(int(found[1]), now)

    def close(self) -> None:
        self._answer.shutdown()
        self._thread.join(5)


class Bench:
    """The cluster, and its changes by number."""

    def __init__(self, plane: Plane, count: int) -> None:
        self.plane, self.count, self.number = plane, count, 0
        self._base: Object = scenes.trying("Holding", 40, 2, "WaitingForPromote", "step 2 ends by `tidegate promote`")

    def fill(self) -> None:
        for number in range(10):
            scenes.make_namespace(self.plane.client, f"team-{number}")
        for number in range(self.count):
            namespace, name = self.place(number)
            self.plane.client.create(scenes.manifest(namespace, name))
            status = self._base if number % 10 == 0 else scenes.serving(6)
            self.plane.client.patch_status(scenes.manifest(namespace, name), status)
            for pod, told in list(scenes.pods(namespace, name, self._base))[:4]:
                self.plane.client.create(pod)
                self.plane.client.patch_status(pod, told)

    def place(self, number: int) -> tuple[str, str]:
        return f"team-{number % 10}", f"model-{number:04}"

    def change(self) -> int:
        """Change the next rollout's status; the number that it carries."""
        self.number += 1
        weight = self.number % 90 + 1
        rollout = {**self._base["rollout"], "weight": weight, "surgeMessage": f"change {self.number}"}
        status = {**self._base, "rollout": rollout, "candidate": {**self._base["candidate"], "weight": weight}}
        self.plane.client.patch_status(scenes.manifest(*self.place(self.number % self.count)), status)
        return self.number


def spread(values: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(values)
    return {
        "p50Ms": round(statistics.median(ordered), 1),
        "p95Ms": round(ordered[int(len(ordered) * 0.95)], 1),
        "maxMs": round(ordered[-1], 1),
    }


def memory(dashboard: Served, field: str = "VmRSS") -> float:
    """MiB."""
    text = Path(f"/proc/{dashboard.child.pid}/status").read_text()
    return round(int(re.findall(rf"{field}:\s+(\d+)", text)[0]) / 1024, 1)


def cpu_seconds(dashboard: Served) -> float:
    """What the process has used so far."""
    fields = Path(f"/proc/{dashboard.child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def updates(page: Page) -> tuple[list[float], list[float]]:
    """Milliseconds of the page's own work, and until it was painted; since it was last asked."""
    rows = page.evaluate("() => window.updates.splice(0)")
    return [row[0] for row in rows], [row[1] for row in rows]


def measured(count: int) -> dict[str, Any]:
    with ExitStack() as stack:
        plane = stack.enter_context(only_api())
        bench = Bench(plane, count)
        print(f"making {count} rollouts with pods", file=sys.stderr)
        bench.fill()
        kubeconfig = plane.client.kubeconfig(
            Path(stack.enter_context(tempfile.TemporaryDirectory())) / "kubeconfig", "team-0"
        )
        began = time.perf_counter()
        dashboard = stack.enter_context(served("-A", kubeconfig=kubeconfig))
        started = time.perf_counter() - began
        found: dict[str, Any] = {
            "rollouts": count,
            "pods": 4 * count,
            "startSeconds": round(started, 2),
            "rssMiB": {"listed": memory(dashboard)},
        }
        readers = [stack.enter_context(closing(reader(dashboard))) for _ in range(READERS)]
        watch = stack.enter_context(closing(watcher(plane)))
        page = opened(stack, dashboard, count)
        found["rssMiB"]["pages"] = memory(dashboard)
        page.evaluate(PAINTED)
        for name, rounds, size in (("single", SINGLE, 1), ("burst", BURSTS, BURST)):
            used = cpu_seconds(dashboard)
            found[name] = rows(bench.change, rounds, size, watch, readers, page)
            found[name]["cpuMs"] = round(1000 * (cpu_seconds(dashboard) - used) / (rounds * size), 2)
        found["rssMiB"] |= {"changes": memory(dashboard), "peak": memory(dashboard, "VmHWM")}
        found["pageMiB"] = round(page.evaluate("performance.memory.usedJSHeapSize") / 2**20, 1)
        return found


def rows(
    change: Callable[[], int], rounds: int, size: int, watch: Arrivals, readers: list[Arrivals], page: Page
) -> dict[str, Any]:
    """Changes in rounds; the latest of a burst is what is waited for."""
    way: list[float] = []
    for _ in range(rounds):
        numbers = [change() for _ in range(size)]
        last = numbers[-1]
        wait_until(lambda: all(last in one.at for one in (watch, *readers)), "the change has arrived")  # noqa: B023
        way += [1000 * max(0.0, one.at[last] - watch.at[last]) for one in readers]
        page.wait_for_timeout(80)
    own, painted = updates(page)
    return {
        "changes": rounds * size,
        "way": spread(way),
        "page": spread(own),
        "painted": spread(painted),
        "updates": len(own),
    }


def reader(dashboard: Served) -> Arrivals:
    pool = urllib3.PoolManager(retries=False)
    address, headers = f"http://127.0.0.1:{dashboard.port}/events", {"X-Tidegate-Token": dashboard.token}
    return Arrivals(pool.request("GET", address, headers=headers, preload_content=False))


def watcher(plane: Plane) -> Arrivals:
    listed = plane.client.request("GET", "/apis/serving.tidegate.io/v1alpha1/modeldeployments", query={"limit": "1"})
    pool = urllib3.PoolManager(ca_certs=str(plane.ca), retries=False)
    version = listed["metadata"]["resourceVersion"]
    address = f"{plane.url}/apis/serving.tidegate.io/v1alpha1/modeldeployments?watch=true&resourceVersion={version}"
    headers = {"Authorization": "Bearer token-of-admin"}
    return Arrivals(
        pool.request("GET", address, headers=headers, preload_content=False, timeout=urllib3.Timeout(read=600))
    )


def opened(stack: ExitStack, dashboard: Served, count: int) -> Page:
    found = chromium.find()
    playwright = stack.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=found.program, args=found.flags, env=found.environment or None)
    stack.callback(browser.close)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(dashboard.address)
    page.wait_for_function(f"document.querySelectorAll('.card').length === {count}")
    return page


def table(found: dict[str, Any]) -> str:
    what_there_was = f"{found['rollouts']} rollouts, {found['pods']} pods, {READERS + 1} pages"
    lines = [f"| {what_there_was} | p50 | p95 | longest |", "|---|---|---|---|"]
    for name, words in (("single", "one change at a time"), ("burst", f"bursts of {BURST} changes")):
        for part, what in (
            ("way", "on its way: watch event to the page's bytes"),
            ("page", "the page's own work"),
            ("painted", "until it is painted"),
        ):
            one = found[name][part]
            lines.append(f"| {words}: {what} | {one['p50Ms']} ms | {one['p95Ms']} ms | {one['maxMs']} ms |")
    rss, used = found["rssMiB"], machine()
    cpu_told = (
        f"CPU of the process for a change that {READERS + 1} pages are told of: {found['single']['cpuMs']} ms alone, "
        f"{found['burst']['cpuMs']} ms in a burst."
    )
    memory_told = (
        f"Memory of the whole process (RSS): {rss['listed']} MiB with everything listed, {rss['pages']} MiB with the "
        f"pages open, {rss['changes']} MiB after all changes, {rss['peak']} MiB at most. Start until it serves: "
        f"{found['startSeconds']} s."
    )
    machine_told = (
        f"{used['cores']} cores, shared with the API server, etcd, Chromium and others, {used['cpu']}, "
        f"Linux {used['kernel']}, Python {used['python']}; load average {found['loadAverage']} at the end."
    )
    return "\n".join([*lines, "", cpu_told, memory_told, machine_told])


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.dashboard", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=500)
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/dashboard.md")
    given = parser.parse_args()
    found = measured(given.rollouts) | {"machine": machine(), "loadAverage": round(os.getloadavg()[0], 1)}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    text = table(found)
    print(text)
    if given.write_docs:
        PAGE.write_text(with_section(PAGE.read_text(), "dashboard", text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
