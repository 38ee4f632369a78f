"""What a person asks for becomes an annotation once, however many people ask, and silence of the operator is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.control_plane.client import ApiError
from tests.control_plane.users import ADMIN
from tests.kubectl.conftest import AT, GROUP, HOLDING, STABLE, Kubectl, Site
from tests.waiting import wait_until

from tidegate.cluster.errors import ApiDown, Throttled
from tidegate.cluster.kubectl.acts import Target
from tidegate.cluster.kubectl.connection import Connection
from tidegate.cluster.kubectl.deployments import Place
from tidegate.cluster.kubectl.kubeconfig import find_context
from tidegate.plan.verbs import Verb

PROMOTED = {**HOLDING["rollout"], "promotedStep": 1}


@contextmanager
def operated(site: Site, verb: str, **status: object) -> Iterator[None]:
    """An operator that notes the command as soon as it is there, and writes this status with it."""
    over = threading.Event()
    failed: list[BaseException] = []

    def operate() -> None:
        try:
            while not over.wait(0.02):
                if value := site.annotations().get(f"{GROUP}/{verb}"):
                    site.says({"commands": {verb: value}, **status})
                    return
        except ApiError as error:
            failed.append(error)

    operator = threading.Thread(target=operate)
    operator.start()
    try:
        yield
    finally:
        over.set()
        operator.join()
    assert failed == []


def test_an_act_names_its_target_first_and_then_what_came_of_it(site: Site, kubectl: Kubectl) -> None:
    site.deploy()

    with operated(site, "promote", rollout=PROMOTED):
        code, said, error = kubectl("promote", "fraud")

    assert (code, error) == (0, "")
    assert said.splitlines() == [
        f"target: fraud in namespace {site.namespace} of context tests ({site.plane.url})",
        "promote of 3f6f694c2a/1 was taken up",
    ]
    assert site.annotations()[f"{GROUP}/promote"].startswith("3f6f694c2a/1@2")


def test_a_command_is_not_what_flux_takes_for_an_edit_by_hand(site: Site, kubectl: Kubectl, impatient: None) -> None:
    """Its kustomize-controller strips fields of managers whose names begin with kubectl at each reconcile."""
    site.deploy()

    kubectl("pause", "fraud")

    found = site.plane.client.read("modeldeployments", site.namespace, "fraud")
    owners = [
        entry["manager"] for entry in found["metadata"]["managedFields"] if f"f:{GROUP}/pause" in str(entry["fieldsV1"])
    ]
    assert owners == ["tidegate-cli"]


def test_a_second_promote_is_done_already_and_writes_nothing(site: Site, kubectl: Kubectl) -> None:
    site.deploy(status={**HOLDING, "rollout": PROMOTED})

    code, said, _ = kubectl("promote", "fraud", "-o", "json")

    assert code == 0
    told = json.loads(said)
    assert (told["already"], told["message"]) == (True, "already: step 1 is passed as soon as it can be")
    assert site.annotations() == {}


@pytest.mark.parametrize(
    ("step", "code", "words"),
    [("2", 1, "step 2 is not reached, it is at step 1"), ("1", 0, "was taken up")],
)
def test_a_promote_may_say_which_step_it_means(site: Site, kubectl: Kubectl, step: str, code: int, words: str) -> None:
    site.deploy()

    with operated(site, "promote", rollout=PROMOTED):
        ended, said, error = kubectl("promote", "fraud", "--step", step)

    assert ended == code
    assert words in said + error


def test_what_cannot_be_done_now_says_where_and_what_to_do(site: Site, kubectl: Kubectl) -> None:
    site.deploy(status={"observedGeneration": 1, "stable": STABLE})

    code, _, error = kubectl("promote", "fraud", "-o", "json")

    assert code == 1
    assert json.loads(error)["error"] == {
        "reason": "NothingToDo",
        "what": "no version is being tried",
        "where": f"fraud in namespace {site.namespace} of context tests ({site.plane.url})",
        "do": "see `tidegate status`; a rejected one needs `tidegate retry`",
    }


def test_silence_of_the_operator_is_told_after_the_deadline(site: Site, kubectl: Kubectl, impatient: None) -> None:
    site.deploy()

    code, _, error = kubectl("promote", "fraud", "-o", "json")

    assert code == 5
    told = json.loads(error)["error"]
    assert told["reason"] == "NotTakenUp"
    assert told["what"].startswith("promote of 3f6f694c2a/1 is asked for, and no operator took it up")
    assert f"{GROUP}/promote" in site.annotations(), "it is done when one comes"


def test_what_somebody_else_has_asked_for_is_not_asked_for_again(site: Site, kubectl: Kubectl, impatient: None) -> None:
    site.deploy()
    site.annotate("promote", f"3f6f694c2a/1@{AT}")

    with operated(site, "promote", rollout=PROMOTED):
        code, said, _ = kubectl("promote", "fraud")

    assert code == 0
    assert f"already: promote of 3f6f694c2a/1, asked for at {AT}, is taken up" in said
    assert site.annotations()[f"{GROUP}/promote"] == f"3f6f694c2a/1@{AT}"


def test_while_another_command_waits_none_takes_its_place(site: Site, kubectl: Kubectl) -> None:
    site.deploy()
    site.annotate("pause", f"3f6f694c2a@{AT}")

    code, _, error = kubectl("promote", "fraud", "-o", "json")

    assert code == 5
    told = json.loads(error)["error"]
    assert told["reason"] == "CommandPending"
    assert told["what"] == f"pause of 3f6f694c2a was asked for at {AT} and is not taken up yet"
    assert f"{GROUP}/promote" not in site.annotations()


def test_an_abort_takes_the_place_of_what_waits(site: Site, kubectl: Kubectl, impatient: None) -> None:
    site.deploy()
    site.annotate("promote-full", "3f6f694c2a@2099-01-01T00:00:00Z")  # by a clock that is far ahead

    kubectl("abort", "fraud")

    assert set(site.annotations()) == {f"{GROUP}/abort", f"{GROUP}/asked-by"}


def test_a_command_says_who_gave_it(site: Site, kubectl: Kubectl, impatient: None) -> None:
    site.deploy()

    kubectl("abort", "fraud")

    notes = site.annotations()
    assert notes[f"{GROUP}/asked-by"] == f"{notes[f'{GROUP}/abort']} {ADMIN.name}"


def test_where_the_server_does_not_say_who_asks_the_command_names_nobody(
    site: Site, kubectl: Kubectl, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    monkeypatch.setattr("tidegate.cluster.kubectl.connection.WHO_AM_I", "/apis/authentication.k8s.io/v1/nothing")

    kubectl("abort", "fraud")

    assert set(site.annotations()) == {f"{GROUP}/abort"}


def test_of_two_people_at_once_the_second_decides_by_what_the_first_has_done(
    site: Site, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    site.deploy()
    place = Place(Connection(find_context(None, "")), site.namespace)
    real = Place.deployment
    seen: list[str] = []

    def read_and_then_be_late(self: Place, name: str) -> dict[str, object]:
        found = real(self, name)
        if not seen:
            site.says({**HOLDING, "rollout": PROMOTED})  # the other one's promote, taken up already
        seen.append(found["metadata"]["resourceVersion"])
        return found

    monkeypatch.setattr(Place, "deployment", read_and_then_be_late)

    asked = Target(place, "fraud").act(Verb.PROMOTE)

    assert asked.already
    assert len(seen) == 2
    assert site.annotations() == {}


def test_a_command_that_came_too_late_is_told(site: Site, kubectl: Kubectl) -> None:
    site.deploy()

    with operated(site, "promote"):
        code, _, error = kubectl("promote", "fraud")

    assert code == 1
    assert "promote of 3f6f694c2a/1 came too late" in error


def test_a_command_that_somebody_replaces_meanwhile_is_told(site: Site, kubectl: Kubectl) -> None:
    site.deploy()
    over = threading.Event()

    def replace() -> None:
        while not over.wait(0.02):
            if f"{GROUP}/pause" in site.annotations():
                site.annotate("pause", "3f6f694c2a@2099-01-01T00:00:00Z")
                return

    somebody = threading.Thread(target=replace)
    somebody.start()
    code, _, error = kubectl("pause", "fraud")
    over.set()
    somebody.join()

    assert code == 5
    assert "somebody else has asked for something meanwhile" in error


def test_wait_ends_with_the_promotion(site: Site, kubectl: Kubectl) -> None:
    promoted = [{**HOLDING["conditions"][0], "type": kind} for kind in ("Ready", "Promoted")]
    site.deploy(status={"observedGeneration": 1, "stable": STABLE, "conditions": promoted})

    code, said, _ = kubectl("wait", "fraud", "--for", "promoted", "--timeout", "5s")

    assert code == 0
    assert said.splitlines()[1] == "fraud is promoted"


@pytest.mark.parametrize("away", [ApiDown("away"), Throttled("not now")])
def test_a_server_that_is_away_for_a_moment_is_waited_for(
    site: Site, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, away: Exception
) -> None:
    site.deploy()
    real = Place.deployment
    looks = 0

    def away_after_the_first_look(self: Place, name: str) -> dict[str, object]:
        nonlocal looks
        looks += 1
        if looks in (2, 3):
            raise away
        return real(self, name)

    monkeypatch.setattr(Place, "deployment", away_after_the_first_look)
    monkeypatch.setattr("tidegate.cluster.kubectl.acts.SLOW_LOOK_SECONDS", 0.02)

    with operated(site, "promote", rollout=PROMOTED):
        assert kubectl("promote", "fraud", "-q") == (0, "", "")
    assert looks > 3
    looks = 0
    assert kubectl("wait", "fraud", "--for", "ready", "--timeout", "20s", "-q") == (0, "", "")


def test_wait_fails_with_the_reason_of_a_refusal(site: Site, kubectl: Kubectl) -> None:
    stalled = {
        "type": "Stalled",
        "status": "True",
        "reason": "GoldenMismatch",
        "message": "no",
        "lastTransitionTime": AT,
    }
    site.deploy(status={"observedGeneration": 1, "stable": STABLE, "conditions": [HOLDING["conditions"][0], stalled]})

    code, _, error = kubectl("wait", "fraud", "--timeout", "5s")

    assert (code, error) == (1, "error: fraud: GoldenMismatch: no\n")
    assert kubectl("wait", "fraud", "--for", "settled", "--timeout", "5s")[0] == 0


def test_wait_ends_when_the_time_is_over(site: Site, kubectl: Kubectl) -> None:
    site.deploy()

    code, _, error = kubectl("wait", "fraud", "--timeout", "0s")

    assert code == 5
    assert "fraud is not promoted after 0 s: see `tidegate status fraud`" in error


def test_wait_says_when_no_operator_has_seen_the_spec(site: Site, kubectl: Kubectl) -> None:
    site.deploy(status=None)

    code, _, error = kubectl("wait", "fraud", "--timeout", "0s")

    assert code == 5
    assert "no operator has seen this spec" in error


def test_the_only_deployment_needs_no_name(site: Site, kubectl: Kubectl) -> None:
    site.deploy(status={**HOLDING, "paused": True})

    assert "already: it is paused" in kubectl("pause")[1]
    site.deploy("churn")
    code, _, error = kubectl("pause")
    assert code == 2
    assert "name a deployment: there are: churn, fraud" in error


def test_whoever_waits_asks_once_and_is_told_of_the_change(site: Site, kubectl: Kubectl) -> None:
    """By a watch: a minute of waiting would be sixty requests otherwise."""
    site.deploy(status={"observedGeneration": 1, "stable": STABLE, "conditions": []})
    mark = site.plane.audit.mark()
    promoted = [{**HOLDING["conditions"][0], "type": kind} for kind in ("Ready", "Promoted")]

    def reads() -> list[str]:
        found = site.plane.audit.since(mark, namespace=site.namespace, resource="modeldeployments")
        return [one.verb for one in found if one.agent == "kubectl-tidegate"]

    def promote() -> None:
        wait_until(lambda: "list" in reads(), "the watch begins")
        site.says({"observedGeneration": 1, "stable": STABLE, "conditions": promoted})

    operator = threading.Thread(target=promote)
    operator.start()
    code, said, _ = kubectl("wait", "fraud", "--for", "promoted", "--timeout", "60s")
    operator.join()

    assert (code, said.splitlines()[1]) == (0, "fraud is promoted")
    assert reads().count("get") <= 4


def test_who_may_only_get_a_deployment_can_wait_for_it_too(stranger: Site, kubectl: Kubectl) -> None:
    stranger.deploy(status={"observedGeneration": 1, "stable": STABLE, "conditions": []})
    stranger.grant({"apiGroups": [GROUP], "resources": ["modeldeployments"], "verbs": ["get"]})

    code, _, error = kubectl("wait", "fraud", "--for", "promoted", "--timeout", "2s")

    assert code == 5
    assert "fraud is not promoted after 2 s" in error
