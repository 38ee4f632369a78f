"""`--once`: what a pipeline learns from the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.local.local_run import Local
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Local:
    """A state in which v1 was promoted by a first `--once`."""
    local = Local(tmp_path_factory.mktemp("promoted"), store)
    local.write("v1")
    first = local.once()
    assert first.returncode == 0, first.stdout + first.stderr
    return local


def test_a_bad_second_version_is_three(promoted: Local) -> None:
    promoted.write("v3")
    page = promoted.folder / "report.html"
    second = promoted.once("--timeout", "20s", "--report", str(page))

    assert second.returncode == 3, second.stdout + second.stderr
    assert "GoldenMismatch" in second.stdout
    assert "GoldenMismatch" in page.read_text()


def test_a_rollout_that_waits_for_a_person_is_not_settled_in_time(promoted: Local) -> None:
    promoted.write("v2", rollout={"steps": [{"weight": 20, "hold": "manual"}]})

    assert promoted.once("--timeout", "2s").returncode == 4


def test_a_first_version_that_is_refused_is_one(local: Local) -> None:
    local.write("v3")
    refused = local.once("--timeout", "20s")

    assert refused.returncode == 1, refused.stdout + refused.stderr


def test_two_deployments_are_told_apart_by_host_and_by_path(local: Local) -> None:

    spam = local.document("v2", name="spam")
    spam["spec"]["routing"]["hostnames"] = ["spam.example.com"]
    local.write_text(yaml.safe_dump_all([local.document("v1"), spam]))
    local.start()
    local.until(lambda: local.ask(path="/v2/models/spam/infer")[0] == 200, "spam serves")

    assert local.ask(path="/v2/models/fraud/infer")[1]["model_version"] == "v1"
    assert local.ask(path="/v2/models/spam/infer")[1]["model_version"] == "v2"
    assert local.ask({"Host": "spam.example.com"}, path="/v2/models/spam/infer")[1]["model_version"] == "v2"
    assert local.ask({"Host": "spam.example.com"}, path="/v2/models/fraud/infer")[0] == 404
    assert local.ask(path="/v2")[0] == 404

    (fraud,) = local.servers("v1")
    local.write("v1")
    local.until(lambda: local.pids("tidegate_runtime") == [fraud], "the servers of spam drain")
    assert local.ask(path="/v2/models/spam/infer")[0] == 404
    assert local.ask()[1]["model_version"] == "v1"


def test_a_full_disk_is_said_and_what_serves_stays(local: Local) -> None:
    """A limit on file sizes stands in for the disk: both fail the write of a block."""
    local.before = ("bash", "-c", 'ulimit -f 1024; exec "$@"', "bash")  # blocks of 1 KiB
    local.write("v1")
    local.start()
    local.write("big")
    wait_until(lambda: "DiskFull" in local.rejected(), "it is told")

    assert local.ask()[1]["model_version"] == "v1"
    assert local.condition("Ready")["status"] == "True"
