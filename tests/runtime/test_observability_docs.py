"""docs/observability.md is what a server does: its commands give its answers, its tables name all there is."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.runtime import small_bundles as small
from tests.runtime.certificates import Files
from tests.runtime.collector import Collector
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.known_clients import lines
from tests.runtime.running_server import numbers
from tests.runtime.running_server import serve as start_server

from tidegate.api.runtime import ENV_NAMES
from tidegate_runtime.settings import FLAGS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/observability.md").read_text()
SOURCE = "\n".join(path.read_text() for path in (ROOT / "runtime_image/tidegate_runtime").rglob("*.py"))
COUNTED, TRACED = re.findall(r"```sh\n(curl .*?)```\n```(?:json|text)\n(.*?)```", PAGE, re.DOTALL)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[str]:
    """The names in the first column of every table."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture(scope="module")
def server(collector: Collector, bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """The server that the page talks about, asked once."""
    running = serve(
        bundles(small.linear(), small.linear_samples()), "--revision", "r7", "--otlp-endpoint", collector.url
    )
    assert running.infer(numbers([1.0, 2.0, 3.0, 4.0])).status == 200
    return running


def run(command: str, server: Running) -> str:
    here = command.replace("localhost:8080", f"127.0.0.1:{server.http}")
    here = here.replace("localhost:9090", f"127.0.0.1:{server.metrics}")
    return subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=DEADLINE, check=True).stdout


def test_the_counter_is_as_the_page_shows_it(server: Running) -> None:
    command, answer = COUNTED

    assert run(command, server) == answer


def test_the_request_of_the_page_is_a_span_of_its_trace(server: Running, collector: Collector) -> None:
    command, answer = TRACED

    assert json.loads(run(command, server)) == json.loads(answer)
    spans = collector.named("POST /v2/models/fraud/infer", 2)
    (span,) = [span for span in spans if span.trace == "4bf92f3577b34da6a3ce929d0e0e4736"]
    assert span.parent == "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def with_everything(
    tmp_path_factory: pytest.TempPathFactory, bundles: Callable[..., Path], serve: Callable[..., Running]
) -> Running:
    """A server that has every part that has metrics of its own."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "clients").write_bytes(lines("ana"))
    flags = ["--auth-file", str(folder / "clients"), *Files(folder / "tls").flags]
    logs = ["--audit-log", str(folder / "audit"), "--access-log", str(folder / "access")]
    traces = ["--otlp-endpoint", "http://127.0.0.1:1"]
    return serve(bundles(small.linear(), small.linear_samples()), *flags, *logs, *traces)


def test_every_metric_of_a_server_is_in_the_table_and_every_one_of_the_table_is_written_somewhere(
    with_everything: Running,
) -> None:
    families = text_string_to_metric_families(with_everything.probe("/metrics").body.decode())
    told = {family.name + "_total" * (family.type == "counter") for family in families}
    told |= {f"tidegate_{name}" for name in re.findall(r'"([a-z_]+)", "(?:gauge|counter|histogram)"', SOURCE)}
    listed = rows(section("Metrics"))
    known = {f"tidegate_{name}" for name in listed}

    assert told - known == set()
    assert [name for name in listed if f'"{name.removeprefix("evidence_")}"' not in SOURCE] == []


def test_the_queries_ask_for_metrics_that_are_there(server: Running) -> None:
    text = server.probe("/metrics").body.decode()

    for name in re.findall(r"tidegate_[a-z_]+", section("Metrics").split("PromQL")[1]):
        assert name in text, name


def test_every_event_of_the_log_is_in_the_table() -> None:
    written = set(re.findall(r'\b(?:log|_tell)\(\s*"(?:info|warning|error)", "([^"]+)"', SOURCE))

    assert written == set(rows(section("Logs")))


def test_a_life_of_a_server_is_json_lines_on_stderr_and_one_on_stdout(tmp_path: Path) -> None:
    bundle = small.write_bundle(tmp_path / "bundle", small.linear(), small.linear_samples())
    with start_server(bundle, tmp_path / "run") as running:
        running.until_ready()
        running.infer(numbers([1.0, 2.0, 3.0, 4.0]))
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=DEADLINE) == 0
        assert running.process.stdout is not None
        assert running.process.stdout.read() == b""  # the first line was read when it started

    lines = [json.loads(line) for line in running.log.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "batching"), ("info", "ready"), ("info", "stopped"),
    ]  # fmt: skip


def test_the_flags_and_variables_of_the_page_exist() -> None:
    flags = {f"--{flag.name}" for flag in FLAGS}
    variables = set(re.findall(r"`((?:OTEL|TIDEGATE)_[A-Z_]+)`", PAGE.split("Allowed there are")[1].split("\n")[0]))

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= flags
    assert variables == {name for name in ENV_NAMES if name.startswith(("OTEL_", "TIDEGATE_TRACE"))}
