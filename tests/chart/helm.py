"""The real `helm`, and the objects that it makes of our chart."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.users import ADMIN

CHART = Path(__file__).parents[2] / "charts/tidegate"
HOME = "tidegate"
Values = dict[str, Any]


class HelmFailed(Exception):
    """helm ended with an error: its words."""


@dataclass(frozen=True, slots=True)
class Helm:
    """The program, with a home of its own."""

    program: Path
    home: Path

    def run(self, *arguments: str | Path, plane: Plane | None = None) -> str:
        """Its output; raises HelmFailed."""
        target = ["--kubeconfig", str(plane.kubeconfig(ADMIN))] if plane else []
        folders = {f"HELM_{name}_HOME": str(self.home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [self.program, *map(str, arguments), *target],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), **folders}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise HelmFailed(done.stderr + done.stdout)
        return done.stdout

    def lint(self, values: Values | None = None) -> str:
        return self.run("lint", CHART, *self._given(values))

    def template(self, values: Values | None = None, chart: Path = CHART) -> list[Object]:
        """What would be applied."""
        told = self.run("template", "tidegate", chart, "--namespace", HOME, *self._given(values))
        return [obj for obj in yaml.safe_load_all(told) if obj]

    def install(
        self, plane: Plane, *more: str, name: str = "tidegate", namespace: str = HOME, chart: Path = CHART
    ) -> str:
        """`helm install`; the notes."""
        return self.run("install", name, chart, "-n", namespace, "--create-namespace", *more, plane=plane)

    def upgrade(self, plane: Plane, *more: str, chart: Path = CHART) -> str:
        return self.run("upgrade", "tidegate", chart, "-n", HOME, *more, plane=plane)

    def uninstall(self, plane: Plane, name: str = "tidegate", namespace: str = HOME) -> str:
        return self.run("uninstall", name, "-n", namespace, plane=plane)

    def _given(self, values: Values | None) -> list[str]:
        if not values:
            return []
        path = self.home / "values.json"
        path.write_text(json.dumps(values))
        return ["--values", str(path)]


def one(objects: list[Object], kind: str, name: str = "") -> Object:
    """The only object of a kind, or of a kind and name."""
    [found] = [obj for obj in objects if obj["kind"] == kind and name in ("", obj["metadata"]["name"])]
    return found


def container(deployment: Object) -> Object:
    found: Object
    [found] = deployment["spec"]["template"]["spec"]["containers"]
    return found
