"""A real Prometheus for the tests, built from its Go module without service discoveries, or with that of Kubernetes alone.

It scrapes every second; of its own pages the API alone is there.  Like every other program it ends with the test run.
`python -m tests.control_plane.prometheus` builds the one that discovers, where it is missing.
"""

from __future__ import annotations

import json
import re
import select
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.control_plane import programs
from tests.control_plane.children import Child, Children
from tests.control_plane.programs import Program

MODULE = "github.com/prometheus/prometheus"
FEW_DISCOVERIES = ("remove_all_sd",)  # 100 s and 52 MB instead of 244 s and 105 MB
PROMETHEUS = Program("prometheus", "prometheus", MODULE, f"{MODULE}/cmd/prometheus", FEW_DISCOVERIES)
DISCOVERING = replace(PROMETHEUS, tags=(*FEW_DISCOVERIES, "enable_kubernetes_sd"))
HERE = "127.0.0.1"
READY_SECONDS = 30.0
LOOK_SECONDS = 0.02
ADDRESS = re.compile(r'msg="Listening on".* address=(\S+)')


@dataclass(frozen=True, slots=True)
class Target:
    """A port that is scraped, and the labels that a service discovery would give it."""

    port: int
    labels: Mapping[str, str]
    host: str = HERE


def find() -> Path:
    """Where the program is; built if it has to be, in some minutes: a test that needs it has to have that time."""
    return programs.find(PROMETHEUS)


@contextmanager
def scraping(
    program: Path, folder: Path, targets: Sequence[Target], rules: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """The address of a Prometheus that scrapes these targets, and evaluates rules every second, too."""
    static = [{"targets": [f"{target.host}:{target.port}"], "labels": dict(target.labels)} for target in targets]
    with running(program, folder, {"job_name": "pods", "static_configs": static}, rules=rules) as address:
        yield address


@contextmanager
def running(
    program: Path, folder: Path, job: Mapping[str, Any], *, rules: Mapping[str, Any] | None = None, host: str = HERE
) -> Iterator[str]:
    """The address of a Prometheus on this host, with one scrape job of its configuration."""
    folder.mkdir(parents=True)
    often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings = {"global": often, "scrape_configs": [job], "rule_files": ["rules.yml"]}
    (folder / "rules.yml").write_text(json.dumps(rules or {}))
    (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
    flags = {"config.file": "prometheus.yml", "storage.tsdb.path": "tsdb", "web.listen-address": f"{host}:0"}
    with closing(Children(folder)) as children:
        child = children.start("prometheus", [program, *(f"--{name}={value}" for name, value in flags.items())], {})
        yield until_ready(child)


def until_ready(child: Child) -> str:
    end = time.monotonic() + READY_SECONDS
    while not (address := address_of(child)) or not is_ready(address):
        child.check()
        assert time.monotonic() < end, f"not ready within {READY_SECONDS:g} s\n{child.last_lines()}"
        select.select([], [], [], LOOK_SECONDS)
    return address


def address_of(child: Child) -> str:
    found = ADDRESS.search(child.log.read_text())
    return f"http://{found[1]}" if found else ""


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    programs.build_missing([DISCOVERING])
