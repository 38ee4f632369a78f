"""What a Keras file says of itself before Keras reads it: its version, and layers that hold Python code.

A Lambda layer is pickled bytecode: reading it runs whatever its writer put into it, as with a pickle.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.author.extras import need
from tidegate.author.zips import DAMAGED_ZIP
from tidegate.errors import Failed, Invalid

HDF5 = b"\x89HDF\r\n"
CONFIG_BYTES = 256 << 20
SIDECARS = ("{stem}.json", "{stem}.config.json", "config.json", "model.json")


class LambdaRefused(Failed):
    """A Lambda layer may run any code of whoever wrote it."""

    reason = "LambdaRefused"


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A model's file, the configuration of its layers, and the version of Keras that wrote it ("" if unknown).

    `suffix` is what Keras wants such a file to be called; `architecture` is the file that the configuration came from
    where `path` holds weights only.
    """

    path: Path
    config: Mapping[str, Any]
    suffix: str
    version: str = ""
    architecture: Path | None = None


def read_keras_file(path: Path) -> KerasFile:
    """The parts of `path` that can be read without Keras; raises Invalid for a damaged file, or one of weights only."""
    with path.open("rb") as file:
        hdf5 = file.read(len(HDF5)) == HDF5
    return _read_hdf5(path) if hdf5 else _read_zip(path)


def _read_zip(path: Path) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            config, metadata = (_member(archive, name) for name in ("config.json", "metadata.json"))
    except DAMAGED_ZIP as error:
        raise _damaged(path, error) from None
    return KerasFile(path, config, ".keras", str(metadata.get("keras_version", "")))


def _member(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    with archive.open(name) as file:
        found = json.loads(file.read(CONFIG_BYTES))
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")
    return found


def _read_hdf5(path: Path) -> KerasFile:
    h5py = need("h5py", extra="tensorflow")
    try:
        with h5py.File(path, "r") as file:
            config, version = (_text(file.attrs.get(name)) for name in ("model_config", "keras_version"))
            suffix = ".h5" if config or "layer_names" in file.attrs else ".weights.h5"
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from None
    if config:
        return KerasFile(path, _parsed(config, path), suffix, version)
    architecture = _sidecar(path)
    return KerasFile(path, read_architecture(architecture), suffix, version, architecture)


def _parsed(text: str | bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    if not isinstance(found, dict):
        raise _damaged(path, ValueError("its configuration is no object"))
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _sidecar(path: Path) -> Path:
    stem = path.name.removesuffix(".h5").removesuffix(".hdf5").removesuffix(".weights")
    beside = [path.with_name(pattern.format(stem=stem)) for pattern in SIDECARS]
    found = next((file for file in beside if file.is_file()), None)
    if found is None:
        raise Invalid(
            "it holds weights without the model they belong to",
            where=str(path),
            do=f"put the model's JSON (model.to_json()) beside it as {beside[0].name}",
        )
    return found


def read_architecture(path: Path) -> dict[str, Any]:
    """The configuration that `model.to_json()` wrote; raises Invalid."""
    found = _parsed(path.read_bytes(), path)
    if "class_name" not in found:
        raise Invalid("this is not what model.to_json() writes", where=str(path))
    return found


def _damaged(path: Path, error: Exception) -> Invalid:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return Invalid(
        f"this Keras file is damaged or cut off: {reason}", where=str(path), do="copy it again", reason="ModelInvalid"
    )


def lambda_layers(config: Any) -> Iterator[str]:
    """The names of all Lambda layers in a model's configuration, models inside it included."""
    waiting = [config]  # no recursion: it may be nested more deeply than Python can call
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if value.get("class_name") in ("Lambda", "__lambda__"):
                inner = value.get("config")
                yield str(inner.get("name", "")) if isinstance(inner, Mapping) else ""
            waiting += reversed(list(value.values()))
        elif isinstance(value, list):
            waiting += reversed(value)


def refuse_lambdas(file: KerasFile, *, trusted: bool) -> None:
    """Raise LambdaRefused for a file with Lambda layers, unless the user trusts it."""
    names = [name for name in lambda_layers(file.config) if name]
    if trusted or not any(True for _ in lambda_layers(file.config)):
        return
    raise LambdaRefused(
        f"the layers {', '.join(names)[:200]} are Lambdas: reading them runs whatever code their writer put into them",
        where=str(file.path),
        do="if you made it yourself, say --trust-lambda; better, give the function that builds it: module:function",
    )
