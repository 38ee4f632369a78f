"""The examples in a cluster: each is applied as it stands, serves, and begins its next version. Servers are simulated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.operating import Operator, Site, condition, grant, resolves
from tests.control_plane import gateway_api, keda
from tests.control_plane.gateway_api import PlayedGateway
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.glob("*.yaml") if not path.name.startswith("local-"))
MEASURED = {"metrics": {"accuracy": 0.95, "f1": 0.93}}
NEXT = "sha256:" + "b" * 64


@pytest.fixture(scope="module")
def operator(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One with all that an installation can have."""
    grant(control_plane)
    keda.install(control_plane)
    gateway_api.install(control_plane)
    flags = ("--keda", "yes", "--prometheus", "main=http://prometheus.monitoring:9090")
    running = Operator(control_plane, tmp_path_factory.mktemp("operator"), flags).start().leads()
    yield running
    running.close()
    gateway_api.remove(control_plane)


def placed(name: str, namespace: str) -> Object:
    found: Any = yaml.safe_load((FOLDER / name).read_text())
    return {**found, "metadata": {**found["metadata"], "namespace": namespace}}


def next_version(manifest: Object) -> Object:
    bundle = manifest["spec"]["bundle"]
    pinned = {"digest": NEXT} if "digest" in bundle else {}
    return {**manifest, "spec": {**manifest["spec"], "bundle": {**bundle, "uri": bundle["uri"] + "-next", **pinned}}}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_serves_and_begins_its_next_version(
    operator: Operator, control_plane: Plane, namespace: str, name: str
) -> None:
    manifest = placed(name, namespace)
    bundle, site = manifest["spec"]["bundle"], Site(control_plane, namespace, name=manifest["metadata"]["name"])
    version = bundle["uri"].rsplit("/", 1)[1]
    pinned = {"digest": bundle["digest"]} if "digest" in bundle else {}
    after = {"digest": NEXT} if pinned else {}
    assert control_plane.player
    control_plane.player.answer_jobs(
        namespace, resolves(**{version: {**MEASURED, **pinned}, f"{version}-next": {**MEASURED, **after}})
    )

    with PlayedGateway(control_plane, namespace):
        control_plane.client.apply(manifest, manager="a-person")
        site.until(lambda one: condition(one, "Ready") == condition(one, "Promoted") == "True")
        control_plane.client.apply(next_version(manifest), manager="a-person")
        found = site.until(lambda one: (one["status"].get("candidate") or {}).get("version") == f"{version}-next")

    assert condition(found, "Ready") == "True"
    assert "WithoutEffect" not in site.events()
