"""Rollouts on this machine: real servers, a real Envoy, clients that never stop."""

from __future__ import annotations

import signal
from functools import partial

import pytest
from tests.local.local_run import Clients, Local
from tests.waiting import wait_until

from tidegate.bundle.signature import generate_keys

MANUAL = {"steps": [{"weight": 20, "hold": "manual"}]}


def at_the_gate(local: Local) -> bool:
    return local.weight("candidate") == 20 and local.rollout("phase") == "Holding"


def evidence_of_step(local: Local) -> int:
    """Requests of the candidate that the current step knows of."""
    evidence = local.rollout("evidence") or {}
    return int((evidence.get("step") or {}).get("candidate", 0))


def served_by_number(local: Local, number: int) -> bool:
    """Whether every path of TensorFlow Serving's API leads to that revision; another's servers answer 404."""
    path = f"/v1/models/fraud/versions/{number}"
    row = {"instances": [[1, 2, 3, 4]]}
    asked = ((path, None), (f"{path}/metadata", None), (f"{path}:predict", row))
    return all(local.ask(path=path, body=body)[0] == 200 for path, body in asked for _ in range(5))


@pytest.mark.slow
def test_a_new_version_takes_over_step_by_step_and_no_request_fails(local: Local) -> None:
    local.write("v1")
    local.start()
    with Clients(local) as clients:
        local.write("v2", rollout=MANUAL)
        local.until(lambda: at_the_gate(local), "20 %")
        before = clients.answers.copy()
        clients.more(1000)
        seen = clients.answers - before

        assert 0.15 < seen["v2"] / seen.total() < 0.25
        assert local.ask({"x-model-version": "canary"})[1]["model_version"] == "v2"
        assert local.ask(path="/v2/models/fraud/versions/v2/infer")[1]["model_version"] == "v2"
        assert local.ask(path="/v2/models/fraud/versions/v1/infer")[1]["model_version"] == "v1"
        assert served_by_number(local, 1)
        assert served_by_number(local, 2)

        promoted = local.tidegate("promote", "fraud")
        assert (promoted.returncode, promoted.stderr) == (0, "")
        assert promoted.stdout.startswith("target: fraud of the local run in ")
        assert local.tidegate("wait", "fraud", "--timeout", "20s").returncode == 0
        assert local.serving("v2")
        local.until(lambda: not local.servers("v1"), "the old servers drain")
        clients.more(50)
        assert clients.failures == []
        assert local.end(signal.SIGINT) == 130

    assert clients.lost == []
    resets = [failure for failure in clients.failures if "Reset" in failure]
    assert len(resets) <= clients.connections, "the port closes once: a client meets that at most once"


@pytest.mark.slow
def test_versions_that_are_not_what_they_claim_never_get_a_request(local: Local) -> None:
    keys = local.folder / "keys"
    keys.mkdir()
    generate_keys(local.folder / "release.key", keys / "key.pub")
    local.arguments = ("--secret", f"release={keys}")
    signature = {"publicKeySecretRef": {"name": "release", "key": "key.pub"}}
    local.write("v1")
    local.start()
    with Clients(local, connections=2) as clients:
        local.write("v3")
        wait_until(lambda: "GoldenMismatch" in local.rejected(), "refused by golden samples")
        local.write("v2", bundle={"uri": f"file://{local.store}/v2", "digest": "sha256:" + "0" * 64})
        local.until(lambda: "DigestMismatch" in local.rejected(), "refused by digest")
        local.write("v2", bundle={"uri": f"file://{local.store}/v2", "signature": signature})
        local.until(lambda: "SignatureMissing" in local.rejected(), "refused without a signature")
        clients.more(50)

    assert set(clients.answers) == {"v1"}
    assert clients.failures == []
    assert (local.requests("v2"), local.requests("v3")) == (0, 0)
    assert local.condition("Stalled")["reason"] == "SignatureMissing"
    assert local.condition("Ready")["status"] == "True"


@pytest.mark.slow
def test_servers_killed_at_a_step_come_back_and_the_rollout_goes_on(local: Local) -> None:
    local.write("v1")
    local.start()
    with Clients(local, connections=2):
        local.write("v2", rollout=MANUAL | {"scaleDownDelay": "1m"})
        local.until(lambda: at_the_gate(local), "20 %")

        for version in ("v1", "v2"):
            (before,) = local.servers(version)
            local.kill(before)
            local.until(partial(local.replaced, version, before), f"a new server of {version}")
            local.until(partial(local.answers, version), f"{version} answers again")
        local.until(lambda: at_the_gate(local), "still there")
        local.tidegate("promote", "fraud")
        local.until(lambda: local.serving("v2") and local.rollout("phase") == "Watching", "promoted")
        (before,) = local.servers("v2")
        local.kill(before)
        local.until(partial(local.replaced, "v2", before), "a new server while the old version is warm")
        local.until(partial(local.answers, "v2"), "v2 answers again")

    assert local.rejected() == []


def test_a_server_killed_while_it_starts_is_started_again(local: Local) -> None:
    local.write("v1")
    local.spawn()
    (first,) = local.until(lambda: local.pids("tidegate_runtime"), "the first server starts")
    local.kill(first)

    local.until(local.ready, "its successor serves")

    assert first not in local.pids("tidegate_runtime")
    assert "version v1: the server was ended by SIGKILL" in local.log()


@pytest.mark.slow
def test_after_the_runner_is_killed_nothing_is_left_and_the_next_one_goes_on(local: Local) -> None:
    local.write("v1")
    local.start()
    with Clients(local, connections=2):
        local.write("v2", rollout=MANUAL)
        local.until(lambda: at_the_gate(local), "20 %")
        counted = local.until(lambda: evidence_of_step(local), "evidence is kept")
    before, below = local.status(), local.pids("")
    assert len(below) >= 4  # guard, Envoy, two servers

    local.end(signal.SIGKILL)
    local.wait_for_nothing(below, seconds=5)

    local.start()
    with Clients(local, connections=2):
        local.until(lambda: at_the_gate(local), "the same step")
        local.until(lambda: evidence_of_step(local) > counted, "counting goes on")
    after = local.status()
    for part in ("revision", "digest"):
        assert after["candidate"][part] == before["candidate"][part]
    assert after["rollout"]["step"] == before["rollout"]["step"]
    assert after["rollout"]["evidence"]["startedAt"] == before["rollout"]["evidence"]["startedAt"]
    assert local.ask({"x-model-version": "canary"})[1]["model_version"] == "v2"


@pytest.mark.slow
def test_copies_of_requests_show_the_difference_before_any_client_sees_it(local: Local) -> None:
    local.write("v1")
    local.start()
    divergence = {"outputs": [{"name": "scores", "atol": 0.0001, "rtol": 0.0, "maxShare": 0.1}]}
    analysis = {"interval": "1s", "warmup": "0s", "minRequests": 1, "confidence": 0.99, "maxDivergence": divergence}
    with Clients(local) as clients:
        local.write(
            "v2",
            rollout={"steps": [{"weight": 1, "hold": "manual"}], "shadow": {"percent": 100}, "analysis": analysis},
        )
        local.until(local.rejected, "rolled back")
        clients.more(20)

    assert clients.failures == []
    assert "scores" in local.status()["rejected"][0]["message"]
    assert local.condition("Ready")["status"] == "True"
