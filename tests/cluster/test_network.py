"""The NetworkPolicy of a deployment as a real API server keeps it, over pods as real controllers make them.

No plugin enforces it here; who gets through is asked of the evaluator.
"""

from __future__ import annotations

import pytest
from tests.cluster import faults
from tests.cluster.operating import HOME, Operator, Site, condition, serves, weight
from tests.control_plane.client import JSON_PATCH
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.users import OPERATOR
from tests.fakes.network_policy import Host, Network, Place, Pod
from tests.waiting import wait_until

from tidegate.plan.manifests.identity import LABEL_COMPONENT, RESOLVER

pytestmark = pytest.mark.slow
POLICY = "fraud-network"
MANUAL: Object = {"steps": [{"weight": 50, "hold": "manual"}]}
NOW = "2026-01-01T00:00:00Z"
METADATA, STORE = Host("169.254.169.254"), Host("52.218.0.10")


def policy(site: Site) -> Object | None:
    return site.plane.client.get("networkpolicies", site.namespace, POLICY)


def network(site: Site) -> Network:
    """All policies and namespaces of the cluster."""
    client = site.plane.client
    namespaces = {one["metadata"]["name"]: one["metadata"]["labels"] for one in client.list("namespaces")}
    return Network(namespaces, tuple(client.list("networkpolicies", site.namespace)))


def place(pod: Object) -> Pod:
    """A played Job's pod is never given an address: one that no rule names stands for it."""
    meta, status = pod["metadata"], pod["status"]
    return Pod(status.get("podIP", "10.9.0.3"), meta["namespace"], meta["labels"], status.get("hostIP", ""))


def test_pods_of_a_rollout_reach_what_they_need_and_nothing_else_reaches_them(operator: Operator, site: Site) -> None:
    site.simulate("v1")
    site.until_serving("v1")
    site.simulate("v2", rollout=MANUAL)
    site.until(lambda one: weight(one) == 50)

    one, other = (place(pod) for pod in site.servers())
    jobs = [place(pod) for pod in site.children("pods") if pod["metadata"]["labels"][LABEL_COMPONENT] == RESOLVER]
    home, stranger = Pod("10.9.0.1", HOME, {}), Pod("10.9.0.2", site.namespace, {"app": "stranger"})
    net = network(site)

    def through(*pairs: tuple[Place, Place, int]) -> list[bool]:
        return [net.allows(*pair) for pair in pairs]

    assert jobs
    assert all(through((stranger, one, 8080), (stranger, other, 9000), (home, one, 9090), (home, other, 9090)))
    assert all(through((one, other, 9090), (other, one, 9090)))
    assert all(through((one, STORE, 443), (other, STORE, 443), *((job, STORE, 443) for job in jobs)))
    assert not any(through((stranger, one, 9090), (one, stranger, 8080), (one, other, 8080), (one, STORE, 80)))
    assert not any(through((one, METADATA, 80), (one, METADATA, 443), *((job, METADATA, 80) for job in jobs)))


def test_it_is_made_before_the_job_and_no_step_of_a_rollout_writes_to_it(operator: Operator, site: Site) -> None:
    mark = site.plane.audit.mark()
    site.simulate("v1")
    site.until_serving("v1")
    site.simulate("v2", rollout={**MANUAL, "scaleDownDelay": "0s"})
    candidate = site.until(lambda one: weight(one) == 50)["status"]["candidate"]["revision"]
    site.command("promote-full", f"{candidate}@{NOW}")
    site.until_serving("v2")
    wait_until(lambda: len(site.servers()) == 1, lambda: "the old servers go")

    written = [
        (one.verb, one.resource)
        for one in site.plane.audit.writes(mark, user=OPERATOR.name)
        if one.namespace == site.namespace and one.resource in ("networkpolicies", "jobs")
    ]
    assert written[0] == ("create", "networkpolicies")
    assert [verb for verb, resource in written if resource == "networkpolicies"] == ["create"]


EDITS: dict[str, list[Object]] = {
    "an open door": [{"op": "add", "path": "/spec/ingress/-", "value": {}}],
    "a wider rule": [{"op": "remove", "path": "/spec/ingress/1/from"}],
    "one more port": [{"op": "add", "path": "/spec/ingress/1/ports/-", "value": {"port": 22}}],
    "fewer pods": [{"op": "add", "path": "/spec/podSelector/matchLabels/mine", "value": "yes"}],
    "no word of egress": [{"op": "replace", "path": "/spec/policyTypes", "value": ["Ingress"]}],
}


@pytest.fixture(scope="module")
def shut(operator: Operator, control_plane: Plane) -> Site:
    """One that serves."""
    found = Site(control_plane, control_plane.new_namespace())
    faults.answer_jobs(found, faults.bad_is({}))
    found.simulate(faults.GOOD)
    found.until_serving(faults.GOOD)
    return found


@pytest.mark.parametrize("edit", EDITS)
def test_what_somebody_edits_is_changed_back(shut: Site, edit: str) -> None:
    before = policy(shut)
    assert before

    edited = shut.plane.client.patch("networkpolicies", shut.namespace, POLICY, EDITS[edit], form=JSON_PATCH)

    assert edited["spec"] != before["spec"]
    wait_until(lambda: (policy(shut) or {}).get("spec") == before["spec"], lambda: f"{policy(shut)}")
    assert (policy(shut) or {})["metadata"]["uid"] == before["metadata"]["uid"]


def test_it_goes_when_it_is_switched_off_and_servers_do_not_notice(operator: Operator, site: Site) -> None:
    site.simulate("v1")
    site.until_serving("v1")
    servers = [pod["metadata"]["uid"] for pod in site.servers()]

    site.simulate("v1", networkPolicy={"enabled": False})
    wait_until(lambda: policy(site) is None, lambda: "the policy is gone")
    site.simulate("v1", networkPolicy={"clients": [{"namespace": "gateways"}]})
    wait_until(lambda: policy(site) is not None, lambda: "the policy is back")

    found = site.until(lambda one: one["status"]["observedGeneration"] == one["metadata"]["generation"])
    assert serves(found, "v1")
    assert condition(found, "Reconciling") == ""
    assert [pod["metadata"]["uid"] for pod in site.servers()] == servers


def test_what_a_spec_names_is_kept_word_for_word_and_costs_no_write_at_rest(operator: Operator, site: Site) -> None:
    peers = [{"namespace": "*"}, {"namespace": "a", "pods": {"b": ""}}, {"cidr": "10.1.2.3/8"}, {"cidr": "::/0"}]
    site.simulate(faults.GOOD, networkPolicy={"clients": peers, "egress": [{"to": peers[1], "ports": [9000, 1]}]})
    site.until_serving(faults.GOOD)

    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]
    assert (policy(site) or {})["spec"]["ingress"][0]["from"][2:] == [
        {"ipBlock": {"cidr": "10.0.0.0/8"}},
        {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"]}},
    ]
