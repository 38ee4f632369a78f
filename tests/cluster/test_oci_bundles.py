"""Bundles in a real registry that wants a login: only the pods read the Secret with it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bundle.registry import HTPASSWD, PASSWORD, Registry, docker_config, registry_server
from tests.cluster.operating import Operator, Site, ready, serves
from tests.control_plane.plane import Plane
from tests.local.local_run import bundles

from tidegate.bundle.push import push
from tidegate.bundle.source import Access

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "models", "path": str(tmp_path / "htpasswd")}}
    with registry_server(tmp_path / "registry", auth) as found:
        yield found


def test_a_bundle_comes_out_of_a_registry_and_a_moved_tag_changes_nothing_that_serves(
    operator: Operator, control_plane: Plane, namespace: str, registry: Registry, tmp_path: Path
) -> None:
    site, folder = Site(control_plane, namespace), bundles(tmp_path / "made")
    place = registry.place.replace("127.0.0.1", "localhost")  # manifests name hosts, never addresses
    uri, login = f"oci://{place}/models/digits:stable", docker_config(place)
    access = Access({".dockerconfigjson": login}, allow_loopback=True)
    digest = push(folder / "v1", uri, access=access).digest
    site.plane.client.apply({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(login.encode()).decode()},
    })  # fmt: skip

    site.apply(bundle={"uri": uri, "secretRef": {"name": "login"}})
    site.until_serving("v1", 60)
    push(folder / "v2", uri, access=access, replace=True)
    # Another pod in its place asks the registry for v1, which only the tag of its digest still names.
    [first] = site.servers()
    site.plane.client.delete("pods", namespace, first["metadata"]["name"], grace=0)
    site.until(
        lambda _: [pod for pod in site.servers() if ready(pod) and pod["metadata"]["uid"] != first["metadata"]["uid"]],
        60,
    )
    found = site.until_serving("v1", 60)

    assert (found["status"]["stable"]["digest"], serves(found, "v1")) == (digest, True)
    assert PASSWORD not in str(found) + str(site.events()) + operator.log.read_text()
