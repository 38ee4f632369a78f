"""The server and the short commands as a restricted pod runs them: nothing to write to but what it was given.

A mount namespace makes the pod: the root read-only, the bundles' volume read-only too, `/tmp` and an emptyDir of its
own; and it is a user that no passwd file knows.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.namespaces import namespaces
from tests.runtime import small_bundles as small
from tests.runtime.running_server import numbers, serve

from tidegate.bundle.manifest import read_bundle_dir

SOMEBODY = 54321
# $1: the pod's folder; the rest is what runs in it.
POD = """
set -e
pod=$1; shift
mount --make-rprivate /
mount --bind "$pod" "$pod"
mount -o remount,bind,ro "$pod"
mount -o remount,bind,ro /
mount -t tmpfs -o mode=1777 tmpfs "$pod/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$pod/bundles"
cd "$pod/tmp"
exec "$@"
"""


@dataclass
class Pod:
    """A folder that becomes a pod for each command that is run in it."""

    folder: Path

    @property
    def within(self) -> list[str]:
        here = namespaces()
        return [*here.mounts, "sh", "-c", POD, "pod", str(self.folder), *here.somebody(SOMEBODY)]

    @property
    def environment(self) -> dict[str, str]:
        """As in the image; the termination log is a file that the runtime failed to mount."""
        home = str(self.folder / "tmp")
        return {"HOME": home, "TMPDIR": home, "TIDEGATE_TERMINATION_LOG": str(self.folder / "dev/termination-log")}

    @property
    def source(self) -> str:
        """What the operator makes of pvc://claim/fraud/v1."""
        return (self.folder / "mnt/bundles/claim/fraud/v1").as_uri()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.within, *words], env={"PATH": os.environ["PATH"], **self.environment},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def command(self, *words: str) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON line and everything on stderr."""
        done = self.run(sys.executable, "-m", "tidegate_runtime", *words)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
        assert lines, done.stderr
        return done.returncode, json.loads(lines[-1]), done.stderr


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    for name in ("tmp", "bundles", "dev"):
        (tmp_path / name).mkdir()
    small.write_bundle(tmp_path / "mnt/bundles/claim/fraud/v1", small.linear(), small.linear_samples())
    return Pod(tmp_path)


def test_the_pod_of_these_tests_is_as_restricted_as_it_claims(pod: Pod) -> None:
    with pytest.raises(KeyError):
        pwd.getpwuid(SOMEBODY)
    told = pod.run("sh", "-c", "id -u; touch tmp-file && echo tmp; touch ../f ../mnt/f ../dev/f /f; echo done")

    assert told.stdout.split() == [str(SOMEBODY), "tmp", "done"]
    assert told.stderr.count("Read-only file system") == 4


@pytest.mark.parametrize("command", ["resolve", "prove"])
def test_a_job_answers_about_a_bundle_on_a_volume(pod: Pod, command: str) -> None:
    code, found, errors = pod.command(command, pod.source)

    assert (code, found["version"], found["uri"]) == (0, "v1", pod.source)
    assert errors == "the termination log cannot be written: Read-only file system\n"


def test_the_init_step_brings_the_bundle_and_the_server_serves_it(pod: Pod) -> None:
    digest = read_bundle_dir(pod.folder / "mnt/bundles/claim/fraud/v1").digest
    here = pod.folder / "bundles/model"
    fetch = [sys.executable, "-m", "tidegate_runtime", "fetch", pod.source, str(here), "--digest", digest]
    script = '"$@" >&2 && exec "$SERVER" -m tidegate_runtime check "$MODEL"'

    done = pod.run("env", f"SERVER={sys.executable}", f"MODEL={here}", "sh", "-c", script, "sh", *fetch)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == digest


@pytest.mark.parametrize("log", ["dev/termination-log", "no/such/folder/termination-log"])
def test_the_server_becomes_ready_and_ends_in_peace(
    pod: Pod, tmp_path_factory: pytest.TempPathFactory, log: str
) -> None:
    bundle = pod.folder / "mnt/bundles/claim/fraud/v1"
    flags = ("--termination-log", str(pod.folder / log))
    with serve(
        bundle, tmp_path_factory.mktemp("run"), *flags, environment=pod.environment, within=pod.within
    ) as server:
        server.until_ready()
        assert server.infer(numbers([1.0, 2.0, 3.0, 4.0])).status == 200
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0
        assert "termination log cannot be written" in server.log


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence_and_may_be_tried_again(pod: Pod) -> None:
    code, found, _ = pod.command("fetch", pod.source, str(pod.folder / "mnt/model"))

    assert (code, found["reason"]) == (5, "LocalError")
    assert "Read-only file system" in found["message"]


def test_a_volume_without_the_bundle_is_told_in_a_sentence(pod: Pod) -> None:
    code, found, _ = pod.command("resolve", pod.source.replace("/v1", "/v2"))

    assert (code, found["reason"]) == (1, "NotFound")
