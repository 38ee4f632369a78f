"""New weights in the same graph: of a model trained further, or one graph for many customers.

Each tensor is checked by name, shape and type before anything is written; what does not fit is told key by key.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import onnx
from onnx import numpy_helper

from tidegate.author.derive.acts import LABELS, Derived, Given
from tidegate.author.derive.base import Base
from tidegate.author.extras import need
from tidegate.author.graph import WEIGHT_TYPES, initializers
from tidegate.author.session import Array
from tidegate.author.weights import write_split
from tidegate.bundle.numpy_files import read_arrays
from tidegate.errors import Invalid

NAMED = 8  # keys in one message
ZIP = b"PK\x03\x04"
WIDEST = 8  # bytes of a number: one of another type is named with its key
SPARE = 1 << 20  # bytes: keys that the graph does not have are named too


@dataclass(frozen=True, slots=True)
class NewWeights:
    """The tensors in `path`, an .npz or .safetensors file, in place of those of the same names."""

    path: Path

    def apply(self, given: Given) -> Derived:
        """The same graph with other numbers; raises Invalid listing every key that does not fit."""
        base = given.base
        tensors = {tensor.name: tensor for tensor in initializers(base.model)}
        new = read_weights(self.path, SPARE + WIDEST * sum(math.prod(tensor.dims) for tensor in tensors.values()))
        if misfits := list(_misfits(new, tensors)):
            more = f" and {len(misfits) - NAMED} more" if len(misfits) > NAMED else ""
            raise Invalid(
                f"{len(misfits)} of {len(new)} keys do not fit: {'; '.join(misfits[:NAMED])}{more}",
                where=str(self.path),
                do=f"tidegate inspect {base.ref} --tensors lists names, types and shapes",
            )
        for name, array in new.items():
            tensors[name].CopyFrom(numpy_helper.from_array(array, name))
        write_split(base.model, base.scratch, base.scratch)
        return Derived(
            base.model,
            "new-weights",
            (base.digest,),
            data=given.rows(),
            notes=_notes(new, tensors),
            files=_carried(base),
        )


def read_weights(path: Path, most: int) -> dict[str, Array]:
    """Arrays by name, of at most so many bytes; the format is told by content."""
    if not path.is_file():
        raise Invalid("no such file", where=str(path), do="give the weights as .npz or .safetensors")
    with path.open("rb") as file:
        start = file.read(len(ZIP))
    found = _npz(path, most) if start == ZIP else _safetensors(path, most)
    if not found:
        raise Invalid("there are no tensors in it", where=str(path))
    return found


def _npz(path: Path, most: int) -> dict[str, Array]:
    try:
        return read_arrays(path, most)
    except ValueError as error:
        raise Invalid(
            f"cannot be read as npz: {error}",
            where=str(path),
            do="save plain numbers, no Python objects, and only tensors of this graph",
        ) from None


def _safetensors(path: Path, most: int) -> dict[str, Array]:
    if (size := path.stat().st_size) > most:  # nothing in it is packed
        raise Invalid(
            f"it has {size:,} bytes, allowed for this graph are {most:,}",
            where=str(path),
            do="save only tensors of this graph",
        )
    safetensors = need("safetensors.numpy", extra="safetensors")
    need("ml_dtypes", extra="runtime")  # it gives numpy the types that only neural networks have
    try:
        return dict(safetensors.load_file(path))
    except Exception as error:  # noqa: BLE001 - its reader has an exception type of its own per version
        raise Invalid(
            f"this is neither npz nor safetensors: {str(error)[:120]}",
            where=str(path),
            do="save the weights with numpy.savez or safetensors.numpy.save_file",
        ) from None


def _misfits(new: Mapping[str, Array], tensors: Mapping[str, onnx.TensorProto]) -> Iterator[str]:
    for name, array in new.items():
        tensor = tensors.get(name)
        if tensor is None:
            near = get_close_matches(name, tensors, n=1)
            yield f"'{name[:80]}' is no tensor of the graph" + (f" (near: '{near[0]}')" if near else "")
        elif tuple(array.shape) != tuple(tensor.dims):
            yield f"'{name}' is {list(array.shape)}, the graph has {list(tensor.dims)}"
        elif _type_of(array) != tensor.data_type:
            yield f"'{name}' is {array.dtype}, the graph has {_type_name(tensor.data_type).lower()}"


def _type_of(array: Array) -> int:
    try:
        return int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
    except (KeyError, ValueError):
        return onnx.TensorProto.UNDEFINED


def _type_name(number: int) -> str:
    return str(onnx.TensorProto.DataType.Name(number))


def _notes(new: Mapping[str, Array], tensors: Mapping[str, onnx.TensorProto]) -> tuple[str, ...]:
    """Weights that stay are told: half a set of new weights is a model that nobody trained."""
    learnt = [name for name, tensor in tensors.items() if tensor.data_type in WEIGHT_TYPES and tensor.dims]
    kept = [name for name in learnt if name not in new]
    if not kept:
        return ()
    listed = ", ".join(kept[:NAMED]) + (" …" if len(kept) > NAMED else "")
    return (f"{len(kept)} of {len(learnt)} weights stay as they are: {listed}",)


def _carried(base: Base) -> tuple[Path, ...]:
    """The names of the classes hold for the new weights too."""
    return (base.folder / LABELS,) if base.manifest.entry(LABELS) else ()
