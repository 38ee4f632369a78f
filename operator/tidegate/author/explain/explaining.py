"""Explaining rows of data: the model is asked with parts of each row taken away, and every answer is shared out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tidegate.author.checking import here
from tidegate.author.columns import as_rows
from tidegate.author.explain.game import Baseline, Game, row_of, usual_row
from tidegate.author.explain.methods import SHAPLEY, Shares, share_out
from tidegate.author.explain.players import PictureForm, Players, players_of
from tidegate.author.packing import fresh_folder, require_new
from tidegate.author.request import DataSet
from tidegate.author.session import Array, Tensors, open_runner, rows_of
from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.manifest import BundleDir, Interface, TensorSpec, read_bundle_dir
from tidegate.errors import Invalid

Progress = Callable[[int, int], None]  # rows done, rows in all
ARRAYS, PAGE = "attributions.npz", "explanation.html"
MOST_BYTES = 1 << 30  # of attributions, and of what they are computed from


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """An explanation to be written to the folder `out`, of the first `rows` rows of `data`."""

    out: Path
    data: DataSet
    method: str = SHAPLEY
    rows: int = 20
    rounds: int = 10
    outputs: tuple[str, ...] = ()
    baseline: Baseline = "mean"
    picture: PictureForm = field(default_factory=PictureForm)
    seed: int = 20_240_229


@dataclass(frozen=True, slots=True)
class Explanation:
    """What each player adds, row by row; `each` are in the order of the rows."""

    bundle: BundleDir
    request: ExplainRequest
    players: tuple[Players, ...]
    outputs: tuple[TensorSpec, ...]
    shapes: tuple[tuple[int, ...], ...]  # of one row of each output
    rows: Tensors
    each: tuple[Shares, ...]

    def values(self) -> Iterator[tuple[TensorSpec, tuple[int, ...], slice]]:
        """Each output with its shape and its place among the values."""
        first = 0
        for spec, shape in zip(self.outputs, self.shapes, strict=True):
            yield spec, shape, slice(first, first + math.prod(shape))
            first += math.prod(shape)

    def sides(self) -> Iterator[tuple[Players, slice]]:
        """The players of each input, and their place among all."""
        first = 0
        for players in self.players:
            yield players, slice(first, first + players.count)
            first += players.count

    @property
    def unexplained(self) -> float:
        return max(shares.unexplained for shares in self.each)

    def importance(self) -> Array:
        """Per player, over all rows and values: the mean size of what it adds."""
        return np.asarray(np.mean([np.abs(shares.shares).mean(axis=1) for shares in self.each], axis=0))


def explain(ref: str, request: ExplainRequest, progress: Progress | None = None) -> Explanation:
    """Explain rows of the model at `ref` and write attributions.npz and explanation.html into a new folder."""
    require_new(request.out)
    with here(ref) as folder:
        found = _explained(read_bundle_dir(folder), request, progress)
    from tidegate.author.explain.page import render

    with fresh_folder(request.out) as made:
        np.savez_compressed(made / ARRAYS, **arrays(found))  # type: ignore[arg-type]  # taken for its own flag
        (made / PAGE).write_text(render(found), encoding="utf-8")
        os.rename(made, request.out)  # noqa: PTH104 - fails on a full folder, as it should
    return found


def _explained(bundle: BundleDir, request: ExplainRequest, progress: Progress | None) -> Explanation:
    interface = bundle.manifest.interface
    outputs = _outputs(interface.outputs, request.outputs)
    runner = open_runner(bundle.path / bundle.manifest.model.file, interface)
    rows = as_rows(request.data, interface)
    total = rows_of(rows)
    _require_rows(total, request)
    specs = {tensor.name: tensor for tensor in interface.inputs}
    usual = usual_row(rows, specs, request.baseline)
    players = _players(interface, rows, request)
    count = min(request.rows, total)
    shapes = _shapes(Game(runner, players, outputs, row_of(rows, 0), usual), outputs)
    _require_room(count, players, shapes)
    each = []
    for number in range(count):
        game = Game(runner, players, outputs, row_of(rows, number), usual)
        each.append(share_out(request.method, game, game.count, request.rounds, request.seed + number))
        if progress:
            progress(number + 1, count)
    alone = _batch_of_one(interface)
    shown = {name: array[:count, 0] if alone else array[:count] for name, array in rows.items()}
    return Explanation(bundle, request, players, outputs, shapes, shown, tuple(each))


def _players(interface: Interface, rows: Tensors, request: ExplainRequest) -> tuple[Players, ...]:
    """Of each input; `groups` has the shape of what one request takes."""
    named = request.data.columns
    columns = tuple(named) if len(named) > 1 and len(rows) == 1 else ()
    alone = _batch_of_one(interface)
    found = []
    for spec in interface.inputs:
        shape = rows[spec.name].shape[1:]
        players = players_of(spec, shape[1:] if alone else shape, columns, request.picture)
        found.append(replace(players, groups=players.groups.reshape(shape)))
    return tuple(found)


def _batch_of_one(interface: Interface) -> bool:
    """Whether a request is a batch of one, whose first dimension says nothing."""
    tensors = (*interface.inputs, *interface.outputs)
    return all(tuple(tensor.shape[:1]) == (1,) for tensor in tensors)


def _outputs(specs: Sequence[TensorSpec], wanted: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Those asked for, else all that hold numbers with a fraction: of labels no part can be shared out."""
    numbers = {spec.name: spec for spec in specs if spec.element_type in FLOATS}
    for name in wanted:
        if name not in numbers:
            raise Invalid(
                f"there is no output '{name[:80]}' of numbers with a fraction",
                where="--explain-output",
                do=f"those are {', '.join(numbers)}" if numbers else "this model has none",
            )
    found = tuple(numbers[name] for name in wanted) or tuple(numbers.values())
    if not found:
        raise Invalid(
            "no output holds numbers with a fraction, and a label cannot be shared out",
            where="the model",
            do="pack it with its probabilities or scores as an output",
        )
    return found


def _require_rows(total: int, request: ExplainRequest) -> None:
    if total == 1 and request.baseline == "mean":
        raise Invalid(
            "one row is its own mean, so nothing can be taken away from it",
            where=request.data.name,
            do="give more rows, and --rows 1 to explain only the first; or --baseline zero",
        )


def _shapes(game: Game, outputs: Sequence[TensorSpec]) -> tuple[tuple[int, ...], ...]:
    answers = game.answers(np.zeros((1, game.count), dtype=bool))
    return tuple(answers[spec.name].shape[1:] for spec in outputs)


def _require_room(rows: int, players: Sequence[Players], shapes: Sequence[tuple[int, ...]]) -> None:
    values = sum(math.prod(shape) for shape in shapes)
    count = sum(one.count for one in players)
    if count * (rows * values * 8 + 2 * count) > MOST_BYTES:  # the second: who takes part, while a row is explained
        raise Invalid(
            f"{rows} rows with {count} parts and {values} values of the answer each are too many to hold",
            where="--data",
            do="fewer rows (--rows), larger patches (--patch) or one output (--explain-output)",
        )


def arrays(found: Explanation) -> dict[str, Array]:
    """As they are stored: `attribution:OUTPUT:INPUT` is [rows, one row of the output, players as they are laid out]."""
    shares = np.stack([shares.shares for shares in found.each])
    errors = np.stack([shares.error for shares in found.each])
    stored: dict[str, Array] = {}
    for spec, shape, values in found.values():
        stored[f"answer:{spec.name}"] = np.stack([one.answer[values] for one in found.each]).reshape(-1, *shape)
        stored[f"usual:{spec.name}"] = found.each[0].usual[values].reshape(shape)
        for players, place in found.sides():
            key = f"{spec.name}:{players.name}"
            laid = (len(shares), *shape, *players.shape)
            stored[f"attribution:{key}"] = shares[:, place, values].swapaxes(1, 2).reshape(laid).astype(np.float32)
            if found.request.method == SHAPLEY:
                stored[f"error:{key}"] = errors[:, place, values].swapaxes(1, 2).reshape(laid).astype(np.float32)
    for players in found.players:
        stored[f"players:{players.name}"] = np.array(players.names)
    return stored
