"""What people ask for by annotation: each verb on a cluster, once, and what is ignored."""

from __future__ import annotations

import pytest
from tests.cluster import faults
from tests.cluster.faults import BAD, GOOD, bad_is, last_words
from tests.cluster.operating import GROUP, Operator, Site, condition, fact, serves, weight
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
AT_ONCE: Object = {"steps": []}
MANUAL: Object = {"steps": [{"weight": 40, "hold": "manual"}, {"weight": 50, "hold": "manual"}]}
TWO = {"minReplicas": 2}


@pytest.fixture
def site(operator: Operator, control_plane: Plane, namespace: str) -> Site:
    found = Site(control_plane, namespace)
    faults.answer_jobs(found, bad_is({}))
    return found


def command(site: Site, verb: str, revision: str, second: int = 0) -> None:
    site.command(verb, f"{revision}@2026-01-01T00:00:{second:02}Z")


def serving(site: Site, version: str = GOOD) -> str:
    """The revision, when it serves."""
    site.simulate(version, rollout=AT_ONCE, scaling=TWO)
    return str(site.until_serving(version)["status"]["stable"]["revision"])


def held(site: Site) -> str:
    """The candidate's revision, when it waits in the first of two manual steps."""
    serving(site)
    site.simulate("next", rollout=MANUAL, scaling=TWO)
    found = site.until(lambda one: weight(one) == 40 and fact(one, "Reconciling")["reason"] == "WaitingForPromote")
    return str(found["status"]["candidate"]["revision"])


def told(site: Site, reason: str) -> str:
    """The note of the only event with this reason."""
    notes = wait_until(lambda: faults.notes(site, reason), lambda: f"an event {reason}")
    assert len(notes) == 1
    return notes[0]


def test_promote_ends_one_step_and_promote_full_all_of_them(site: Site) -> None:
    candidate = held(site)

    command(site, "promote", candidate)
    found = site.until(lambda one: weight(one) == 50 and fact(one, "Reconciling")["reason"] == "WaitingForPromote")
    assert found["status"]["rollout"]["step"] == 2
    command(site, "promote-full", candidate, 1)

    done = site.until_serving("next")
    assert done["status"]["stable"]["revision"] == candidate
    assert set(done["status"]["commands"]) == {"promote", "promote-full"}
    told(site, "StepPromoted")
    told(site, "PromotedInFull")


def test_abort_sends_back_and_retry_tries_again(site: Site) -> None:
    candidate = held(site)

    command(site, "abort", candidate)
    found = site.until_reason("Stalled", "Aborted")
    assert serves(found, GOOD)
    assert found["status"]["rejected"][-1]["class"] == "Command"
    wait_until(lambda: len(site.servers()) == 2, lambda: "the candidate goes")
    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]
    command(site, "retry", candidate, 1)

    again = site.until(lambda one: weight(one) == 40)
    assert condition(again, "Stalled") == ""
    assert "Aborted" in told(site, "RolledBack")


def test_retry_does_not_wait_for_the_time_at_which_a_bundle_is_looked_for_again(site: Site) -> None:
    faults.answer_jobs(site, bad_is(last_words("Denied", "check secretRef")))
    site.simulate(BAD)
    site.until_reason("Stalled", "Denied")
    faults.answer_jobs(site, bad_is({}))

    command(site, "retry", "0123456789")

    site.until_serving(BAD)


def test_pause_holds_a_rollout_until_resume(site: Site) -> None:
    candidate = held(site)

    command(site, "pause", candidate)
    found = site.until_reason("Reconciling", "Paused")
    assert found["status"]["paused"]
    command(site, "promote-full", candidate, 1)
    assert weight(site.until(lambda one: "promote-full" in one["status"]["commands"])) == 40
    command(site, "resume", candidate, 2)

    site.until_serving("next")
    assert "paused" not in site.get()["status"] or not site.get()["status"]["paused"]


def test_rollback_returns_to_a_version_and_git_does_not_roll_forward(site: Site) -> None:
    first = serving(site)
    second = serving(site, "next")

    command(site, "rollback-to", first)
    found = site.until(lambda one: serves(one, GOOD))

    assert (fact(found, "Promoted")["status"], fact(found, "Promoted")["reason"]) == ("False", "RolledBack")
    assert [(one["class"], one["key"][:10]) for one in found["status"]["rejected"]] == [("Command", second)]
    wait_until(lambda: len(site.children("services")) == 2, lambda: "what was around the other version goes")
    site.simulate("next", rollout=AT_ONCE, scaling=TWO)
    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]
    assert serves(site.get(), GOOD)
    serving(site, "third")


def test_restart_is_a_canary_of_the_same_bundle_in_new_servers(site: Site) -> None:
    first = serving(site)
    before = {pod["metadata"]["uid"] for pod in site.servers()}

    command(site, "restart", first)
    done = site.until(lambda one: one["status"]["stable"]["revision"] != first and serves(one, GOOD))

    assert condition(done, "Promoted") == "True"
    wait_until(lambda: len(site.servers()) == 2, lambda: "the old servers go")
    assert not before & {pod["metadata"]["uid"] for pod in site.servers()}
    assert len(site.children("jobs")) == 1, "the bundle is known"


@pytest.mark.parametrize(
    ("verb", "value"),
    [
        ("abort", "0000000000@2026-01-01T00:00:00Z"),
        ("promote", "CANDIDATE/2@2026-01-01T00:00:00Z"),
        ("promote", "CANDIDATE"),
        ("promote-full", "CANDIDATE@yesterday"),
        ("rollback-to", "0000000000@2026-01-01T00:00:00Z"),
        ("restart", "CANDIDATE@2026-01-01T00:00:00Z"),
    ],
)
def test_a_command_that_does_not_fit_changes_nothing_and_is_told(site: Site, verb: str, value: str) -> None:
    candidate = held(site)

    site.command(verb, value.replace("CANDIDATE", candidate))
    found = site.until(lambda one: verb in one["status"].get("commands", {}))

    assert verb in told(site, "CommandIgnored")
    assert weight(found) == 40
    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]


def test_an_unknown_verb_is_nobodys(site: Site) -> None:
    candidate = held(site)

    writes = faults.writes_of_a_turn(site, **{f"{GROUP}/dance": f"{candidate}@2026-01-01T00:00:00Z"})

    assert writes == ["update modeldeployments/status"]


def test_of_two_commands_the_later_one_acts(site: Site) -> None:
    candidate = held(site)
    notes = {"abort": f"{candidate}@2026-01-01T00:00:01Z", "promote-full": f"{candidate}@2026-01-01T00:00:02Z"}
    change = {"metadata": {"annotations": {f"{GROUP}/{verb}": value for verb, value in notes.items()}}}

    site.plane.client.patch("modeldeployments", site.namespace, "fraud", change)

    done = site.until_serving("next")
    assert done["status"]["commands"] == notes


def test_a_copied_deployment_does_not_act_on_its_past(site: Site) -> None:
    whole = site.manifest(GOOD, real=False, bundle={"uri": f"s3://models/{GOOD}"}, rollout=AT_ONCE)
    whole["metadata"]["annotations"] = {f"{GROUP}/pause": "0000000000@2026-01-01T00:00:00Z"}

    site.plane.client.create(whole)

    found = site.until_serving(GOOD)
    assert not found["status"].get("paused")
    assert "pause" in found["status"]["commands"]
