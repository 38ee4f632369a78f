"""Other programs and people add to the servers' Deployments: what they add stays, and nobody fights about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.cluster.faults import writes_of_a_turn
from tests.cluster.operating import GROUP, Operator, Site, ready
from tests.control_plane.client import STRATEGIC
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
ADMISSION = "admissionregistration.k8s.io"
ROOT = f"/apis/{ADMISSION}/v1"
PROXY: Object = {"name": "proxy", "image": "registry.example.com/proxy:1"}
TEMPLATE = "Object.spec.template"
ADDS_PROXY = f"""Object{{spec: Object.spec{{template: {TEMPLATE}{{spec: {TEMPLATE}.spec{{containers: [
    {TEMPLATE}.spec.containers{{name: "{PROXY["name"]}", image: "{PROXY["image"]}"}}]}}}}}}}}"""


@contextmanager
def proxies_are_injected(plane: Plane, namespace: str) -> Iterator[None]:
    """By a rule of the cluster, into every Deployment of a namespace."""
    rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
              "resources": ["deployments"]}]  # fmt: skip
    match = {"resourceRules": rules, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": ADDS_PROXY}}
    policy = {"apiVersion": f"{ADMISSION}/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": namespace},
              "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded", "matchConstraints": match,
                       "mutations": [mutation]}}  # fmt: skip
    binding = {"apiVersion": f"{ADMISSION}/v1", "kind": "MutatingAdmissionPolicyBinding",
               "metadata": {"name": namespace}, "spec": {"policyName": namespace}}  # fmt: skip
    plane.client.request("POST", f"{ROOT}/mutatingadmissionpolicies", policy)
    plane.client.request("POST", f"{ROOT}/mutatingadmissionpolicybindings", binding)
    try:
        plane.until(lambda: injects(plane, namespace), "the rule holds")
        yield
    finally:
        plane.client.request("DELETE", f"{ROOT}/mutatingadmissionpolicybindings/{namespace}")
        plane.client.request("DELETE", f"{ROOT}/mutatingadmissionpolicies/{namespace}")


def injects(plane: Plane, namespace: str) -> bool:
    """Whether a Deployment gets a proxy by now."""
    labels = {"app": "probe"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "probe", "image": "probe"}]}}
    made = plane.client.create({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe", "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    })  # fmt: skip
    plane.client.delete("deployments", namespace, "probe")
    return has_proxy(made["spec"]["template"])


def has_proxy(template: Object) -> bool:
    return any(one["name"] == PROXY["name"] for one in template["spec"]["containers"])


def all_have_proxies(site: Site) -> bool:
    return bool(site.servers()) and all(has_proxy(pod) and ready(pod) for pod in site.servers())


def writes_to_servers(operator: Operator, site: Site, looks: int) -> list[str]:
    """What the operator writes to Deployments while it looks so many times at the one that they belong to."""
    mark = site.plane.audit.mark()
    for _ in range(looks):
        writes_of_a_turn(site)
    found = site.plane.audit.writes(mark, user=operator.user.name, namespace=site.namespace)
    return [str(request) for request in found if request.resource.startswith("deployments")]


def test_a_container_that_a_rule_of_the_cluster_injects_stays_and_costs_no_write(
    operator: Operator, site: Site, control_plane: Plane
) -> None:
    with proxies_are_injected(control_plane, site.namespace):
        site.simulate("v1")
        site.until_serving("v1")
        site.simulate("v2", rollout={"steps": []})
        site.until_serving("v2")
        wait_until(lambda: all_have_proxies(site), lambda: "all servers have proxies")
        wait_until(lambda: len(site.children("deployments")) == 1, lambda: "the first version's servers are gone")

        assert writes_to_servers(operator, site, looks=3) == []


def test_a_container_that_a_person_adds_stays_and_costs_no_write(operator: Operator, site: Site) -> None:
    site.simulate("v1")
    revision = site.until_serving("v1")["status"]["stable"]["revision"]
    patch = {"spec": {"template": {"spec": {"containers": [PROXY]}}}}
    site.plane.client.patch("deployments", site.namespace, f"fraud-{revision}", patch, form=STRATEGIC)
    wait_until(lambda: all_have_proxies(site), lambda: "all servers have proxies")

    assert writes_to_servers(operator, site, looks=3) == []
    assert {pod["metadata"]["labels"][f"{GROUP}/revision"] for pod in site.servers()} == {revision}
