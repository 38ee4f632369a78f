"""What KEDA scales by, as its own CustomResourceDefinition on a real API server takes it; KEDA's part is played here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.operating import Operator, Site, fact, grant, serves
from tests.control_plane import keda
from tests.control_plane.client import APPLY, ApiError, path_of
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.unit.plan.manifests.parts import OLD, wanted
from tests.waiting import wait_until

from tidegate.api.scaling import Scaling
from tidegate.plan.manifests.identity import Owner
from tidegate.plan.manifests.keda import scaled_object

pytestmark = pytest.mark.slow
SERVER = "http://prometheus.monitoring:9090"
TO_ZERO = {"minReplicas": 0, "maxReplicas": 3, "provider": "KEDA", "keda": {"wake": "sum(rate(asked_total[1m]))"}}
STRICT = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "tidegate", "force": "true"}
TARGETS: list[dict[str, Any]] = [
    {"cpuUtilization": 70}, {"concurrency": 2.5}, {"requestsPerSecond": 200}, {"queueTime": "20ms"},
    {"gpuUtilization": 80},
]  # fmt: skip


@pytest.fixture(scope="module")
def operator(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    grant(control_plane)
    keda.install(control_plane)
    flags = ("--keda", "yes", "--prometheus", f"main={SERVER}")
    running = Operator(control_plane, tmp_path_factory.mktemp("operator"), flags).start().leads()
    yield running
    running.close()


def of_site(site: Site) -> Object:
    """The stable version's ScaledObject; the only one, which is written after the status says that the model serves."""

    def found() -> Object | None:
        objects = site.children("scaledobjects")
        return objects[0] if [one["metadata"]["name"] for one in objects] == [f"fraud-{stable(site)}"] else None

    return wait_until(found, "the stable version's ScaledObject, and no other")


def stable(site: Site) -> str:
    return str(site.get()["status"]["stable"]["revision"])


def bounds(scaled: Object) -> tuple[int, int]:
    return scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]


def scale(site: Site, revision: str, replicas: int) -> None:
    site.plane.client.patch("deployments", site.namespace, f"fraud-{revision}", {"spec": {"replicas": replicas}})


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: next(iter(target)))
def test_kedas_own_definition_takes_every_target(operator: Operator, site: Site, target: dict[str, Any]) -> None:
    scaling = Scaling.model_validate({**TO_ZERO, "target": target})
    made = scaled_object(Owner(site.namespace, "fraud", "uid"), wanted(OLD, 0, 3), scaling, {"main": SERVER})

    answer = site.plane.client.request("PATCH", path_of(made), made, query=STRICT, form=APPLY)

    assert len(answer["spec"]["triggers"]) == 2
    with pytest.raises(ApiError, match="triggers"):
        broken = {**made, "spec": {**made["spec"], "triggers": [{"type": "prometheus"}]}}
        site.plane.client.request("PATCH", path_of(made), broken, query=STRICT, form=APPLY)


def test_a_model_sleeps_and_a_rollout_wakes_it(operator: Operator, site: Site) -> None:
    site.simulate("v1", scaling=TO_ZERO)
    first = site.until_serving("v1")["status"]["stable"]["revision"]
    assert of_site(site)["spec"]["minReplicaCount"] == 0

    scale(site, first, 0)  # as KEDA does it
    asleep = site.until_reason("Ready", "ScaledToZero")

    assert fact(asleep, "Ready")["status"] == "True"
    assert fact(asleep, "Degraded")["status"] == "False"
    assert site.children("horizontalpodautoscalers") == []
    site.simulate("v2", scaling=TO_ZERO)
    site.until(lambda one: serves(one, "v2"), 60)
    assert stable(site) != first
    assert of_site(site)["spec"]["minReplicaCount"] == 0


def test_while_steps_run_keda_changes_no_counts(operator: Operator, site: Site) -> None:
    by_keda = {"minReplicas": 2, "maxReplicas": 8, "provider": "KEDA"}
    site.simulate("v1", scaling=by_keda)
    site.until_serving("v1")
    site.simulate("v2", scaling=by_keda, rollout={"steps": [{"weight": 50, "hold": "manual"}]})
    site.until(lambda one: (one["status"].get("candidate") or {}).get("weight") == 50)

    wait_until(lambda: bounds(of_site(site)) == (2, 2), lambda: f"no counts to change: {of_site(site)['spec']}")


def test_what_keda_refuses_is_told(operator: Operator, site: Site) -> None:
    site.simulate("v1", scaling=TO_ZERO)
    site.until_serving("v1")
    said = "error parsing prometheus metadata"
    refusal = {"type": "Ready", "status": "False", "reason": "ScaledObjectCheckFailed", "message": said}
    site.plane.client.patch_status(of_site(site), {"conditions": [refusal]})

    found = site.until_reason("Degraded", "LoadUnknown")

    assert said in fact(found, "Degraded")["message"]
    assert serves(found, "v1")
