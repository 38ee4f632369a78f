"""The examples for Argo CD and Flux, as their own resource definitions take them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.control_plane.client import APPLY
from tests.control_plane.plane import Plane
from tests.control_plane.programs import module_folder
from tests.control_plane.resources import resource_of

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples/gitops"
DEFINITIONS = {
    "argocd.yaml": {"github.com/argoproj/argo-cd/v3": ["manifests/crds/application-crd.yaml"]},
    "flux.yaml": {
        "github.com/fluxcd/kustomize-controller": ["config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"],
        "github.com/fluxcd/source-controller": ["config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"],
    },
}


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_an_example_is_taken_by_the_definitions_of_its_tool(example: str, api_server: Plane) -> None:
    for module, files in DEFINITIONS[example].items():
        api_server.install(*(module_folder("gitops", module) / file for file in files))

    for obj in yaml.safe_load_all((EXAMPLES / example).read_text()):
        meta = {**obj["metadata"], "namespace": "default"}
        path = resource_of(obj).path("default", meta["name"])
        query = {"fieldManager": "tests", "dryRun": "All", "fieldValidation": "Strict"}
        taken = api_server.client.request("PATCH", path, {**obj, "metadata": meta}, query=query, form=APPLY)
        assert set(obj["spec"]) <= set(taken["spec"])
