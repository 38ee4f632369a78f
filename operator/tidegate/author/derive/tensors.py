"""The tensors inside a graph: which there are, what they are on real inputs, and what a graph has to declare for them.

ONNX Runtime itself is asked for types and shapes, because it also knows the operators that are not ONNX' own; which
dimension is the batch shows when requests of several sizes are run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import onnx

from tidegate.author.describe import interface_of
from tidegate.author.graph import real_inputs
from tidegate.author.session import Array, Tensors, open_session, reason_of, rows_of, take
from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.manifest import TensorSpec
from tidegate.errors import Invalid

SIZES = (1, 3)  # rows per request, beside all at once
ALONE = 8  # requests, where each is one row
PROBE = ".probe.onnx"
ORT_TYPES = {
    **{"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16", "tensor(bfloat16)": "BF16"},
    **{"tensor(string)": "BYTES", "tensor(bool)": "BOOL"},
    **{f"tensor({sign}int{bits})": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def tensor_names(model: onnx.ModelProto) -> list[str]:
    """Every tensor that is computed or given, in the order of the graph."""
    made = (name for node in model.graph.node for name in node.output if name)
    return [*(value.name for value in real_inputs(model.graph)), *made]


def require_tensors(model: onnx.ModelProto, names: Sequence[str], where: str) -> None:
    """Refuse a name that the graph does not have, with those that are near."""
    known = tensor_names(model)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.5) or known[-3:]
            raise Invalid(
                f"there is no tensor '{name[:120]}' in it; near are {', '.join(near)[:300]}",
                where=where,
                do=f"tidegate inspect {where} --tensors lists all {len(known)}",
            )


@dataclass(frozen=True, slots=True)
class Seen:
    """Tensors of a model as they were in each of several requests, and what a graph declares for them."""

    requests: tuple[dict[str, Array], ...]
    specs: Mapping[str, TensorSpec]

    def declared(self, names: Sequence[str]) -> list[onnx.ValueInfoProto]:
        """For the inputs or outputs of a graph."""
        return [value_info(self.specs[name]) for name in names]


def look_at(model: onnx.ModelProto, folder: Path, names: Sequence[str], pool: Tensors) -> Seen:
    """Run `model`, whose weights lie in `folder`, on requests made of `pool`, and keep the tensors of these names."""
    session = _exposing(model, folder, names)
    inputs = interface_of(model).inputs
    rows_together = interface_of(model).batched
    requests = list(requests_of(pool, rows_together=rows_together))
    asked = [name for name in names if name not in pool]
    seen = tuple({**request, **_run(session, asked, request)} for request in requests)
    batch = str(inputs[0].shape[0]) if rows_together else ""
    specs = {tensor.name: tensor for tensor in inputs}
    for output in session.get_outputs():
        if output.name in asked:
            specs[output.name] = _spec(output, [request[output.name].shape for request in seen], batch, requests)
    return Seen(seen, specs)


def requests_of(pool: Tensors, *, rows_together: bool) -> Iterator[dict[str, Array]]:
    """Batches of one, three and all; or each row alone where the model takes no batches."""
    total = rows_of(pool)
    if not rows_together:
        yield from (take(pool, row) for row in range(min(total, ALONE)))
        return
    for size in sorted({min(size, total) for size in (*SIZES, total)}):
        yield take(pool, slice(0, size))


def _exposing(model: onnx.ModelProto, folder: Path, names: Sequence[str]) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {value.name for value in (*copy.graph.output, *copy.graph.input)}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    path = folder / PROBE
    path.write_bytes(copy.SerializeToString())
    try:
        return open_session(path)
    finally:
        path.unlink()


def _run(session: Any, names: Sequence[str], inputs: Tensors) -> dict[str, Array]:
    if not names:
        return {}
    try:
        return dict(zip(names, session.run(list(names), dict(inputs)), strict=True))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen types without a common base
        raise ModelInvalid(f"it does not run: {reason_of(error)}", where="the model") from None


def _spec(output: Any, shapes: Sequence[Sequence[int]], batch: str, requests: Sequence[Tensors]) -> TensorSpec:
    kind = ORT_TYPES.get(output.type)
    if kind is None:
        raise Invalid(f"'{output.name}' is a {output.type}: only plain tensors can be cut at", where="the model")
    known = list(output.shape) if len(output.shape) == len(shapes[0]) else [None] * len(shapes[0])
    follows = bool(batch) and all(
        shape[:1] == (rows_of(request),) for shape, request in zip(shapes, requests, strict=True)
    )
    dims = [_size(output.name, axis, size, batch if follows and axis == 0 else "") for axis, size in enumerate(known)]
    return TensorSpec(output.name, kind, tuple(dims))


def _size(name: str, axis: int, known: int | str | None, batch: str) -> int | str:
    if isinstance(known, int):
        return known
    return batch or known or f"{name}_{axis}"


def value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    """The declaration of an input or output."""
    return onnx.helper.make_tensor_value_info(spec.name, ELEMENT_TYPES[spec.element_type].onnx, list(spec.shape))
