"""How far the weights of one bundle are from those of another, tensor by tensor.

Large weights are files named by content, so equal ones are known without reading a byte; of those that changed only so
many are fetched as somebody who asks for a comparison will wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import onnx

from tidegate.author.graph import WEIGHT_TYPES, initializers
from tidegate.author.opened import Opened
from tidegate.author.session import Array
from tidegate.bundle.element_types import BY_ONNX_NUMBER
from tidegate.bundle.manifest import FileEntry

MOST_READ = 256 << 20  # bytes of changed weights
CHANGED, NEW, GONE = "changed", "new", "gone"


@dataclass(frozen=True, slots=True)
class LayerChange:
    """One weight; `relative` is the size of the change by the size of what was there, None where it was not read."""

    name: str
    kind: str
    shape: str
    relative: float | None = None


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight of one bundle; `file` holds it when it does not lie in the graph."""

    opened: Opened
    tensor: onnx.TensorProto
    file: FileEntry | None

    @property
    def shape(self) -> str:
        row = BY_ONNX_NUMBER.get(self.tensor.data_type)
        return f"{row.name if row else '?'} {list(self.tensor.dims)}"

    @property
    def outside(self) -> int:
        """Bytes that would have to be read."""
        return self.file.bytes if self.file else 0

    def same_file(self, other: _Weight) -> bool:
        return self.file is not None and other.file is not None and self.file.sha256 == other.file.sha256

    def values(self) -> Array:
        if self.file is None:
            return np.asarray(onnx.numpy_helper.to_array(self.tensor))
        inside = onnx.TensorProto()
        inside.CopyFrom(self.tensor)
        about = {entry.key: int(entry.value) for entry in inside.external_data if entry.key in ("offset", "length")}
        content, start = self.opened.content(self.file), about.get("offset", 0)
        inside.data_location = onnx.TensorProto.DEFAULT
        del inside.external_data[:]
        inside.raw_data = content[start : start + about.get("length", len(content))]
        return np.asarray(onnx.numpy_helper.to_array(inside))


def layer_changes(before: Opened, after: Opened) -> Iterator[LayerChange]:
    """Every weight that is not the same in both, in the order of the later graph; those that are gone last."""
    old, new = _weights(before), _weights(after)
    left = MOST_READ
    for name, weight in new.items():
        if name not in old:
            yield LayerChange(name, NEW, weight.shape)
            continue
        was = old[name]
        if was.shape != weight.shape:
            yield LayerChange(name, CHANGED, f"{was.shape} -> {weight.shape}")
        elif not was.same_file(weight):
            left -= was.outside + weight.outside
            relative = _relative(was.values(), weight.values()) if left >= 0 else None
            if relative != 0:
                yield LayerChange(name, CHANGED, weight.shape, relative)
    yield from (LayerChange(name, GONE, weight.shape) for name, weight in old.items() if name not in new)


def _weights(opened: Opened) -> dict[str, _Weight]:
    folder = PurePosixPath(opened.manifest.model.file).parent
    found = {}
    for tensor in initializers(opened.graph()):
        if tensor.data_type in WEIGHT_TYPES:
            place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            file = opened.manifest.entry(str(folder / place)) if place else None
            found[tensor.name] = _Weight(opened, tensor, file)
    return found


def _relative(before: Array, after: Array) -> float:
    """The norm of the difference by the norm of what was there."""
    if before.tobytes() == after.tobytes():
        return 0.0
    old, new = before.astype(np.float64), after.astype(np.float64)
    return float(np.linalg.norm(new - old) / (np.linalg.norm(old) or 1.0))
