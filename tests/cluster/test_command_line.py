"""`kubectl tidegate` against an operator that works: what is asked for is taken up, and done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster import faults
from tests.cluster.faults import BAD, GOOD, bad_is, last_words
from tests.cluster.operating import Operator, Site, fact, weight
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object

pytestmark = pytest.mark.slow
KUBECTL_TIDEGATE = str(Path(sys.executable).with_name("kubectl-tidegate"))
AT_ONCE: Object = {"steps": []}
MANUAL: Object = {"steps": [{"weight": 40, "hold": "manual"}, {"weight": 50, "hold": "manual"}]}
TWO = {"minReplicas": 2}


class Person:
    """Somebody with a kubeconfig whose context names the namespace."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.kubeconfig = site.plane.client.kubeconfig(folder / "kubeconfig", site.namespace)

    def runs(self, *arguments: str, code: int = 0) -> str:
        """What a command says on stdout, or on stderr where it is to fail."""
        done = subprocess.run(
            [KUBECTL_TIDEGATE, *arguments], env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code else done.stdout


@pytest.fixture
def site(operator: Operator, control_plane: Plane, namespace: str) -> Site:
    found = Site(control_plane, namespace)
    faults.answer_jobs(found, bad_is({}))
    return found


@pytest.fixture
def person(site: Site, tmp_path: Path) -> Person:
    return Person(site, tmp_path)


def held(site: Site) -> str:
    """The candidate's revision, when it waits in the first of two manual steps."""
    site.simulate(GOOD, rollout=AT_ONCE, scaling=TWO)
    site.until_serving(GOOD)
    site.simulate("next", rollout=MANUAL, scaling=TWO)
    found = site.until(lambda one: weight(one) == 40 and fact(one, "Reconciling")["reason"] == "WaitingForPromote")
    return str(found["status"]["candidate"]["revision"])


def test_a_gate_is_passed_once_and_the_rest_in_full(site: Site, person: Person) -> None:
    candidate = held(site)

    assert f"promote of {candidate}/1 was taken up" in person.runs("promote", "fraud", "--step", "1")
    assert "already: step 1 is passed" in person.runs("promote", "fraud", "--step", "1")
    site.until(lambda one: weight(one) == 50 and fact(one, "Reconciling")["reason"] == "WaitingForPromote")
    assert f"promote-full of {candidate} was taken up" in person.runs("promote", "fraud", "--full")
    assert "fraud is promoted" in person.runs("wait", "fraud", "--for", "promoted", "--timeout", "60s")
    assert "already: the version is promoted" in person.runs("promote", "fraud")
    assert [line.split()[3] for line in person.runs("history", "fraud").splitlines()[1:]] == ["Promoted"] * 2


def test_two_people_who_promote_at_once_pass_one_gate(site: Site, person: Person) -> None:
    candidate = held(site)
    both = [
        subprocess.Popen(
            [KUBECTL_TIDEGATE, "promote", "fraud", "--step", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(person.kubeconfig)}, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip

    said = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("already: " in stdout for stdout, _ in said) == [False, True], said
    found = site.until(lambda one: weight(one) == 50 and fact(one, "Reconciling")["reason"] == "WaitingForPromote")
    assert found["status"]["rollout"]["step"] == 2
    assert found["status"]["candidate"]["revision"] == candidate


def test_an_abort_a_retry_and_what_each_finds_the_second_time(site: Site, person: Person) -> None:
    held(site)

    assert "was taken up" in person.runs("abort", "fraud")
    assert "already: " in person.runs("abort", "fraud")
    site.until_reason("Stalled", "Aborted")
    assert "Aborted: aborted by command" in person.runs("wait", "fraud", "--timeout", "60s", code=1)
    site.until(lambda one: not one["status"].get("candidate"))
    assert "no version is being tried" in person.runs("promote", "fraud", code=1)
    assert "was taken up" in person.runs("retry", "fraud")
    site.until(lambda one: weight(one) == 40)
    assert "already: nothing that the manifest asks for is rejected" in person.runs("retry", "fraud")


def test_a_pause_a_resume_a_restart_and_a_rollback(site: Site, person: Person) -> None:
    held(site)

    assert "was taken up" in person.runs("pause", "fraud")
    assert "already: it is paused" in person.runs("pause", "fraud")
    assert "version next is being tried" in person.runs("restart", "fraud", code=1)
    assert "was taken up" in person.runs("resume", "fraud")
    person.runs("promote", "fraud", "--full")
    person.runs("wait", "fraud", "--timeout", "60s")
    assert "was taken up" in person.runs("rollback", "fraud", GOOD)
    site.until(lambda one: one["status"]["stable"]["version"] == GOOD and "candidate" not in one["status"])
    assert "already: " in person.runs("rollback", "fraud", GOOD)
    assert "no earlier version 9.9: known are: next" in person.runs("rollback", "fraud", "9.9", code=1)
    assert "RolledBack: rolled back to" in person.runs("wait", "fraud", "--for", "ready", "--timeout", "60s")
    assert "was taken up" in person.runs("restart", "fraud")


def test_the_tree_has_the_pods_of_both_versions(site: Site, person: Person) -> None:
    candidate = held(site)

    (fraud,) = json.loads(person.runs("status", "fraud", "-o", "json"))["deployments"]
    shown = person.runs("status")

    stable = fraud["status"]["stable"]["revision"]
    assert [pod["revision"] for pod in fraud["pods"]].count(stable) == 2
    assert [pod["revision"] for pod in fraud["pods"]].count(candidate) == 1
    assert {pod["status"] for pod in fraud["pods"]} == {"Running"}
    assert all(pod["name"] in shown for pod in fraud["pods"])
    assert "step 1 of 2 (40, 50 %) Holding" in shown
    assert "WaitingForPromote: step 1 ends by `tidegate promote`" in shown


def test_a_version_that_is_refused_fails_the_pipeline(site: Site, person: Person) -> None:
    faults.answer_jobs(site, bad_is(last_words("DigestMismatch", "it is another")))
    site.simulate(BAD)

    assert "DigestMismatch" in person.runs("wait", "fraud", "--for", "promoted", "--timeout", "60s", code=1)
