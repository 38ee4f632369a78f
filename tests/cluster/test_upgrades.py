"""A new operator, with another image and other words for the same pods, restarts nothing and writes nothing.

The next build of the operator is this one, started by a few lines that change what it renders: processes of the tests
cannot hold two builds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.operating import IMAGE, Operator, Site, fact, grant, serves, weight
from tests.control_plane.audit import Mark, Request
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.statuses import pulled
from tests.control_plane.users import OPERATOR

pytestmark = pytest.mark.slow
MODELS = 50
NEXT_IMAGE = "registry.example.com/tidegate-runtime:next"
REVISION = "serving.tidegate.io/revision"  # the label of servers; pods of Jobs have none
MARK = "example.com/rendered-by"
NEXT_BUILD = f"""
from tidegate.plan.manifests import children

render = children.pod_template

def rendered(*what):
    template = render(*what)
    template["metadata"].setdefault("annotations", {{}})["{MARK}"] = "the next build"
    template["spec"]["enableServiceLinks"] = True
    return template

children.pod_template = rendered
from tidegate.cli.main import main
main()
"""
NEXT = {"flags": ("--runtime-image", NEXT_IMAGE), "program": (sys.executable, "-c", NEXT_BUILD)}
HELD = {"steps": [{"weight": 50, "hold": "manual"}]}
AT_ONCE: dict[str, list[Object]] = {"steps": []}


@pytest.fixture
def operators(control_plane: Plane, tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """The one that runs, and the one that will follow it."""
    grant(control_plane)
    old = Operator(control_plane, tmp_path / "old")
    new = Operator(control_plane, tmp_path / "new", **NEXT)  # type: ignore[arg-type]
    yield old.start().leads(), new
    for one in (old, new):
        if one.runs:
            one.stop()


def upgraded(operators: tuple[Operator, Operator], site: Site, count: int) -> tuple[Mark, list[Request]]:
    """Replace the old one, and wait until the new one has looked at everything; what it wrote here meanwhile."""
    old, new = operators
    assert old.stop() == 0
    mark = old.plane.audit.mark()
    new.start().leads()
    new.until(lambda: new.reconciles() >= count, "it has looked at everything")
    new.until(lambda: new.figures()["tidegate_queue_depth"] == 0, "nothing waits")
    return mark, changes(new, site, mark)


def changes(operator: Operator, site: Site, mark: Mark) -> list[Request]:
    """In this namespace: those of earlier tests may still be on their way out."""
    written = operator.plane.audit.writes(mark, user=OPERATOR.name)
    return [one for one in written if one.namespace == site.namespace]


def uids(pods: list[Object]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


def images(pods: list[Object]) -> set[str]:
    return {container["image"] for pod in pods for container in pod["spec"]["containers"]}


def all_serve(site: Site) -> bool:
    """And their figures are written, their autoscalers known to be blind: nothing is left that a minute would write."""
    found = site.plane.client.list("modeldeployments", site.namespace)
    return len(found) == MODELS and all(map(at_rest, found))


def at_rest(model: Object) -> bool:
    status = model["status"] if serves(model, "v1") else {}
    blind = fact(model, "Degraded").get("reason") == "LoadUnknown"
    return bool(status) and status["stable"]["readyReplicas"] == 2 and "rollout" not in status and blind


def test_an_upgrade_of_the_operator_restarts_none_of_fifty_models(
    operators: tuple[Operator, Operator], site: Site
) -> None:
    old, new = operators
    models = [Site(site.plane, site.namespace, name=f"model-{number}") for number in range(MODELS)]
    for model in models:
        model.simulate("v1", scaling={"minReplicas": 2, "maxReplicas": 4})
    old.until(lambda: all_serve(site), "all of them serve", 180)
    pods = site.plane.client.list("pods", site.namespace, REVISION)
    assert (len(pods), images(pods)) == (2 * MODELS, {pulled(IMAGE)})

    mark, written = upgraded(operators, site, MODELS)

    assert written == []
    assert uids(site.plane.client.list("pods", site.namespace, REVISION)) == uids(pods)

    models[0].simulate("v2", scaling={"minReplicas": 2, "maxReplicas": 4}, rollout=AT_ONCE)
    models[0].until_serving("v2")
    new.until(lambda: len(models[0].servers()) == 2, "the old servers go")
    assert images(models[0].servers()) == {pulled(NEXT_IMAGE)}
    assert all(MARK in pod["metadata"]["annotations"] for pod in models[0].servers())
    assert [model for model in models[1:] if uids(model.servers()) - uids(pods)] == []
    assert {one.name.rpartition("-")[0] for one in changes(new, site, mark) if one.resource == "deployments"} == {
        "model-0"
    }


def test_an_upgrade_in_mid_rollout_goes_on_with_the_same_servers(
    operators: tuple[Operator, Operator], site: Site
) -> None:
    _, new = operators
    site.simulate("v1")
    site.until_serving("v1")
    site.simulate("v2", rollout=HELD)
    held = site.until(lambda one: weight(one) == 50 and one["status"]["candidate"]["readyReplicas"] == 1)
    pods = uids(site.servers())

    upgraded(operators, site, 1)
    assert uids(site.servers()) == pods
    site.command("promote-full", f"{held['status']['candidate']['revision']}@2026-01-01T00:00:00Z")
    site.until_serving("v2")

    new.until(lambda: len(site.servers()) == 1, "the old servers go")
    assert uids(site.servers()) < pods
    assert not any(MARK in pod["metadata"].get("annotations", {}) for pod in site.servers())
