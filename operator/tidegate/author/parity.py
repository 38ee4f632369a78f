"""Whether the converted model still says what the original said, at batch sizes the converter never saw.

Conversions go wrong silently: other shapes, rows on the far side of a threshold, a class order turned round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.author.frameworks import Original
from tidegate.author.rowwise import Rows, ShapesDiffer, compare_rows
from tidegate.author.session import Array, Runner, Tensors, batched, request_of, rows_of
from tidegate.bundle.manifest import Interface, TensorSpec, Tolerance
from tidegate.errors import Failed

REFUSED = 0.01  # share of rows that may tip over by rounding to 32 bits; more is a wrong conversion
SIZES = (1, 3)


class ParityLost(Failed):
    """The converted model answers something else than the original."""

    reason = "ParityLost"


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output: per row whether it differs, in a batch of any size, and by how much its worst number does."""

    spec: TensorSpec
    wrong: Array
    distance: Array

    def add(self, rows: Rows, place: slice) -> None:
        """Note the rows of one more request; an output that has no row per input row speaks for all of them."""
        whole = len(rows.wrong) != len(self.wrong[place])
        self.wrong[place] |= rows.wrong.any() if whole else rows.wrong
        self.distance[place] = np.maximum(self.distance[place], rows.distance.max() if whole else rows.distance)

    def document(self) -> dict[str, Any]:
        return {
            "name": self.spec.name,
            "type": self.spec.element_type,
            "shape": list(self.spec.shape),
            "mismatchedRows": int(self.wrong.sum()),
            "worstDifference": f"{self.worst:.3g}",
        }

    @property
    def worst(self) -> float:
        """Among the rows that do not differ."""
        return float(self.distance[~self.wrong].max(initial=0.0))


@dataclass(frozen=True, slots=True)
class Parity:
    """How the two compare, over `rows` rows."""

    framework: str
    rows: int
    outputs: tuple[OutputParity, ...]
    batch_sizes: tuple[int, ...]

    @property
    def mismatched(self) -> int:
        """Rows that differ in any output."""
        return int(np.any([output.wrong for output in self.outputs], axis=0).sum())

    def document(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "against": self.framework,
            "rows": self.rows,
            "mismatchedRows": self.mismatched,
            "worstDifference": f"{max(output.worst for output in self.outputs):.3g}",
            "batchSizes": list(self.batch_sizes),
            "outputs": [output.document() for output in self.outputs],
        }


def compare_with(original: Original, runner: Runner, rules: Sequence[Tolerance], rows: Tensors) -> Parity:
    """Compare on these rows, in batches of one, three and all; raises ParityLost when it is another model."""
    total, places = rows_of(rows), list(_places(runner.interface, rows_of(rows)))
    outputs: dict[str, OutputParity] = {}
    for place in places:
        request = request_of(runner.interface, rows, range(place.start, place.stop))
        for spec, found in _compared(original, runner, rules, request):
            new = OutputParity(spec, np.zeros(total, dtype=bool), np.zeros(total))
            outputs.setdefault(spec.name, new).add(found, place)
    sizes = {place.stop - place.start for place in places}
    parity = Parity(original.framework, total, tuple(outputs.values()), tuple(sorted(sizes)))
    for output in parity.outputs:
        _require_few(output, original.framework)
    return parity


def _places(interface: Interface, total: int) -> Iterator[slice]:
    """The rows of each request: the first few and all; one after the other where the model takes no batches."""
    if batched(interface):
        yield from (slice(0, size) for size in sorted({*(size for size in SIZES if size < total), total}))
    else:
        yield from (slice(row, row + 1) for row in range(total))


def _compared(
    original: Original, runner: Runner, rules: Sequence[Tolerance], request: Tensors
) -> Iterator[tuple[TensorSpec, Rows]]:
    specs = runner.interface.outputs
    try:
        found = compare_rows(original.answers(request), runner.run(request), specs, rules)
    except ShapesDiffer as error:
        raise ParityLost(str(error), where="parity") from None
    yield from ((spec, found[spec.name]) for spec in specs if spec.name in found)


def _require_few(output: OutputParity, framework: str) -> None:
    total, wrong = len(output.wrong), int(output.wrong.sum())
    if wrong <= REFUSED * total:
        return
    row = int(output.distance.argmax())
    raise ParityLost(
        f"output '{output.spec.name}': {wrong} of {total} rows differ from what the {framework} model itself answers, "
        f"row {row} by {output.distance[row]:.3g}",
        where="parity",
        do="the conversion is wrong for this model: report it, or export the model to ONNX yourself",
    )
