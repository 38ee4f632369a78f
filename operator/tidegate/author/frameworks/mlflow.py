"""MLflow model folders: the model in it by its own framework, with the run's parameters and metrics.

MLflow itself is not needed: `MLmodel` names the file, and a file store keeps parameters and metrics beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tidegate.author import frameworks
from tidegate.author.frameworks import Converted, Found
from tidegate.author.request import PackRequest
from tidegate.bundle.manifest import NAME
from tidegate.errors import Failed, Invalid

# Flavor -> the keys of MLmodel that may name its file or folder, the first that is there.
FLAVORS = {
    "onnx": ("data",),
    "sklearn": ("pickled_model", "model_data"),
    "xgboost": ("data", "model_data"),
    "lightgbm": ("data", "model_data"),
    "catboost": ("data", "model_data"),
    "keras": ("data",),
    "tensorflow": ("saved_model_dir", "data"),
    "pytorch": ("model_data", "data"),
    "transformers": ("model_binary", "data"),
}
INSIDE = ("model.onnx", "model.keras", "model.h5", "model.pth", "model.pt2", "saved_model.pb")
MAX_BYTES = 1 << 20


def convert(found: Found, request: PackRequest) -> Converted:
    """The model in the folder as ONNX."""
    from tidegate.author.source import load

    assert found.path is not None
    inner = load(model_in(found.path), trust_pickle=request.trust_pickle)
    converted = frameworks.convert(replace(inner, folder=found.folder), request)
    run = _run_of(found.path)
    params = dict(_params(run)) if run else {}
    return replace(
        converted,
        training={**converted.training, **({"params": params} if params else {})},
        metrics={**converted.metrics, **(dict(_metrics(run)) if run else {})},
    )


def model_in(folder: Path) -> Path:
    """The file or folder of the model, as `MLmodel` names it."""
    flavors = _flavors(folder / "MLmodel")
    for flavor, keys in FLAVORS.items():
        if flavor not in flavors:
            continue
        place = next((str(flavors[flavor][key]) for key in keys if flavors[flavor].get(key)), "")
        return _inside(folder, place, flavor)
    raise Failed(
        f"its flavors are {', '.join(flavors)[:100] or 'none'}: there is no model of a known framework in it",
        where=str(folder),
        do="log the model with its framework's flavor, or pack the model itself",
        reason="FormatUnsupported",
    )


def _flavors(path: Path) -> dict[str, dict[str, Any]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Invalid(f"more than {MAX_BYTES} bytes", where=str(path))
        found = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError):
        raise Invalid("it cannot be read as YAML", where=str(path)) from None
    flavors = found.get("flavors") if isinstance(found, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(flavor, dict) for flavor in flavors.values()):
        raise Invalid("it names no flavors", where=str(path), do="point to the folder that mlflow.*.save_model wrote")
    return flavors


def _inside(folder: Path, place: str, flavor: str) -> Path:
    if not place or PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
        raise Invalid(f"the flavor {flavor} names no file inside the folder", where=str(folder / "MLmodel"))
    path = folder / place
    if path.is_dir() and flavor != "transformers":
        named = next((path / name for name in INSIDE if (path / name).is_file()), path)
        path = path if named.name == "saved_model.pb" else named
    if (path / "MLmodel").is_file():
        raise Invalid(f"the flavor {flavor} names an MLflow folder again, not a model", where=str(folder / "MLmodel"))
    if not path.exists():
        raise Invalid("the model that MLmodel names is missing", where=str(path), do="copy the whole folder")
    return path


def _run_of(folder: Path) -> Path | None:
    """The run's folder in a file store: the one whose `artifacts` the model lies in."""
    for parent in folder.resolve().parents:
        if parent.name == "artifacts" and (parent.parent / "params").is_dir():
            return parent.parent
    return None


def _params(run: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(path for path in (run / "params").rglob("*") if path.is_file()):
        yield path.relative_to(run / "params").as_posix(), path.read_text(errors="replace").strip()[:500]


def _metrics(run: Path) -> Iterator[tuple[str, float]]:
    """The last value of each: a file has a line `time value step` per value."""
    for path in sorted(path for path in (run / "metrics").rglob("*") if path.is_file()):
        name = path.relative_to(run / "metrics").as_posix().replace("/", "_")
        try:
            value = float(path.read_text().splitlines()[-1].split()[1])
        except (IndexError, ValueError):
            continue
        if math.isfinite(value) and NAME.fullmatch(name):
            yield name, value
