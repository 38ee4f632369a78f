"""Inputs to try a model on: made up, seeded, and shaped by what the model itself or the given data shows.

No real row is ever copied: of the data only each column's range is used.  Golden samples are chosen from this pool,
so it must hold rows of many sizes; a model sees the difference a damage makes only where its units are awake.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from tidegate.author.graph import nodes
from tidegate.author.lookups import table_keys, table_sizes
from tidegate.author.session import Array, Runner, as_type
from tidegate.bundle.errors import GoldenInvalid, ModelInvalid
from tidegate.bundle.manifest import Interface, TensorSpec

POOL_BYTES = 32 << 20
ROWS_BY_WEIGHTS = ((1_000_000, 256), (50_000_000, 32))  # (weights, rows): larger models are run less often
FEWEST_ROWS = 16
DYNAMIC_SIZE = 8
PICKS, PASSES = ("Gather", "ArrayFeatureExtractor"), ("Identity", "Reshape", "Squeeze", "Cast")
TEXTS = 256
INTEGER_TOPS = (1000, 100, 10, 2, 1)  # an embedding of 10 rows refuses the index 11: smaller ones are tried in turn


@dataclass(frozen=True, slots=True)
class Hints:
    """What is known about good inputs: per input the ends of each column or its categories, and words of any text."""

    ranges: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    categories: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    words: Sequence[str] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    tops: Mapping[str, int] = field(default_factory=dict)  # per input of integers: they are below this
    keys: Mapping[str, Sequence[int]] = field(default_factory=dict)  # per input of integers: they are some of these


def hints_from_graph(model: onnx.ModelProto) -> Hints:
    """Ranges from the thresholds of trees that read an input directly; words and integers from what looks them up."""
    inputs = {value.name for value in model.graph.input}
    ranges = {}
    words: dict[str, None] = {}
    for node in nodes(model):
        if node.op_type.startswith("TreeEnsemble") and node.input[0] in inputs and (found := _thresholds(node)):
            ranges[node.input[0]] = found
        for attribute in node.attribute:
            words.update(dict.fromkeys(text.decode("utf-8", "replace") for text in attribute.strings[:TEXTS]))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.STRING:
            words.update(dict.fromkeys(text.decode("utf-8", "replace") for text in tensor.string_data[:TEXTS]))
    known, keys = tuple(list(words)[: 4 * TEXTS]), table_keys(model.graph)
    return Hints(ranges, _categories(model.graph), known, tops=table_sizes(model.graph), keys=keys)


def _categories(graph: onnx.GraphProto) -> dict[str, list[list[str]]]:
    """The texts that encoders know, by the input and column that each reads."""
    picks = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.dims == [1]}
    origin = {value.name: (value.name, 0) for value in graph.input}
    found: dict[str, dict[int, list[str]]] = {}
    for node in graph.node:
        if not node.input or node.input[0] not in origin:
            continue
        name, column = origin[node.input[0]]
        if node.op_type in PICKS and node.input[1] in picks:
            column = int(picks[node.input[1]][0])
        if node.op_type in (*PICKS, *PASSES):
            origin[node.output[0]] = (name, column)
        for attribute in node.attribute:
            if attribute.name == "cats_strings":
                found.setdefault(name, {})[column] = [text.decode("utf-8", "replace") for text in attribute.strings]
    whole = {name: columns for name, columns in found.items() if sorted(columns) == list(range(len(columns)))}
    return {name: [columns[number] for number in range(len(columns))] for name, columns in whole.items()}


def _thresholds(node: onnx.NodeProto) -> tuple[Array, Array] | None:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if "nodes_featureids" not in attributes or "nodes_values" not in attributes:
        return None
    features = np.asarray(attributes["nodes_featureids"].ints)
    values = np.asarray(attributes["nodes_values"].floats)
    modes = np.asarray([mode != b"LEAF" for mode in attributes["nodes_modes"].strings])
    features, values = features[modes], values[modes]
    if not features.size:
        return None
    low, high = np.zeros(features.max() + 1), np.ones(features.max() + 1)
    for feature in np.unique(features):
        seen = values[features == feature]
        room = 0.5 * (np.ptp(seen) or abs(seen[0]) or 1.0)
        low[feature], high[feature] = seen.min() - room, seen.max() + room
    return low, high


def hints_from_columns(columns: Mapping[str, Array]) -> Mapping[str, tuple[Array, Array]]:
    """The range of each column of given data, without its outermost percents, and without its missing values."""
    return {name: _ends(array) for name, array in columns.items() if array.dtype.kind in "iuf" and array.size}


def _ends(array: Array) -> tuple[Array, Array]:
    if np.isfinite(array).all():
        return np.percentile(array, 1, axis=0), np.percentile(array, 99, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of gaps alone: any number will do
        low, high = np.nanpercentile(np.where(np.isfinite(array), array, np.nan), (1, 99), axis=0)
    return np.nan_to_num(low, nan=0.0), np.nan_to_num(high, nan=1.0)


def categories_from_columns(columns: Mapping[str, Array], words: Sequence[str]) -> dict[str, list[list[str]]]:
    """Per column of given texts those that the model itself holds as a word: then nothing of the data is published."""
    known = set(words)
    found = {}
    for name, array in columns.items():
        if array.dtype.kind != "O":
            continue
        columns_of = array.reshape(len(array), -1).T.tolist()
        if all(2 * sum(text in known for text in column) > len(column) for column in columns_of):
            found[name] = [sorted(known & set(column)) for column in columns_of]
    return found


def pool_rows(weights: int, interface: Interface) -> int:
    """How many inputs to try; depends on sizes only, never on the clock, so that packing is reproducible."""
    by_weights = next((rows for most, rows in ROWS_BY_WEIGHTS if weights <= most), FEWEST_ROWS)
    row_bytes = sum(8 * int(np.prod(_shape(tensor, {})[1:] or [1])) for tensor in interface.inputs)
    return max(1, min(by_weights, POOL_BYTES // max(row_bytes, 1)))


@dataclass(frozen=True, slots=True)
class PoolMaker:
    """Makes inputs for one interface."""

    interface: Interface
    hints: Hints
    seed: int

    def inputs(self, rows: int, integer_top: int) -> dict[str, Array]:
        """`rows` requests as one batch; integers below `integer_top`, unless the graph tells how many there are."""
        random = np.random.default_rng(self.seed)
        tempers = _tempers(random, rows)
        return {
            tensor.name: self._tensor(tensor, (random, tempers), rows, integer_top)
            for tensor in self.interface.inputs
            if not tensor.optional
        }

    def running(self, runner: Runner, rows: int) -> dict[str, Array]:
        """Inputs that the model accepts; raises GoldenInvalid when it refuses all of them."""
        refusal = ""
        for top in INTEGER_TOPS:
            inputs = self.inputs(rows, top)
            try:
                runner.run_pool(inputs)
            except ModelInvalid as error:
                refusal = error.what
                continue
            return inputs
        raise GoldenInvalid(
            f"the model refuses generated inputs ({refusal})",
            where="golden samples",
            do="give real inputs: --golden FILE.npz, or sizes of its dimensions: --dim NAME=SIZE",
        )

    def _tensor(
        self, tensor: TensorSpec, chance: tuple[np.random.Generator, Array], rows: int, integer_top: int
    ) -> Array:
        random, tempers = chance
        shape = _shape(tensor, self.hints.dims)
        shape = (rows, *shape[1:]) if self.interface.batched else (rows, *shape)
        kind = tensor.element_type
        if kind == "BYTES":
            return self._texts(tensor.name, random, shape)
        if kind == "BOOL":
            return as_type(random.integers(0, 2, shape), kind)
        if kind.startswith(("INT", "UINT")):
            return as_type(self._integers(tensor.name, random, shape, integer_top), kind)
        return as_type(self._numbers(tensor.name, random, shape, tempers), kind)

    def _integers(self, name: str, random: np.random.Generator, shape: tuple[int, ...], top: int) -> Array:
        if (keys := self.hints.keys.get(name)) and name not in self.hints.tops:
            return random.choice(np.array(keys, np.int64), shape)
        return random.integers(0, self.hints.tops.get(name, top), shape)

    def _texts(self, name: str, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        if (columns := self.hints.categories.get(name)) and len(columns) in (1, shape[-1]):
            drawn = [random.choice(words, size=shape[:-1]) for words in (list(columns) * shape[-1])[: shape[-1]]]
            return as_type(np.stack(drawn, axis=-1), "BYTES")
        words = [word for word in self.hints.words if word.strip()] or ["tide", "gate", "model", "sample", ""]
        count = int(np.prod(shape))
        single = random.integers(0, 2, count) == 0  # a category is one word, a text is several
        texts = [
            " ".join(random.choice(words, size=1 if one else random.integers(2, 9)).tolist()) for one in single.tolist()
        ]
        return as_type(np.array(texts, dtype=object).reshape(shape), "BYTES")

    def _numbers(self, name: str, random: np.random.Generator, shape: tuple[int, ...], tempers: Array) -> Array:
        """Values within the known range of each column, else normal ones; some rows faint, some sparse, some strong."""
        spread = (len(shape) - 1) * (1,)
        strong = np.resize(tempers[0], shape[0]).reshape(-1, *spread)
        dense = np.resize(tempers[1], shape[0]).reshape(-1, *spread)
        kept = random.random(shape) < dense
        if (known := self._range(name, shape[1:])) is not None:
            low, high = known
            middle = (low + high) / 2
            drawn = middle + strong * (random.uniform(low, high, shape) - middle)
            return np.where(kept, drawn, low)
        drawn = np.where(random.integers(0, 2, shape) == 0, random.standard_normal(shape), random.random(shape))
        return np.where(kept, 2 * strong * drawn, 0.0)

    def _range(self, name: str, columns: tuple[int, ...]) -> tuple[Array, Array] | None:
        known = self.hints.ranges.get(name)
        rank = known[0].ndim if known else 0
        if known is None or not 0 < rank <= len(columns) or len(known[0]) > columns[-rank]:
            return None
        missing = columns[-rank] - len(known[0])  # columns that no tree looks at
        low, high = (
            np.concatenate([end, np.full((missing, *end.shape[1:]), fill)])
            for end, fill in zip(known, (0, 1), strict=True)
        )
        return (low, high) if low.shape == columns[-rank:] else None


def _tempers(random: np.random.Generator, rows: int) -> Array:
    return np.stack([random.choice([0.1, 0.3, 0.6, 1.0], rows), random.choice([0.15, 0.4, 0.7, 1.0], rows)])


def _shape(tensor: TensorSpec, dims: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dims.get(size, DYNAMIC_SIZE) if isinstance(size, str) else size for size in tensor.shape)
