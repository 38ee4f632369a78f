"""The chart's rights are what the operator needs, both ways: a story that touches everything is read in the audit log.

These tests come last (conftest.py): then the log holds what every other test made an operator ask for, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import metrics_api
from tests.cluster.operating import HOME, RIGHTS, Operator, Site, fact, grant, resolves, weight
from tests.control_plane import gateway_api, keda
from tests.control_plane.audit import Mark, Request
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.users import OPERATOR, SECOND_OPERATOR

pytestmark = pytest.mark.slow
Right = tuple[str, str, str]  # group, resource with its part, verb
AT = "2026-01-01T00:00:{:02}Z"
LEASE = "tidegate-operator"
MANUAL = {"steps": [{"weight": 50, "hold": "manual"}], "historyLimit": 1}
AT_ONCE = {"steps": [], "historyLimit": 1}
CHILDREN = (
    "deployments", "services", "horizontalpodautoscalers", "poddisruptionbudgets", "controllerrevisions", "configmaps",
    "networkpolicies",
)  # fmt: skip
MANAGED_BY = "app.kubernetes.io/managed-by"
START = Mark(0)  # of the whole log
ACCOUNT = "system:serviceaccount:[^:]+:operator"
UNLABELLED = {"metadata": {"labels": {MANAGED_BY: None}}}


class Story:
    """Scenes from the life of a deployment; each is over when its end is seen."""

    def __init__(self, plane: Plane, folder: Path) -> None:
        self.plane = plane
        self.site = Site(plane, plane.new_namespace())
        keda_asks = ("--keda", "yes", "--prometheus", "main=http://prometheus.monitoring:9090")
        self.operator = Operator(plane, folder, (*metrics_api.flags(), *keda_asks))
        self.mark: Mark = plane.audit.mark()
        self.resolving: Callable[[Object], Any] = resolves()
        assert plane.player
        plane.player.answer_jobs(self.site.namespace, self.answer)

    def answer(self, pod: Object) -> Any:
        return self.resolving(pod)

    def asked(self) -> list[Request]:
        return self.plane.audit.since(self.mark, user=OPERATOR.name)

    def until(self, look: Callable[[], Any], what: str) -> None:
        self.operator.until(look, what)

    def play(self) -> None:
        self.it_starts_without_a_lease()
        self.a_version_is_read_and_serves()
        self.it_is_scaled_up_and_down()
        self.keda_scales_it()
        self.a_candidate_is_sent_back()
        self.another_is_promoted_and_the_first_one_comes_back()
        self.a_gpu_is_missing()
        self.it_is_routed_by_a_gateway()
        self.labels_are_stripped()
        self.somebody_is_faster()
        self.its_network_is_opened()
        self.it_starts_without_a_token()
        self.everything_is_deleted()
        assert self.operator.stop() == 0

    def it_starts_without_a_lease(self) -> None:
        gateway_api.install(self.plane)
        self.plane.client.delete("leases", HOME, LEASE)
        self.operator.start().leads()
        self.external_metrics_are_served()

    def external_metrics_are_served(self) -> None:
        """By a process that has an address and an authority of its own."""
        self.until(lambda: self.operator.figures()["tidegate_metrics_api"] == 1, "it serves external metrics")

    def a_version_is_read_and_serves(self) -> None:
        """Meanwhile somebody takes the label of the Job that reads it."""
        self.resolving = lambda pod: "hold"
        self.site.simulate("v0")
        self.until(lambda: self.site.children("jobs"), "a Job reads the bundle")
        name = self.site.children("jobs")[0]["metadata"]["name"]
        self.plane.client.patch("jobs", self.site.namespace, name, UNLABELLED)
        self.until(lambda: labelled(self.plane.client.read("jobs", self.site.namespace, name)), "its label is back")
        self.resolving = resolves()
        self.site.simulate("v1", rollout=AT_ONCE)
        self.site.until_serving("v1")

    def it_is_scaled_up_and_down(self) -> None:
        self.site.simulate("v1", rollout=AT_ONCE, scaling={"minReplicas": 3})
        self.until(lambda: len(self.site.servers()) == 3, "three servers")
        self.site.simulate("v1", rollout=AT_ONCE, scaling={"minReplicas": 2, "maxReplicas": 4})
        self.until(lambda: self.site.children("horizontalpodautoscalers"), "an autoscaler")
        self.site.simulate("v1", rollout=AT_ONCE, scaling={"minReplicas": 1})
        self.until(lambda: not self.site.children("horizontalpodautoscalers"), "no autoscaler")
        self.until(lambda: not self.site.children("poddisruptionbudgets"), "no budget")
        self.until(lambda: len(self.site.servers()) == 1, "one server")

    def keda_scales_it(self) -> None:
        """Somebody takes the label of what KEDA scales by; then the spec changes, and then KEDA goes."""
        by_keda = {"minReplicas": 1, "maxReplicas": 4, "provider": "KEDA"}
        self.site.simulate("v1", rollout=AT_ONCE, scaling=by_keda)
        self.until(lambda: self.site.children("scaledobjects"), "a ScaledObject")
        name = self.site.children("scaledobjects")[0]["metadata"]["name"]
        self.plane.client.patch("scaledobjects", self.site.namespace, name, UNLABELLED)
        self.plane.client.until("scaledobjects", self.site.namespace, name, labelled)
        self.site.simulate("v1", rollout=AT_ONCE, scaling={"minReplicas": 1})
        self.until(lambda: not self.site.children("scaledobjects"), "no ScaledObject")

    def a_candidate_is_sent_back(self) -> None:
        self.site.simulate("v2", rollout=MANUAL)
        candidate = self.site.until(lambda one: weight(one) == 50)["status"]["candidate"]["revision"]
        self.site.command("abort", f"{candidate}@{AT.format(1)}")
        self.site.until_reason("Stalled", "Aborted")

    def another_is_promoted_and_the_first_one_comes_back(self) -> None:
        first = self.site.get()["status"]["stable"]["revision"]
        self.site.simulate("v3", rollout=MANUAL)
        candidate = self.site.until(lambda one: weight(one) == 50)["status"]["candidate"]["revision"]
        self.site.command("promote-full", f"{candidate}@{AT.format(2)}")
        self.site.until_serving("v3")
        self.site.command("rollback-to", f"{first}@{AT.format(3)}")
        self.site.until(lambda one: one["status"]["stable"]["revision"] == first)
        for version in ("v4", "v5", "v6"):  # more than are remembered
            self.site.simulate(version, rollout=AT_ONCE, scaling={"minReplicas": 2, "maxReplicas": 4})
            self.site.until_serving(version)
        self.until(lambda: len(self.site.children("deployments")) == 1, "the old versions go")

    def a_gpu_is_missing(self) -> None:
        """Nodes are counted then, and what their pods hold."""
        on_gpus = {"device": "cuda", "accelerator": {"count": 16}}
        self.site.simulate("v7", runtime=on_gpus)
        self.site.until_reason("Reconciling", "GPUUnavailable")
        self.site.simulate("v6", rollout=AT_ONCE, scaling={"minReplicas": 2, "maxReplicas": 4})
        self.site.until_serving("v6")
        self.until(lambda: len(self.site.children("deployments")) == 1, "the candidate goes")

    def it_is_routed_by_a_gateway(self) -> None:
        """Of which nothing is heard at first; then labels are stripped, a name is changed, and no gateway is wanted."""
        routing = {
            "parentRefs": [{"name": "public"}],
            "hostnames": ["a.example.com"],
            "grpcHostnames": ["b.example.com"],
        }
        scaling = {"minReplicas": 2, "maxReplicas": 4}
        gateway_api.create_gateway(self.plane, self.site.namespace, "public")
        with gateway_api.PlayedGateway(self.plane, self.site.namespace, says=lambda route: None) as gateway:
            self.site.simulate("v6", rollout=AT_ONCE, scaling=scaling, routing=routing)
            self.site.until(lambda one: "does its controller" in fact(one, "RouteReady").get("message", ""))
            gateway.says = gateway_api.accepts
            for plural, name in (("httproutes", "fraud"), ("grpcroutes", "fraud-grpc")):
                self.plane.client.patch(plural, self.site.namespace, name, UNLABELLED)
                self.plane.client.until(plural, self.site.namespace, name, labelled)
            self.site.simulate("v6", rollout=AT_ONCE, scaling=scaling)
            self.until(lambda: not self.site.children("httproutes"), "no route")

    def labels_are_stripped(self) -> None:
        """From each child: it is not seen any more, made again in vain, read, and marked again."""
        stable = self.site.get()["status"]["stable"]["revision"]
        names = {f"fraud-{stable}", "fraud", "fraud-access", "fraud-network"}
        for plural in CHILDREN:
            for child in self.site.children(plural):
                name = child["metadata"]["name"]
                if name in names:
                    self.plane.client.patch(plural, self.site.namespace, name, UNLABELLED)
                    self.plane.client.until(plural, self.site.namespace, name, labelled)

    def somebody_is_faster(self) -> None:
        """Changes while the status is written, until one of those writes comes too late."""
        attempt = 0

        def too_late() -> bool:
            nonlocal attempt
            attempt += 1
            self.site.command(("pause", "resume")[attempt % 2], f"any@{AT.format(attempt % 60)}")
            for count in range(5):
                self.plane.client.patch(
                    "modeldeployments", self.site.namespace, "fraud", {"metadata": {"labels": {"at": f"{count}"}}}
                )
            return ("update", "modeldeployments/status", 409) in [
                (one.verb, one.resource, one.code) for one in self.asked()
            ]

        self.until(too_late, "a status that is written too late")
        self.until(lambda: ("get", "modeldeployments") in [(one.verb, one.resource) for one in self.asked()], "a read")

    def its_network_is_opened(self) -> None:
        opened = {"spec": {"networkPolicy": {"enabled": False}}}
        self.plane.client.patch("modeldeployments", self.site.namespace, "fraud", opened)
        self.until(lambda: not self.site.children("networkpolicies"), "no policy")

    def it_starts_without_a_token(self) -> None:
        """Then servers need no keys; and with one they do again."""
        assert self.operator.stop() == 0
        self.operator.log.unlink()
        self.operator.start("--token-file", "").leads()
        self.external_metrics_are_served()
        self.until(lambda: not self.site.children("configmaps"), "no keys")

    def everything_is_deleted(self) -> None:
        self.plane.client.delete("modeldeployments", self.site.namespace, "fraud")
        for plural in (*CHILDREN, "jobs", "pods"):
            self.until(lambda: not self.site.children(plural), f"no {plural}")  # noqa: B023


def labelled(obj: Object) -> bool:
    return bool(obj["metadata"]["labels"].get(MANAGED_BY) == "tidegate")


@pytest.fixture(scope="module")
def asked(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Request]]:
    """What the operator asked for in a story that touches everything."""
    grant(control_plane)
    metrics_api.enable(control_plane)
    keda.install(control_plane)
    story = Story(control_plane, tmp_path_factory.mktemp("operator"))
    try:
        story.play()
        yield story.asked() + addresses(control_plane, story.mark)
    finally:
        story.operator.close()
        metrics_api.disable(control_plane)
        control_plane.client.delete("namespaces", "", story.site.namespace)


def granted() -> set[Right]:
    return {
        (group, resource, verb)
        for rules in yaml.safe_load(RIGHTS.read_text()).values()
        for rule in rules
        for group in rule.get("apiGroups", [""])
        for resource in rule.get("resources", rule.get("nonResourceURLs"))
        for verb in rule["verbs"]
    }


def addresses(plane: Plane, mark: Mark) -> list[Request]:
    """Of the cluster's public keys, which are no objects."""
    return [one for one in plane.audit.addresses(mark) if is_an_operator(one.user)]


def is_an_operator(user: str) -> bool:
    """As a user of these tests, or as a service account of test_namespaces."""
    return user in (OPERATOR.name, SECOND_OPERATOR.name) or re.fullmatch(ACCOUNT, user) is not None


def used(requests: list[Request]) -> set[Right]:
    return {(one.group, one.resource, one.verb) for one in requests}


def test_nothing_is_granted_that_is_not_used(asked: list[Request]) -> None:
    assert granted() - used(asked) == set()


def test_nothing_is_used_that_is_not_granted(asked: list[Request]) -> None:
    assert used(asked) - granted() == set()
    assert [one for one in asked if not one.allowed] == []


def test_no_other_test_has_made_an_operator_ask_for_more(asked: list[Request], control_plane: Plane) -> None:
    objects = [one for one in control_plane.audit.since(START) if is_an_operator(one.user)]
    everything = objects + addresses(control_plane, START)

    assert len(everything) >= len(asked) > 0
    assert used(everything) - granted() == set()


def test_secrets_are_no_business_of_the_operator(asked: list[Request]) -> None:
    assert not {resource for _, resource, _ in granted() | used(asked) if "secret" in resource or "*" in resource}


def test_of_leases_only_its_own_is_touched(asked: list[Request]) -> None:
    leases = [one for one in asked if one.resource == "leases"]

    assert {(one.namespace, one.name) for one in leases if one.verb != "create"} == {(HOME, LEASE)}
    assert {one.namespace for one in leases} == {HOME}
