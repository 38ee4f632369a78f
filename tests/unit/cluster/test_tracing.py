"""Spans leave the operator without ever holding it up."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.runtime.collector import collecting
from tests.waiting import wait_until

from tidegate.cluster.settings import read_settings
from tidegate.cluster.spans import PLACES, OtlpExporter, context_of
from tidegate.cluster.tracing import Traced, Traces, collector
from tidegate.errors import UsageError
from tidegate.plan.spans import Span

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
KEY = ("shop", "fraud")


def holding(seconds: float = 60.0) -> Span:
    return Span("holding", NOW, NOW + timedelta(seconds=seconds), {"tidegate.weight": 10})


class Failing:
    """A reconciler that has lost its server."""

    async def reconcile(self, key: tuple[str, str]) -> timedelta | None:
        raise TimeoutError

    def knows(self, key: tuple[str, str]) -> bool:
        return True


def test_two_operators_tell_of_one_rollout_in_one_trace() -> None:
    with collecting() as found:
        for spans in ((holding(),), (Span("rollout", NOW, NOW + timedelta(hours=1), {}),)):
            exporter = OtlpExporter(collector(found.url), "pod")
            exporter.rollout("uid/began", spans, {"tidegate.model": "fraud"})
            exporter.stop()

        (step,), (whole,) = found.named("holding"), found.named("rollout")

    assert (step.trace, step.parent) == (whole.trace, whole.id)
    assert whole.parent == ""
    assert whole.id == f"{context_of('uid/began').span_id:016x}"
    assert step.ended - step.begun == 60 * 10**9
    assert step.resource["service.instance.id"] == "pod"


def test_a_turn_that_failed_says_so() -> None:
    with collecting() as found:
        exporter = OtlpExporter(collector(found.url), "pod")
        with pytest.raises(TimeoutError):
            asyncio.run(Traced(Failing(), Traces(exporter)).reconcile(KEY))
        exporter.stop()

        (turn,) = found.named("reconcile")

    assert (turn.failed, turn.attributes["error.type"]) == (True, "TimeoutError")


def test_a_collector_that_is_away_holds_up_nothing_and_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as found:
        gone = found.url
    exporter = OtlpExporter(collector(gone), "pod")
    began = time.monotonic()

    with caplog.at_level(logging.WARNING, "tidegate"):
        for _ in range(3 * PLACES):
            exporter.turn(0, 1, {}, "", failed=False)
        took = time.monotonic() - began
        exporter.stop()

    assert took < 5
    assert time.monotonic() - began < 10
    assert len([line for line in caplog.messages if "spans cannot be sent" in line]) <= 1
    wait_until(lambda: all(thread.name != "last spans" for thread in threading.enumerate()), "nothing is left behind")


@pytest.mark.parametrize("text", ["collector:4318", "ftp://a", "http://user:secret@a:4318", "http://a:0", "http://"])
def test_an_address_that_is_none_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(UsageError, match=r"--otlp-endpoint.*write http://HOST:4318") as refused:
        read_settings({"runtime_image": "a", "otlp_endpoint": text}, {})

    assert "secret" not in str(refused.value)


def test_opentelemetrys_own_variable_does_and_nothing_means_off() -> None:
    given = {"runtime_image": "a", "lease_namespace": "a"}

    assert read_settings(given, {}).otlp_endpoint == ""
    told = read_settings(given, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"})
    assert told.otlp_endpoint == "http://collector:4318/v1/traces"


def test_off_nothing_of_it_is_imported() -> None:
    code = (
        "import sys, tidegate.cluster.main; print(*[name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split() == []
