"""An operator that is told its namespaces needs no right outside of them, and as a service account none but its role's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.operating import RIGHTS, Operator, Site, resolves
from tests.control_plane.audit import Mark
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object

pytestmark = pytest.mark.slow
GROUP = "rbac.authorization.k8s.io"


def rules(part: str) -> list[Object]:
    """Of the chart's rights, those for `models` or for the `lease`."""
    found: list[Object] = yaml.safe_load(RIGHTS.read_text())[part]
    return found


def allow(plane: Plane, namespace: str, rules: list[Object], home: str) -> None:
    """A Role and its binding to the service account `operator` of its home."""
    about = {"name": "tidegate-operator", "namespace": namespace}
    plane.client.create({"apiVersion": f"{GROUP}/v1", "kind": "Role", "metadata": about, "rules": rules})
    plane.client.create({
        "apiVersion": f"{GROUP}/v1", "kind": "RoleBinding", "metadata": about,
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "tidegate-operator"},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": home}],
    })  # fmt: skip


@pytest.fixture
def spaces(control_plane: Plane) -> Iterator[dict[str, str]]:
    """Namespaces by what they are here: two that the operator is told, one that it is not, and its home."""
    found = {name: control_plane.new_namespace(name) for name in ("told", "also-told", "untold", "home")}
    yield found
    for name in found.values():
        control_plane.client.delete("namespaces", "", name)


@pytest.fixture
def confined(control_plane: Plane, spaces: dict[str, str], tmp_path: Path) -> Iterator[tuple[Operator, Mark]]:
    """Logged in as a service account, as in a pod; and the log from when it began."""
    home, mark = spaces["home"], control_plane.audit.mark()
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator", "namespace": home}}
    control_plane.client.create(account)
    allow(control_plane, home, rules("lease"), home)
    for name in ("told", "also-told"):
        allow(control_plane, spaces[name], rules("models"), home)
    kubeconfig = control_plane.client.as_token(control_plane.client.token(home, "operator"))
    flags = ("--namespaces", f"{spaces['told']},{spaces['also-told']}", "--lease-namespace", home)
    operator = Operator(
        control_plane, tmp_path, (*flags, "--kubeconfig", str(kubeconfig.kubeconfig(tmp_path / "kubeconfig"))),
        account=(home, "operator"),
    )  # fmt: skip
    yield operator.start().leads(), mark
    operator.close()


def test_an_operator_of_some_namespaces_works_there_and_nowhere_else(
    control_plane: Plane, spaces: dict[str, str], confined: tuple[Operator, Mark]
) -> None:
    operator, mark = confined
    assert control_plane.player
    sites = {name: Site(control_plane, spaces[name]) for name in ("told", "also-told", "untold")}
    for site in sites.values():
        control_plane.player.answer_jobs(site.namespace, resolves())
        site.simulate("v1")

    for name in ("told", "also-told"):
        sites[name].until_serving("v1")
        assert control_plane.client.get("configmaps", spaces[name], "fraud-access"), "it has read the cluster's keys"

    assert sites["untold"].get()["status"] == {"observedGeneration": 0}
    assert operator.page("/readyz") == "caches: ok\n"
    asked = control_plane.audit.since(mark, user=f"system:serviceaccount:{spaces['home']}:operator")
    assert {one.namespace for one in asked} == {spaces[name] for name in ("told", "also-told", "home")}
    assert [one for one in asked if not one.allowed] == []
    assert {one.resource for one in asked if one.namespace == spaces["home"]} == {"leases"}
