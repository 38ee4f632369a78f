"""Whether the converted model still says what the original said, at batch sizes and lengths the converter never saw.

Conversions go wrong silently: other shapes, rows on the far side of a threshold, a class order turned round, the size
of an example baked into the graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tidegate.author import causes
from tidegate.author.frameworks import Converted, Original
from tidegate.author.pool import DYNAMIC_SIZE, PoolMaker
from tidegate.author.rowwise import Rows, ShapesDiffer, compare_rows
from tidegate.author.session import Array, Runner, Tensors, request_of, rows_of, take
from tidegate.author.tipping import explains
from tidegate.bundle.errors import GoldenInvalid, ModelInvalid
from tidegate.bundle.manifest import Interface, TensorSpec, Tolerance
from tidegate.errors import Failed

SIZES = (1, 3)
MOST = 256  # rows in one request
ROWS = 64  # made up where there is no data
FEWEST = 5  # rows to compare on: more than the larger of SIZES
OTHER_ROWS = 4  # at each other size
OTHER_SIZES = (5, 11, 3, 7, 13)  # of dynamic dimensions; never those that the data, or a made-up row, has


class ParityLost(Failed):
    """The converted model answers something else than the original."""

    reason = "ParityLost"


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output: what `Rows` says of each row, in a batch of any size."""

    spec: TensorSpec
    wrong: Array
    distance: Array
    telling: Array

    @classmethod
    def none_yet(cls, spec: TensorSpec, total: int) -> OutputParity:
        """Before the first of `total` rows is noted."""
        return cls(spec, np.zeros(total, dtype=bool), np.zeros(total), np.zeros(total, dtype=bool))

    def add(self, rows: Rows, place: slice) -> None:
        """Note the rows of one more request; an output that has no row per input row speaks for all of them."""
        whole = len(rows.wrong) != len(self.wrong[place])
        distance = rows.distance.max(initial=0.0) if whole else rows.distance
        self.wrong[place] |= rows.wrong.any() if whole else rows.wrong
        self.distance[place] = np.maximum(self.distance[place], distance)
        self.telling[place] |= not rows.telling.size or rows.telling.any() if whole else rows.telling

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
    """How the two compare, over `rows` rows; `sizes` are those of dynamic dimensions that were tried besides."""

    framework: str
    rows: int
    outputs: tuple[OutputParity, ...]
    batch_sizes: tuple[int, ...]
    sizes: tuple[Mapping[str, int], ...] = ()
    cures: tuple[str, ...] = ()

    @property
    def mismatched(self) -> int:
        """Rows that differ in any output."""
        return int(np.any([output.wrong for output in self.outputs], axis=0).sum())

    def document(self) -> dict[str, Any]:
        """For the manifest."""
        found: dict[str, Any] = {
            "against": self.framework,
            "rows": self.rows,
            "mismatchedRows": self.mismatched,
            "worstDifference": f"{max(output.worst for output in self.outputs):.3g}",
            "batchSizes": list(self.batch_sizes),
            "outputs": [output.document() for output in self.outputs],
        }
        if self.sizes:
            found["sizes"] = [dict(size) for size in self.sizes]
        return {**found, "cures": list(self.cures)} if self.cures else found


@dataclass(frozen=True, slots=True)
class Comparison:
    """A converted model and its original, to be held against each other within these tolerances."""

    converted: Converted
    runner: Runner
    rules: Sequence[Tolerance]

    @property
    def original(self) -> Original:
        assert self.converted.original is not None
        return self.converted.original

    def proved(self, rows: Tensors | None, maker: PoolMaker) -> Parity:
        """Compare on the data, else on made-up rows, then at other sizes; raises ParityLost for another model."""
        given = rows or maker.running(self.runner, ROWS)
        parity = self.on(self._in_batches(given))
        held = [self._held_at(sizes, maker) for sizes in self._other_sizes(given, maker)]
        rows_given = rows_of(given)  # however often they were asked
        return replace(parity, rows=rows_given, sizes=tuple(filter(None, held)), cures=self.converted.cures)

    def _in_batches(self, rows: Tensors) -> Tensors:
        """Few rows repeated, so that one row is not only asked alone."""
        few = self.runner.interface.batched and rows_of(rows) < FEWEST
        return take(rows, np.arange(FEWEST) % rows_of(rows)) if few else rows

    def on(self, rows: Tensors) -> Parity:
        """Compare on these rows, in batches of one, of three, and of as many as a request holds."""
        total, places = rows_of(rows), list(_places(self.runner.interface, rows_of(rows)))
        outputs: dict[str, OutputParity] = {}
        for place in places:
            request = request_of(self.runner.interface, rows, range(place.start, place.stop))
            for spec, found in self._compared(request):
                outputs.setdefault(spec.name, OutputParity.none_yet(spec, total)).add(found, place)
        for output in outputs.values():
            self._require_few(output, rows)
            self._require_telling(output)
        sizes = {place.stop - place.start for place in places}
        return Parity(self.original.framework, total, tuple(outputs.values()), tuple(sorted(sizes)))

    def _compared(self, request: Tensors) -> Iterator[tuple[TensorSpec, Rows]]:
        specs = self.runner.interface.outputs
        expected = self._expected(request)
        try:
            found = compare_rows(expected, self.runner.run(request), specs, self.rules)
        except ShapesDiffer as error:
            raise ParityLost(str(error), where="parity", do=causes.of_shapes(error)) from None
        yield from ((spec, found[spec.name]) for spec in specs if spec.name in found)

    def _expected(self, request: Tensors) -> Mapping[str, Array]:
        try:
            return self.original.answers(request)
        except Exception as error:
            raise Failed(
                f"the {self.original.framework} model itself does not answer: {' '.join(str(error).split())[:300]}",
                where="parity",
                do="give rows that it takes: --data FILE, or sizes of its dimensions: --dim NAME=SIZE",
            ) from error

    def _require_few(self, output: OutputParity, rows: Tensors) -> None:
        total, wrong = len(output.wrong), int(output.wrong.sum())
        if explains(self.converted.model, output.spec.name, wrong, total):
            return
        row, name = int(output.distance.argmax()), self.original.framework
        raise ParityLost(
            f"output '{output.spec.name}': {wrong} of {total} rows differ from what the {name} model itself answers, "
            f"row {row} by {output.distance[row]:.3g}",
            where="parity",
            do=self._advice(output.spec, rows, row),
        )

    def _require_telling(self, output: OutputParity) -> None:
        if not output.telling.any():
            raise Failed(
                f"the {self.original.framework} model itself gives no finite number in output '{output.spec.name}' "
                f"for any of {len(output.telling)} rows: nothing is proved",
                where="parity",
                do="give rows it takes: --data FILE",
            )

    def _advice(self, spec: TensorSpec, rows: Tensors, worst: int) -> str:
        """From the request that the worst row was in."""
        places = _places(self.runner.interface, rows_of(rows))
        *_, place = (place for place in places if place.start <= worst < place.stop)
        request = request_of(self.runner.interface, rows, range(place.start, place.stop))
        expected, found = self._expected(request)[spec.name], self.runner.run(request)[spec.name]
        return causes.of_values(self.converted.model, np.asarray(expected), np.asarray(found))

    def _other_sizes(self, rows: Tensors, maker: PoolMaker) -> Iterator[Sequence[Mapping[str, int]]]:
        """Sizes of dynamic dimensions beside the batch, twice.

        Each time first another one for every name, for a model that does not take that the same for all, and then
        those that the user gave as they are.
        """
        names = sorted(dynamic_names(self.runner.interface))
        seen = {DYNAMIC_SIZE, *(size for array in rows.values() for size in array.shape)}
        sizes = [size for size in OTHER_SIZES if size not in seen]
        for first in range(min(2, len(sizes))) if names else ():
            apart = dict(zip(names, itertools.cycle(sizes[first:] + sizes[:first]), strict=False))
            alike = dict.fromkeys(names, sizes[first])
            free = {name: size for name, size in alike.items() if name not in maker.hints.dims}
            yield [apart, *([alike] if alike != apart else []), *([free] if free and free != alike else [])]

    def _held_at(self, tries: Sequence[Mapping[str, int]], maker: PoolMaker) -> Mapping[str, int]:
        """The first sizes that the original takes; none where it takes none of them."""
        return next((sizes for sizes in tries if self._holds_at(sizes, maker)), {})

    def _holds_at(self, sizes: Mapping[str, int], maker: PoolMaker) -> bool:
        """Whether they agree at these sizes; false where the original itself does not take them."""
        other = replace(maker, hints=replace(maker.hints, dims={**maker.hints.dims, **sizes}))
        try:
            rows = other.running(self.runner, OTHER_ROWS)
        except GoldenInvalid as error:
            if self._original_takes(other.inputs(OTHER_ROWS, 1)):
                raise self._baked_in(sizes, error.what) from None
            return False
        try:
            self.on(rows)
        except (ParityLost, ModelInvalid) as error:
            raise self._baked_in(sizes, error.what) from None
        except Failed:
            return False
        return True

    def _original_takes(self, rows: Tensors) -> bool:
        try:
            self._expected(request_of(self.runner.interface, rows, range(1)))
        except Failed:
            return False
        return True

    def _baked_in(self, sizes: Mapping[str, int], what: str) -> ParityLost:
        told = ", ".join(f"{name}={size}" for name, size in sizes.items())
        return ParityLost(f"at {told}, {what}", where="parity", do=causes.BAKED_IN)


def dynamic_names(interface: Interface) -> set[str]:
    """The dynamic dimensions of the inputs, without the one that holds the batch."""
    names = {size for tensor in interface.inputs for size in tensor.shape if isinstance(size, str)}
    return names - {tensor.shape[0] for tensor in interface.inputs if tensor.shape and interface.batched}


def _places(interface: Interface, total: int) -> Iterator[slice]:
    """The rows of each request: the first few, then all; one after the other where the model takes no batches."""
    if interface.batched:
        yield from (slice(0, size) for size in SIZES if size < total)
        yield from (slice(start, min(start + MOST, total)) for start in range(0, total, MOST))
    else:
        yield from (slice(row, row + 1) for row in range(total))
