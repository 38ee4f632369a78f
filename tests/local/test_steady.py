"""A run that serves, and what may happen to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.local.local_run import Clients, Local
from tests.waiting import wait_until


def test_a_second_runner_of_the_same_state_ends_with_a_sentence(steady: Local) -> None:
    second = steady.once()

    assert second.returncode == 1
    assert "another `tidegate run` has this state" in second.stderr
    assert steady.ask()[0] == 200


def test_a_port_that_is_taken_is_named(steady: Local, local: Local) -> None:
    local.write("v1")
    local.port = steady.port

    taken = local.once()

    assert taken.returncode == 1
    assert f"127.0.0.1:{steady.port}: cannot listen: Address already in use" in taken.stderr


def test_a_missing_manifest_ends_the_start_with_its_name(local: Local) -> None:
    missing = local.once()

    assert missing.returncode == 2
    assert "fraud.yaml" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_a_manifest_that_becomes_nonsense_or_goes_away_keeps_serving(steady: Local) -> None:
    good = steady.manifest.read_text()
    steady.write_text(good.replace("uri:", "url:"))
    wait_until(lambda: "fraud.yaml:" in steady.log() and "what serves stays" in steady.log(), "the place is told")
    assert steady.ask()[0] == 200

    steady.manifest.unlink()
    wait_until(lambda: "the file is gone" in steady.log(), "the loss is told")
    assert steady.ask()[0] == 200

    os.mkfifo(steady.manifest)
    wait_until(lambda: "not a plain file" in steady.log(), "the pipe is told")
    assert steady.ask()[0] == 200

    steady.write_text(good)
    wait_until(lambda: "was read again" in steady.log(), "it is read again")
    assert steady.serving("v1")


def test_a_state_that_cannot_be_written_ends_no_run(steady: Local) -> None:
    """A folder in the place of the file that is about to be written stands in for a full disk."""
    in_the_way = steady.state / ".run.json.new"
    wait_until(lambda: is_made(in_the_way), "the file is not being written just now")
    steady.write_text(steady.manifest.read_text() + "# edited\n")
    wait_until(lambda: "! what serves stays" in steady.log(), "the trouble is told")
    assert steady.ask()[0] == 200

    in_the_way.rmdir()
    waited = steady.tidegate("wait", "fraud", "--timeout", "10s")
    assert waited.returncode == 0, waited.stderr
    assert steady.log().count("! what serves stays:") == 1


def is_made(folder: Path) -> bool:
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    return folder.is_dir()


def test_a_state_that_is_removed_is_written_again(steady: Local) -> None:
    (before,) = steady.servers("v1")
    removed = steady.state.rename(steady.folder / "removed")  # at once: files are written there all the time
    shutil.rmtree(removed, ignore_errors=True)
    wait_until(lambda: steady.serving("v1"), "the status is there again")
    steady.kill(before)
    wait_until(lambda: steady.replaced("v1", before), "a new server")
    wait_until(steady.ready, "it serves")

    assert "has been removed" in steady.log()
    assert steady.once().returncode == 1  # the lock is held, too


def test_an_envoy_that_dies_is_back_on_the_same_port(steady: Local) -> None:
    (before,) = steady.envoy()
    steady.kill(before)

    wait_until(lambda: steady.envoy() not in ([], [before]), "a new Envoy")
    wait_until(steady.ready, "it serves")


def test_a_server_that_dies_is_started_again_and_clients_hardly_notice(steady: Local) -> None:
    with Clients(steady, connections=2) as clients:
        clients.more(20)
        (before,) = steady.servers("v1")
        steady.kill(before)
        wait_until(lambda: steady.replaced("v1", before), "a new server")
        clients.more(50)

    assert len(clients.failures) <= 2  # those that were in work when it died
    assert steady.rejected() == []


def test_status_names_versions_and_conditions_in_json(steady: Local) -> None:
    found = json.loads(steady.tidegate("status", "-o", "json").stdout)

    assert found["apiVersion"] == "tidegate.io/cli/v1"
    (fraud,) = found["deployments"]
    assert (fraud["name"], fraud["running"], fraud["status"]["stable"]["version"]) == ("fraud", True, "v1")


def test_what_is_done_already_is_done(steady: Local) -> None:
    done = steady.tidegate("abort", "fraud")

    assert done.returncode == 0
    assert "already: no version is being tried" in done.stdout


def test_an_unknown_deployment_is_an_error_in_one_sentence(steady: Local) -> None:
    unknown = steady.tidegate("promote", "spam", "-o", "json")

    assert unknown.returncode == 1
    assert json.loads(unknown.stderr)["error"]["reason"] == "NotFound"


def test_the_admin_interface_is_not_on_the_network(steady: Local) -> None:
    (pid,) = steady.envoy()
    inodes = subprocess.run(["ls", "-l", f"/proc/{pid}/fd"], capture_output=True, text=True, check=True).stdout
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in inodes
    ]

    assert listening == [f"0100007F:{steady.port:04X}"]


def test_a_bundle_replaced_under_its_address_does_not_reach_servers_of_the_old_one(local: Local, store: Path) -> None:
    local.store = local.folder / "store"
    shutil.copytree(store / "v1", local.store / "current")
    local.write("current")
    local.start()
    local.until(lambda: local.serving("v1"), "it is stable")
    shutil.rmtree(local.store / "current")
    shutil.copytree(store / "v2", local.store / "current")
    (before,) = local.servers("v1")

    local.kill(before)
    wait_until(lambda: local.replaced("v1", before), "a new server")
    wait_until(local.ready, "it serves")

    assert local.ask()[1]["model_version"] == "v1"
    assert local.end(signal.SIGTERM) == 0

    shutil.rmtree(local.cache)
    local.spawn()
    local.until(lambda: "! fraud: DigestMismatch: version v1" in local.log(), "the loss of its own bytes is told")
    assert not local.ready()
