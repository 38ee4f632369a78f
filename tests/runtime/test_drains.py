"""A server that is told to end loses no request, whatever its clients are doing at that moment."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.drain_clients import send_traffic
from tests.runtime.running_server import serve, wait_until

DRAINS = int(os.environ.get("TIDEGATE_DRAINS", "20"))  # a soak sets 100


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_bundle(tmp_path_factory.mktemp("drains") / "b", small.linear(), small.linear_samples())


@pytest.mark.slow
@pytest.mark.timeout(30 + 10 * DRAINS)
def test_no_request_is_lost_in_any_drain(bundle: Path, tmp_path: Path) -> None:
    answered = 0
    for turn in range(DRAINS):
        with serve(bundle, tmp_path / str(turn), "--drain-delay", "250ms", "--drain", "10s") as running:
            running.until_ready()
            traffic = send_traffic(running.http, each=3)
            wait_until(lambda seen=traffic: seen.answered > 100, "traffic")  # type: ignore[misc]

            running.process.send_signal(signal.SIGTERM)
            wait_until(lambda server=running: server.ask("GET", "/readyz").status == 503, "not ready")  # type: ignore[misc]
            tallies = traffic.until_refused()

            assert [tally.lost for tally in tallies if tally.lost] == [], f"drain {turn}"
            assert running.process.wait(timeout=15) == 0
            answered += sum(tally.answered for tally in tallies)
    assert answered > 100 * DRAINS


def test_a_request_that_takes_longer_than_the_delay_is_still_answered(bundle: Path, tmp_path: Path) -> None:
    with serve(bundle, tmp_path, "--drain-delay", "0s", "--drain", "10s", "--max-batch-delay", "700ms") as running:
        running.until_ready()
        traffic = send_traffic(running.http, each=1)
        wait_until(lambda: traffic.answered > 0, "traffic")
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        tallies = traffic.until_refused()

        assert [tally.lost for tally in tallies if tally.lost] == []
        assert running.process.wait(timeout=15) == 0
        assert time.monotonic() - began < 10
