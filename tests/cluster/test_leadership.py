"""Who works when there are two operators, and what becomes of one that is killed, told to end, frozen or robbed."""

from __future__ import annotations

import json
import logging
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.cluster.operating import HOME, Operator, Site, serves
from tests.cluster.pair import LEASE, Pair, changes, pair_of_operators
from tests.control_plane.audit import Mark, Request
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object

from tidegate.cluster.lease import Times
from tidegate.cluster.watch import KINDS

pytestmark = pytest.mark.slow
MANY = 20
FROZEN = Times().lease + 10.0  # seconds: others have taken it by then
LOOK = ("200", "lease-get")
PROMOTED = 'tidegate_rollouts_total{outcome="promoted"}'
log = logging.getLogger(__name__)  # shown by --log-cli-level=info


@pytest.fixture(scope="module")
def both(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair_of_operators(control_plane, tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture
def pair(both: Pair) -> Pair:
    both.revive()
    return both


def served(site: Site) -> Object:
    site.simulate("v1")
    return site.until_serving("v1")


def noticed(site: Site, since: float, seconds: float) -> float:
    """Change the spec; how long after `since` an operator has noticed it."""
    changed = site.simulate("v1", scaling={"minReplicas": 2})["metadata"]["generation"]
    site.until(lambda one: one["status"]["observedGeneration"] == changed, seconds)
    return time.monotonic() - since


def sites(site: Site) -> list[Site]:
    return [Site(site.plane, site.namespace, name=f"model-{number}") for number in range(MANY)]


def caught_at_work(pair: Pair, site: Site, number: int) -> tuple[Mark, float]:
    """Give the leader much to do, and send it a signal when it has begun."""
    leader, _ = pair.roles()
    assert leader.process
    mark = site.plane.audit.mark()
    for one in sites(site):
        one.simulate("v1")
    pair.until(lambda: len(pair.written(leader, mark)) > MANY, "the leader writes")
    leader.process.send_signal(number)
    return mark, time.monotonic()


def all_serve(site: Site) -> bool:
    found = site.plane.client.list("modeldeployments", site.namespace)
    return len(found) == MANY and all(serves(one, "v1") for one in found)


def place_of_last(requests: list[Request], user: str) -> int:
    """Where the last change by a user stands among them; -1 where there is none."""
    return max((at for at, one in enumerate(requests) if one.user == user and changes([one])), default=-1)


def place_of_lease(requests: list[Request], user: str) -> int:
    """Where a user's last write of the lease stands among them."""
    return max(at for at, one in enumerate(requests) if one.user == user and one.writes and one.resource == "leases")


def watched(operator: Operator) -> set[str]:
    """What this process has watched."""
    watches = operator.plane.audit.since(operator.started, user=operator.user.name, verbs=["watch"])
    return {one.resource for one in watches if one.code == 200}


def exit_code(operator: Operator) -> int:
    assert operator.process
    return operator.process.wait(timeout=20)


def test_who_stands_by_asks_for_the_lease_and_watches_and_writes_nothing(pair: Pair, site: Site) -> None:
    leader, standby = pair.roles()
    mark = site.plane.audit.mark()

    served(site)
    pair.until(lambda: len(pair.asked(standby, mark)) >= 3, "the standby looks at the lease")

    asked = [one for one in pair.asked(standby, mark) if one.verb != "watch"]
    assert {(one.verb, one.resource, one.name) for one in asked} == {("get", "leases", LEASE)}
    assert {kind.plural for kind in KINDS} <= watched(standby)
    assert pair.written(leader, mark)


def test_a_leader_that_is_told_to_end_hands_over_within_two_seconds(pair: Pair, site: Site) -> None:
    served(site)
    leader, _ = pair.roles()
    assert leader.process
    told = time.monotonic()
    leader.process.send_signal(signal.SIGTERM)

    assert exit_code(leader) == 0
    passed = noticed(site, told, 20)

    log.info("handover: %.2f s", passed)
    assert passed < 2


def test_a_leader_that_is_told_to_end_in_mid_work_ends_its_turns_and_goes(pair: Pair, site: Site) -> None:
    leader, other = pair.roles()

    mark, told = caught_at_work(pair, site, signal.SIGTERM)
    code = exit_code(leader)
    passed = time.monotonic() - told
    log.info("end: %.2f s", passed)
    pair.until(lambda: all_serve(site), "the other serves all of them", 60)

    assert code == 0
    assert passed < 10
    assert pair.leader is other
    asked = site.plane.audit.since(mark)
    assert place_of_last(asked, leader.user.name) < place_of_lease(asked, leader.user.name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stands_by_ends_at_once_and_leaves_the_lease_alone(pair: Pair, number: signal.Signals) -> None:
    leader, standby = pair.roles()
    mark = pair.plane.audit.mark()
    told = time.monotonic()

    assert standby.stop(number) == 0

    assert time.monotonic() - told < 5
    assert [one for one in pair.asked(standby, mark) if one.writes] == []
    assert pair.leader is leader


def test_when_the_leader_is_killed_the_other_goes_on(pair: Pair, site: Site) -> None:
    served(site)
    leader, _ = pair.roles()
    leader.stop(signal.SIGKILL)
    killed = time.monotonic()

    passed = noticed(site, killed, 60)

    log.info("failover: %.2f s", passed)
    assert passed < 18


def test_a_leader_that_is_frozen_for_longer_than_its_lease_writes_nothing_when_it_wakes(pair: Pair, site: Site) -> None:
    leader, other = pair.roles()
    assert leader.process

    mark, stopped = caught_at_work(pair, site, signal.SIGSTOP)
    try:
        pair.until(lambda: pair.leader is other, "the other leads", 40)
        pair.until(lambda: all_serve(site), "the other serves all of them", 60)
        threading.Event().wait(FROZEN - (time.monotonic() - stopped))  # nothing comes about but time
        woken = site.plane.audit.mark()
    finally:
        leader.process.send_signal(signal.SIGCONT)

    assert exit_code(leader) == 1
    log.info("frozen: %.2f s", time.monotonic() - stopped)
    assert pair.written(leader, woken) == []
    asked = site.plane.audit.since(mark)
    took = next(at for at, one in enumerate(asked) if one.user == other.user.name and one.verb == "update")
    assert asked[took].resource == "leases"
    assert place_of_last(asked, leader.user.name) < took
    assert pair.holder == next(name for name, one in pair.operators.items() if one is other)


def test_a_leader_that_was_frozen_for_a_moment_goes_on(pair: Pair, site: Site) -> None:
    leader, _ = pair.roles()
    assert leader.process
    caught_at_work(pair, site, signal.SIGSTOP)
    before = site.plane.client.read("leases", HOME, LEASE)["metadata"]["resourceVersion"]

    leader.process.send_signal(signal.SIGCONT)

    pair.until(lambda: all_serve(site), "it serves all of them", 60)
    site.plane.client.until("leases", HOME, LEASE, lambda one: one["metadata"]["resourceVersion"] != before)
    assert pair.leader is leader


def test_a_lease_that_somebody_deletes_is_made_again_by_who_had_it(pair: Pair, site: Site) -> None:
    leader, standby = pair.roles()
    mark = site.plane.audit.mark()

    site.plane.client.delete("leases", HOME, LEASE)
    site.plane.client.until("leases", HOME, LEASE, bool)
    served(site)

    assert pair.leader is leader
    assert standby.runs
    assert [one for one in pair.asked(standby, mark) if one.writes] == []


def test_a_lease_that_somebody_takes_away_ends_the_leader(pair: Pair, site: Site) -> None:
    served(site)
    leader, other = pair.roles()

    site.plane.client.patch("leases", HOME, LEASE, {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}})

    assert exit_code(leader) == 1
    noticed(site, time.monotonic(), 20)
    assert pair.leader is other


def test_the_pages_say_who_leads_and_what_it_does(pair: Pair, site: Site) -> None:
    leader, standby = pair.roles()
    served(site)
    before = leader.figures().get(PROMOTED, 0)  # a first version is no rollout
    site.simulate("v2", rollout={"steps": []})
    site.until_serving("v2")
    pair.until(lambda: leader.figures().get(PROMOTED, 0) == before + 1, "the rollout is counted")
    pair.until(lambda: leader.figures()["tidegate_queue_depth"] == 0, "nothing waits")
    pair.until(lambda: LOOK in asked(standby.figures()), "the standby has looked at the lease")
    pair.until(lambda: deployments(standby) == deployments(leader), "both have heard that other tests' are gone")
    active, idle = leader.figures(), standby.figures()

    assert leader.page("/livez") == standby.page("/livez") == "loop: ok\nwatches: ok\nlease: ok\n"
    assert leader.page("/readyz") == standby.page("/readyz") == "caches: ok\n"
    assert (active["tidegate_leader"], idle["tidegate_leader"]) == (1, 0)
    assert active['tidegate_events_total{result="posted"}'] > 0
    assert {f'tidegate_watch_age_seconds{{kind="{kind.plural}"}}' for kind in KINDS} <= set(active)
    assert active['tidegate_api_requests_total{code="200",verb="update"}'] > 0
    assert active['tidegate_api_requests_total{code="201",verb="create"}'] > 0
    assert LOOK in asked(idle)
    assert {verb for _, verb in asked(idle)} <= {"lease-get", "get", "list", "watch"}
    assert not [name for name in idle if name.startswith("tidegate_rollouts_total")]
    assert idle["tidegate_deployments"] == active["tidegate_deployments"] > 0
    assert idle["tidegate_queue_depth"] == 0


def deployments(operator: Operator) -> float:
    return operator.figures()["tidegate_deployments"]


def asked(figures: Mapping[str, float]) -> set[tuple[str, str]]:
    """Code and verb of the requests that were counted."""
    found = (re.fullmatch(r'tidegate_api_requests_total\{code="(\w+)",verb="([\w-]+)"\}', name) for name in figures)
    return {(one[1], one[2]) for one in found if one}


def test_the_log_is_lines_of_json_that_say_whose_they_are_and_hold_no_token(pair: Pair, site: Site) -> None:
    stable = served(site)["status"]["stable"]["revision"]
    leader, standby = pair.roles()

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in leader.log.read_text().splitlines()]

    def about() -> list[dict[str, Any]]:
        return [line for line in lines() if line.get("namespace") == site.namespace]

    def promoted() -> list[dict[str, Any]]:
        return [line for line in about() if "Promoted: " in line["message"]]

    pair.until(lambda: bool(promoted()), "it says so")

    assert all({"at", "level", "logger", "message"} <= set(line) for line in lines())
    assert {line["name"] for line in about()} == {"fraud"}
    assert {line.get("revision") for line in promoted()} == {stable}
    tokens = [leader.user.token, standby.user.token, (leader.folder / "token").read_text()]
    told = leader.log.read_text() + standby.log.read_text()
    assert [token for token in tokens if token in told] == []
