"""The real helm, and API servers that know nothing of Tidegate before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chart import before
from tests.chart.helm import Helm
from tests.control_plane import plane as planes
from tests.control_plane import programs
from tests.control_plane.fixtures import api_server, needs_linux, pytest_collection_finish
from tests.control_plane.plane import Plane

__all__ = ["api_server", "pytest_collection_finish"]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(programs.find(programs.HELM), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def bare() -> Iterator[Plane]:
    """An API server without our CRD."""
    needs_linux()
    with planes.bare() as plane:
        yield plane


@pytest.fixture(scope="session")
def installed(helm: Helm) -> Iterator[Plane]:
    """A whole simulated cluster into which one command of helm has brought Tidegate, and nobody else has."""
    needs_linux()
    with planes.whole(lambda plane: install(helm, plane)) as plane:
        yield plane


def install(helm: Helm, plane: Plane) -> None:
    helm.install(plane, "--set", "image.registry=registry.example.com/ml")


@pytest.fixture
def chart_of_before(tmp_path: Path) -> Path:
    return before.chart_of_before(tmp_path)


@pytest.fixture(scope="session")
def monitoring_crds() -> list[Path]:
    """The Prometheus operator's own, out of its Go module."""
    folder = programs.module_folder("prometheus-operator", "github.com/prometheus-operator/prometheus-operator")
    kinds = ("podmonitors", "prometheusrules", "servicemonitors")
    return [folder / f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml" for kind in kinds]
