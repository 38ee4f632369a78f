"""External metrics that the operator serves by itself: through a real API server, to a real autoscaler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.cluster import metrics_api
from tests.cluster.clients import ask
from tests.cluster.metrics_api import GROUP, Load, asked, load_on
from tests.cluster.operating import Operator, Site, grant
from tests.control_plane.client import ApiError, Client
from tests.control_plane.plane import Plane, has_condition
from tests.control_plane.resources import Object
from tests.control_plane.users import OPERATOR, SECOND_OPERATOR, STRANGER
from tests.local.local_run import bundles
from tests.waiting import wait_until

from tidegate.cluster.metrics_api.registration import NAME, REGISTERED
from tidegate.plan.load import MEASURES

pytestmark = pytest.mark.slow
REACTION_SECONDS = 30  # from a step of the load until the servers are ready
HELD = {"minReplicas": 1, "maxReplicas": 6, "target": {"concurrency": 2}}


@pytest.fixture(scope="module")
def operator(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One that leads, and serves external metrics."""
    grant(control_plane)
    metrics_api.enable(control_plane)
    running = Operator(control_plane, tmp_path_factory.mktemp("operator"), metrics_api.flags()).start().leads()
    available(control_plane)
    yield running
    running.close()
    metrics_api.disable(control_plane)


def available(plane: Plane) -> Object:
    return plane.client.until("apiservices", "", REGISTERED, lambda one: has_condition(one, "Available"))


def value(answer: Object) -> float:
    [item] = answer["items"]
    text = item["value"]
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def refusal(plane: Plane, *question: str) -> ApiError:
    with pytest.raises(ApiError) as found:
        asked(plane, *question)
    return found.value


def autoscaler(site: Site) -> Object:
    [found] = site.children("horizontalpodautoscalers")
    return found


def told(site: Site) -> str:
    return f"the autoscaler: {autoscaler(site)['status']}"


def active(site: Site) -> bool:
    return has_condition(autoscaler(site), "ScalingActive")


def test_an_autoscaler_holds_a_concurrency_with_nothing_else_installed(operator: Operator, site: Site) -> None:
    site.simulate("v1", scaling={**HELD, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}})
    site.until_serving("v1")
    with load_on(site) as load:
        operator.until(lambda: load.follow() == 1, "a server")
        load.step(1.0)
        operator.until(lambda: active(site), "the autoscaler knows the load")

        load.step(7.4)
        wait_until(lambda: load.follow() == 4, lambda: told(site), REACTION_SECONDS)

        load.step(1.0)
        wait_until(lambda: load.follow() == 1, lambda: told(site), 60)


def test_each_metric_has_its_value(operator: Operator, site: Site) -> None:
    with two_servers(site) as load:
        load.step(6.0)

        found = {metric: value(asked(site.plane, site.namespace, metric)) for metric in MEASURES}

    assert found == {
        "tidegate_concurrency": pytest.approx(6, rel=0.1),
        "tidegate_requests_per_second": pytest.approx(60, rel=0.1),
        "tidegate_queue_seconds": pytest.approx(0.05, rel=0.1),
        "tidegate_gpu_utilization": 80,
    }


@contextmanager
def two_servers(site: Site) -> Iterator[Load]:
    site.simulate("v1", scaling={"minReplicas": 2})
    site.until_serving("v1")
    with load_on(site) as load:
        wait_until(lambda: load.follow() == 2, lambda: "two servers")
        yield load


def test_what_cannot_be_answered_is_a_status_of_kubernetes(operator: Operator, site: Site) -> None:
    here = site.namespace
    with two_servers(site) as load:
        assert refusal(site.plane, here, "tidegate_speed").status == 404
        assert refusal(site.plane, here, "tidegate_concurrency", "model=frau").status == 404
        assert refusal(site.plane, here, "tidegate_concurrency", "app=fraud").status == 400
        assert value(asked(site.plane, here, "tidegate_concurrency", of_stable(site))) == 0
        nobody = refusal(site.plane, here, "tidegate_concurrency", "model=fraud,revision=0000000000")
        load.silent = set(site.endpoints())
        silent = wait_until(lambda: unread(site.plane, here), lambda: "what was read last is old")

    assert (nobody.status, nobody.message) == (503, "no server of fraud is ready")
    assert (silent.status, silent.message) == (503, "0 of 2 servers of fraud have told what they count")


def unread(plane: Plane, namespace: str) -> ApiError | None:
    try:
        asked(plane, namespace, "tidegate_concurrency")
    except ApiError as error:
        return error
    return None


def of_stable(site: Site) -> str:
    return f"model=fraud,revision={site.get()['status']['stable']['revision']}"


def test_who_may_read_is_rbacs_business(operator: Operator, site: Site) -> None:
    """The API server asks it before it asks us."""
    stranger = site.plane.client_of(STRANGER)
    path = f"{GROUP}/namespaces/{site.namespace}/tidegate_concurrency"
    with two_servers(site):
        with pytest.raises(ApiError) as found:
            stranger.request("GET", path, query={"labelSelector": "model=fraud"})
        site.plane.client.create({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "reader", "namespace": site.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": STRANGER.name}],
        })  # fmt: skip
        answer = wait_until(lambda: let_in(stranger, path), lambda: "the stranger is let in")
    stranger.close()

    assert (found.value.status, found.value.reason) == (403, "Forbidden")
    assert value(answer) == 0


def let_in(client: Client, path: str) -> Object | None:
    try:
        return client.request("GET", path, query={"labelSelector": "model=fraud"})
    except ApiError as error:
        assert error.status == 403
        return None


def test_all_kinds_of_the_cluster_can_be_listed(operator: Operator, control_plane: Plane) -> None:
    """What holds up `kubectl` and the deletion of namespaces where a source of metrics does not answer."""
    listed = control_plane.client.request("GET", GROUP)
    groups = control_plane.client.request("GET", "/apis")

    assert {one["name"] for one in listed["resources"]} == set(MEASURES)
    assert "external.metrics.k8s.io" in {one["name"] for one in groups["groups"]}


def test_who_leads_next_serves_next(operator: Operator, site: Site, tmp_path: Path) -> None:
    with (
        two_servers(site),
        closing(Operator(site.plane, tmp_path, metrics_api.flags(), user=SECOND_OPERATOR)) as second,
    ):
        grant(site.plane, OPERATOR, SECOND_OPERATOR)
        before = site.plane.client.read("apiservices", "", REGISTERED)
        second.start()
        second.until(second.is_ready, "it stands by")
        assert not second.said("serving external metrics")

        operator.stop()
        second.leads()
        answer = second.until(lambda: served(site), "the next one serves")

        after = site.plane.client.read("apiservices", "", REGISTERED)
        assert value(answer) == 0
        assert after["spec"]["caBundle"] != before["spec"]["caBundle"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        second.stop()
    operator.log.unlink()
    operator.start().leads()
    operator.until(lambda: operator.figures()["tidegate_metrics_api"] == 1, "it serves again")


def served(site: Site) -> Object | None:
    try:
        return asked(site.plane, site.namespace, "tidegate_concurrency")
    except ApiError as error:
        assert error.status in (502, 503), error
        return None


def test_real_servers_are_read(operator: Operator, control_plane: Plane, namespace: str, tmp_path: Path) -> None:
    site = Site(control_plane, namespace)
    site.mount(bundles(tmp_path))
    site.apply("v1")
    site.until_serving("v1")

    def rate() -> float:
        for address in site.endpoints():
            ask(address)
        return value(asked(control_plane, namespace, "tidegate_requests_per_second"))

    wait_until(lambda: rate() > 0, lambda: "the requests are counted")
    assert value(asked(control_plane, namespace, "tidegate_concurrency")) > 0
    assert refusal(control_plane, namespace, "tidegate_gpu_utilization").status == 503


ANOTHER = {
    "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": REGISTERED},
    "spec": {
        "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
        "insecureSkipTLSVerify": True, "service": {"namespace": "keda", "name": "keda-metrics-apiserver", "port": 443},
    },
}  # fmt: skip


def test_what_serves_external_metrics_already_is_left_alone_until_it_goes(
    operator: Operator, control_plane: Plane
) -> None:
    metrics_api.disable(control_plane)  # with the chart's objects goes the APIService
    control_plane.client.create(ANOTHER)
    metrics_api.enable(control_plane)

    assert operator.stop() == 0
    operator.log.unlink()
    operator.start().leads()
    operator.until(lambda: operator.said("belongs to the Service keda/keda-metrics-apiserver"), "it says whose it is")
    there = control_plane.client.read("apiservices", "", REGISTERED)

    assert there["spec"]["service"]["namespace"] == "keda"
    assert there["spec"].get("caBundle") is None
    assert operator.figures()["tidegate_metrics_api"] == 0
    control_plane.client.delete("apiservices", "", REGISTERED)
    available(control_plane)
    assert operator.figures()["tidegate_metrics_api"] == 1
