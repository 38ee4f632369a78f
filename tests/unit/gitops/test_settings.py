"""The settings of Argo CD hold the scripts that are tested, in the form in which Argo CD reads them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tidegate.api.crd import object_schema

from .argocd import ACTIONS, DISCOVERY, HEALTH, SCRIPTS

ROOT = Path(__file__).resolve().parents[3]
KIND = "serving.tidegate.io_ModelDeployment"


def settings() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((SCRIPTS / "values.yaml").read_text())["configs"]["cm"]
    return found


def test_the_health_is_the_one_of_the_file() -> None:
    assert settings()[f"resource.customizations.health.{KIND}"] == (SCRIPTS / HEALTH).read_text(), "run `make argocd`"


def test_the_actions_are_those_of_the_files() -> None:
    actions = yaml.safe_load(settings()[f"resource.customizations.actions.{KIND}"])

    assert actions["discovery.lua"] == (SCRIPTS / DISCOVERY).read_text(), "run `make argocd`"
    assert {one["name"]: one["action.lua"] for one in actions["definitions"]} == {
        action: (SCRIPTS / f"actions/{action}/action.lua").read_text() for action in ACTIONS
    }, "run `make argocd`"


def test_the_command_of_the_page_makes_a_patch_of_the_same_settings(tmp_path: Path) -> None:
    [command] = re.findall(r"^sed .*$", (ROOT / "docs/argocd.md").read_text(), re.M)
    command = command.replace("charts/", f"{ROOT}/charts/")

    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)

    assert yaml.safe_load((tmp_path / "argocd-cm.yaml").read_text()) == {"data": settings()}


def test_the_page_tells_of_every_action() -> None:
    page = (ROOT / "docs/argocd.md").read_text()
    told = {name for row in re.findall(r"^\| (`[a-z`, -]+) \|", page, re.M) for name in re.findall(r"`([a-z-]+)`", row)}

    assert told == set(ACTIONS)


def defaults_in_lists(schema: dict[str, Any], inside: bool = False) -> Iterator[str]:
    """Names of fields that the API server fills into items of lists."""
    for name, part in schema.get("properties", {}).items():
        if inside and "default" in part:
            yield name
        yield from defaults_in_lists(part, inside)
    yield from defaults_in_lists(schema["items"], True) if "items" in schema else ()


def test_the_page_names_every_default_that_a_merge_of_three_stumbles_over() -> None:
    [told] = re.findall(r"\*items of lists\*\.(.*?)\n\n", (ROOT / "docs/argocd.md").read_text(), re.S)

    fields = set(defaults_in_lists(object_schema()["properties"]["spec"]))
    assert fields
    assert [field for field in fields if f"`{field}`" not in told] == []
