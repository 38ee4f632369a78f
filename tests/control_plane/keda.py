"""KEDA's own CustomResourceDefinition of ScaledObjects, out of its Go module; KEDA itself does not run here."""

from __future__ import annotations

from pathlib import Path

from tests.control_plane import programs
from tests.control_plane.plane import Plane

MODULE = "github.com/kedacore/keda/v2"


def crd() -> Path:
    """The file; fetched once on a machine."""
    return programs.module_folder("keda", MODULE) / "config/crd/bases/keda.sh_scaledobjects.yaml"


def install(plane: Plane) -> None:
    plane.install(crd())
