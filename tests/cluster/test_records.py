"""What is kept of a revision can be marked and disowned like any object, though the server never lets it be changed."""

from __future__ import annotations

import pytest
from tests.cluster.operating import Operator, Site
from tests.control_plane.client import MERGE, STRATEGIC

pytestmark = pytest.mark.slow
PATH = "/apis/serving.tidegate.io/v1alpha1/namespaces/{}/modeldeployments/fraud"
MANAGED_BY = "app.kubernetes.io/managed-by"


@pytest.fixture
def site(operator: Operator, site: Site) -> Site:
    site.simulate("v1")
    site.until_serving("v1")
    return site


@pytest.mark.parametrize("form", [MERGE, STRATEGIC])
def test_a_record_whose_label_somebody_takes_is_marked_again(site: Site, form: str) -> None:
    record = site.children("controllerrevisions")[0]
    name, pods = record["metadata"]["name"], uids(site)

    site.plane.client.patch(
        "controllerrevisions", site.namespace, name, {"metadata": {"labels": {MANAGED_BY: None}}}, form=form
    )

    found = site.plane.client.until(
        "controllerrevisions", site.namespace, name, lambda one: one["metadata"]["labels"].get(MANAGED_BY) == "tidegate"
    )
    assert (found["data"], found["revision"]) == (record["data"], record["revision"])
    assert uids(site) == pods


def test_a_deployment_can_be_deleted_without_its_children(site: Site) -> None:
    """The collector takes their owner away by patches."""
    pods = uids(site)

    site.plane.client.request("DELETE", PATH.format(site.namespace), {"propagationPolicy": "Orphan"})
    site.plane.client.until_gone("modeldeployments", site.namespace, "fraud")

    assert uids(site) == pods
    assert [one["metadata"].get("ownerReferences") for one in site.children("controllerrevisions")] == [None]


def uids(site: Site) -> set[str]:
    return {pod["metadata"]["uid"] for pod in site.servers()}
