"""The life of a release on a real API server: install, upgrade, uninstall, and what is refused because of others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart import before
from tests.chart.helm import HOME, Helm, HelmFailed, one
from tests.control_plane.client import APPLY, path_of
from tests.control_plane.plane import Plane, install_crds
from tests.control_plane.resources import Object
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
CRD = "modeldeployments.serving.tidegate.io"
LABEL = "app.kubernetes.io/managed-by"
OTHERS = "crds.install=false,userRoles.create=false"


@pytest.fixture
def cluster(bare: Plane, helm: Helm) -> Iterator[Plane]:
    """Afterwards no release is left, nor the CRD."""
    for name in ("shop", "bank"):
        bare.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield bare
    for release in yaml.safe_load(helm.run("list", "--all-namespaces", "-o", "json", plane=bare)):
        helm.uninstall(bare, release["name"], release["namespace"])
    if bare.client.get("customresourcedefinitions", "", CRD):
        until_served(bare)  # one that goes before its objects can be listed is looked at again only much later
    bare.client.delete("customresourcedefinitions", "", CRD)
    bare.client.until_gone("customresourcedefinitions", "", CRD, 60)


def deployment(**spec: Any) -> Object:
    return {
        "apiVersion": "serving.tidegate.io/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "fraud", "namespace": "shop"},
        "spec": {"bundle": {"uri": "s3://models/fraud/1.4.0"}, **spec},
    }  # fmt: skip


def knows_pauses(crd: Object) -> bool:
    """Which the chart of before does not."""
    return "paused" in before.fields(crd, "spec")


def until_served(plane: Plane, holds: Callable[[Object], bool] = bool) -> Object:
    """Wait for the CRD, and until its objects can be asked for."""
    crd = plane.client.until("customresourcedefinitions", "", CRD, holds)
    plane.until(lambda: plane.client.list("modeldeployments") is not None, CRD)
    return crd


def operators(plane: Plane) -> list[str]:
    """The namespaces that have one."""
    return [obj["metadata"]["namespace"] for obj in plane.client.list("deployments")]


def test_one_command_brings_everything(helm: Helm, cluster: Plane) -> None:
    helm.install(cluster)

    for obj in helm.template():
        found = cluster.client.request("GET", path_of(obj))
        assert found["metadata"]["annotations"]["meta.helm.sh/release-name"] == "tidegate"
    until_served(cluster)


def test_external_metrics_that_something_else_serves_are_not_taken(helm: Helm, cluster: Plane) -> None:
    name = "v1beta1.external.metrics.k8s.io"
    served = {
        "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
        "insecureSkipTLSVerify": True, "service": {"namespace": "keda", "name": "keda-metrics-apiserver"},
    }  # fmt: skip
    cluster.client.apply({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name}, "spec": served,
    })  # fmt: skip
    try:
        with pytest.raises(
            HelmFailed, match=r"served by keda/keda-metrics-apiserver already .*\n.*docs/autoscaling\.md"
        ):
            helm.install(cluster, "--set", "metricsApi.enabled=true")
        helm.install(cluster)
        with pytest.raises(HelmFailed, match=r"keda/keda-metrics-apiserver"):
            helm.upgrade(cluster, "--reset-then-reuse-values", "--set", "metricsApi.enabled=true")
    finally:
        cluster.client.delete("apiservices", "", name)
    helm.upgrade(cluster, "--reset-then-reuse-values", "--set", "metricsApi.enabled=true")
    assert cluster.client.get("services", HOME, "tidegate-metrics-api")


def test_keda_has_to_be_there_before_it_is_asked_to_scale(helm: Helm, cluster: Plane) -> None:
    with pytest.raises(HelmFailed, match=r"there is no KEDA in this cluster"):
        helm.install(cluster, "--set", "keda.enabled=true")


def test_the_notes_say_the_next_command(helm: Helm, cluster: Plane) -> None:
    notes = helm.install(cluster)

    assert "image.registry is not set" in notes
    assert "kubectl rollout status deployment/tidegate-operator -n tidegate" in notes
    [manifest] = re.findall(r"<<EOF\n(.*?)  EOF", notes, re.S)
    first = yaml.safe_load(manifest)
    first["metadata"]["namespace"] = "default"
    until_served(cluster)
    cluster.client.request("PATCH", path_of(first), first, query={"dryRun": "All", "fieldManager": "x"}, form=APPLY)


def test_installing_again_is_an_upgrade_that_changes_nothing(helm: Helm, cluster: Plane) -> None:
    helm.install(cluster)
    before = cluster.client.read("deployments", HOME, "tidegate-operator")

    helm.upgrade(cluster)

    assert cluster.client.read("deployments", HOME, "tidegate-operator")["metadata"]["generation"] == 1
    assert before["metadata"]["generation"] == 1


def test_a_second_release_is_told_whose_the_cluster_is(helm: Helm, cluster: Plane) -> None:
    helm.install(cluster)

    with pytest.raises(
        HelmFailed, match=r"belongs to the release tidegate/tidegate .*\n.*\n.*--set crds.install=false"
    ):
        helm.install(cluster, name="second", namespace="other")
    with pytest.raises(HelmFailed, match=r"of the release tidegate/tidegate .* looks after this cluster already"):
        helm.install(cluster, "--set", OTHERS, name="second", namespace="other")
    with pytest.raises(HelmFailed, match="looks after this cluster already"):
        helm.install(cluster, "--set", f"{OTHERS},namespaces={{shop}}", name="second", namespace="other")
    assert operators(cluster) == [HOME]


def test_releases_for_different_namespaces_live_beside_each_other(helm: Helm, cluster: Plane) -> None:
    helm.install(cluster, "--set", "namespaces={shop}")
    helm.install(cluster, "--set", f"{OTHERS},namespaces={{bank}}", name="second", namespace="other")

    assert sorted(operators(cluster)) == ["other", HOME]
    with pytest.raises(HelmFailed, match="looks after the namespace shop already"):
        helm.install(cluster, "--set", f"{OTHERS},namespaces={{shop}}", name="third", namespace="third")
    with pytest.raises(HelmFailed, match=r"looks after the namespace (shop|bank) already"):
        helm.install(cluster, "--set", OTHERS, name="third", namespace="third")
    assert sorted(operators(cluster)) == ["other", HOME]


def test_a_release_may_look_after_more_or_fewer_namespaces_later(helm: Helm, cluster: Plane) -> None:
    helm.install(cluster, "--set", "namespaces={shop}")

    helm.upgrade(cluster, "--reset-values")
    assert cluster.client.get("roles", "shop", "tidegate-operator") is None
    assert cluster.client.get("clusterroles", "", "tidegate-operator")
    helm.upgrade(cluster, "--set", "namespaces={shop,bank}")

    assert cluster.client.get("clusterroles", "", "tidegate-operator") is None
    assert cluster.client.get("roles", "bank", "tidegate-operator")


def test_a_crd_of_somebody_else_is_not_taken(helm: Helm, cluster: Plane) -> None:
    install_crds(cluster)

    with pytest.raises(HelmFailed, match="belongs to no Helm release") as refused:
        helm.install(cluster)

    assert "--set crds.install=false\n" in str(refused.value)
    assert LABEL not in cluster.client.read("customresourcedefinitions", "", CRD)["metadata"].get("labels", {})
    assert operators(cluster) == []


def test_a_crd_of_somebody_else_may_stay_where_it_is(helm: Helm, cluster: Plane) -> None:
    install_crds(cluster)

    helm.install(cluster, "--set", "crds.install=false")

    assert LABEL not in cluster.client.read("customresourcedefinitions", "", CRD)["metadata"].get("labels", {})
    assert operators(cluster) == [HOME]


def test_a_crd_that_nobody_has_brought_is_missed(helm: Helm, cluster: Plane) -> None:
    with pytest.raises(HelmFailed, match=r"crds\.install is false, and there is no CustomResourceDefinition"):
        helm.install(cluster, "--set", "crds.install=false")

    assert operators(cluster) == []


def test_a_crd_is_handed_over_by_the_commands_of_the_message(helm: Helm, cluster: Plane) -> None:
    install_crds(cluster)
    made = cluster.client.create(deployment())
    with pytest.raises(HelmFailed) as refused:
        helm.install(cluster)

    given = dict(
        re.findall(r"(\S+/\S+)=(\S+)", re.findall(r"kubectl annotate .* && kubectl label .*", str(refused.value))[0])
    )
    labels = {LABEL: given.pop(LABEL)}
    cluster.client.patch("customresourcedefinitions", "", CRD, {"metadata": {"annotations": given, "labels": labels}})
    helm.install(cluster)

    assert cluster.client.read("modeldeployments", "shop", "fraud")["metadata"]["uid"] == made["metadata"]["uid"]


def test_an_older_crd_that_is_handed_over_is_taken_by_force(helm: Helm, cluster: Plane, chart_of_before: Path) -> None:
    older = yaml.safe_load((chart_of_before / "files/crd.yaml").read_text())
    notes = {"meta.helm.sh/release-name": "tidegate", "meta.helm.sh/release-namespace": HOME}
    older["metadata"] |= {"annotations": notes, "labels": {LABEL: "Helm"}}
    cluster.client.apply(older, manager="kubectl")

    with pytest.raises(HelmFailed, match=r"conflict occurred while applying object .*CustomResourceDefinition"):
        helm.install(cluster)
    helm.run("uninstall", "tidegate", "-n", HOME, plane=cluster)
    helm.install(cluster, "--force-conflicts")

    assert knows_pauses(cluster.client.read("customresourcedefinitions", "", CRD))


def test_a_namespace_that_does_not_exist_is_named(helm: Helm, cluster: Plane) -> None:
    with pytest.raises(HelmFailed, match='namespaces "nowhere" not found'):
        helm.install(cluster, "--set", "namespaces={shop,nowhere}")


def test_an_upgrade_brings_the_new_crd_and_keeps_the_objects(helm: Helm, cluster: Plane, chart_of_before: Path) -> None:
    helm.install(cluster, chart=chart_of_before)
    until_served(cluster, lambda crd: not knows_pauses(crd))
    made = cluster.client.create(deployment())

    helm.upgrade(cluster)

    until_served(cluster, knows_pauses)
    kept = cluster.client.read("modeldeployments", "shop", "fraud")
    assert kept["metadata"]["uid"] == made["metadata"]["uid"]
    assert kept["spec"] == made["spec"] | {"paused": False}  # the default of the new field
    wait_until(lambda: cluster.client.apply(deployment(paused=True))["spec"].get("paused"), "the new field is kept")


def test_what_was_set_stays_and_what_is_new_has_its_default(helm: Helm, cluster: Plane, chart_of_before: Path) -> None:
    helm.install(cluster, "--set", "replicas=3", chart=chart_of_before)

    with pytest.raises(HelmFailed, match="at '/operator': missing property 'workers'"):
        helm.upgrade(cluster, "--reuse-values")
    helm.upgrade(cluster, "--reset-then-reuse-values")

    spec = cluster.client.read("deployments", HOME, "tidegate-operator")["spec"]
    assert spec["replicas"] == 3
    assert "--workers=8" in spec["template"]["spec"]["containers"][0]["args"]


def test_a_rollback_of_helm_takes_the_new_fields_along(helm: Helm, cluster: Plane, chart_of_before: Path) -> None:
    helm.install(cluster, chart=chart_of_before)
    helm.upgrade(cluster, "--reset-then-reuse-values")
    until_served(cluster, knows_pauses)
    wait_until(lambda: cluster.client.apply(deployment(paused=True))["spec"].get("paused"), "the new field is kept")

    helm.run("rollback", "tidegate", "-n", HOME, plane=cluster)

    until_served(cluster, lambda crd: not knows_pauses(crd))
    cluster.client.until("modeldeployments", "shop", "fraud", lambda one: "paused" not in one["spec"])


def test_the_way_back_may_leave_the_newer_crd_and_what_is_written_in_it(
    helm: Helm, cluster: Plane, chart_of_before: Path
) -> None:
    helm.install(cluster)
    until_served(cluster)
    cluster.client.create(deployment(paused=True))

    helm.upgrade(cluster, "--set", "crds.install=false", chart=chart_of_before)

    assert knows_pauses(cluster.client.read("customresourcedefinitions", "", CRD))
    assert cluster.client.read("modeldeployments", "shop", "fraud")["spec"]["paused"] is True
    assert (
        one(cluster.client.list("deployments"), "Deployment")["metadata"]["labels"]["app.kubernetes.io/version"]
        == before.VERSION
    )
    helm.upgrade(cluster, "--reset-then-reuse-values", "--set", "crds.install=true")
    assert cluster.client.read("modeldeployments", "shop", "fraud")["spec"]["paused"] is True


def test_uninstalling_keeps_the_crd_and_the_objects(helm: Helm, cluster: Plane) -> None:
    helm.install(cluster)
    until_served(cluster)
    made = cluster.client.create(deployment())

    told = helm.uninstall(cluster)

    assert CRD in told, "helm says what it keeps"
    assert operators(cluster) == []
    assert cluster.client.get("clusterroles", "", "tidegate-operator") is None
    assert cluster.client.read("modeldeployments", "shop", "fraud")["metadata"]["uid"] == made["metadata"]["uid"]
    helm.install(cluster)  # and the same release finds them again
    assert cluster.client.read("modeldeployments", "shop", "fraud")["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_crd_that_shall_not_be_kept_goes_with_its_objects(helm: Helm, cluster: Plane) -> None:
    helm.install(cluster, "--set", "crds.keep=false")
    until_served(cluster)
    cluster.client.create(deployment())

    helm.uninstall(cluster)

    cluster.client.until_gone("customresourcedefinitions", "", CRD)
