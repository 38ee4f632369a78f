"""Explaining rows of data: the model is asked with parts of each row taken away, and every answer is shared out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tidegate.attribution.game import Ask, Baseline, Game, Tensors, row_of, rows_of, usual_row
from tidegate.attribution.methods import SHAPLEY, Shares, Way, evaluations
from tidegate.attribution.players import Array, PictureForm, Players, players_of
from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid

Progress = Callable[[int, int], None]  # rows done, rows in all
NUMBER = 4  # bytes of one in a tensor of shares


@dataclass(frozen=True, slots=True)
class Called:
    """What things are called where the wish was made, for sentences that say what to change."""

    data: str = "--data"
    outputs: str = "--explain-output"
    prefix: str = "--"  # before the names of options

    def option(self, name: str) -> str:
        return self.prefix + name


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How rows are to be explained; called as the options of `tidegate explain`."""

    method: str = SHAPLEY
    rows: int = 20  # the first so many; all of them say what is usual
    rounds: int = 10
    baseline: Baseline = "mean"
    picture: PictureForm = field(default_factory=PictureForm)
    seed: int = 20_240_229
    called: Called = field(default_factory=Called)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an explanation may cost."""

    held: int = 1 << 30  # bytes of attributions, and of what they are computed from
    asked: int | None = None  # rows that the model is asked about; None: as many as it takes
    run_rows: int = 1024  # of one run
    run_bytes: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Material:
    """What is explained: `rows` is a pool, one row of which is what one request takes; `columns` names its columns."""

    interface: Interface
    rows: Tensors
    outputs: tuple[TensorSpec, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """What each player adds, row by row; `each` are in the order of the rows."""

    players: tuple[Players, ...]
    outputs: tuple[TensorSpec, ...]
    shapes: tuple[tuple[int, ...], ...]  # of one row of each output
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

    def arrays(self, *, errors: bool) -> dict[str, Array]:
        """As they are stored and sent; with `errors`, the standard errors too.

        `attribution:OUTPUT:INPUT` is [rows, one row of the output, players as they are laid out].
        """
        shares = np.stack([shares.shares for shares in self.each])
        spread = np.stack([shares.error for shares in self.each])
        stored: dict[str, Array] = {}
        for spec, shape, values in self.values():
            answers = np.stack([one.answer[values] for one in self.each])
            stored[f"answer:{spec.name}"] = answers.reshape(len(shares), *shape)
            stored[f"usual:{spec.name}"] = self.each[0].usual[values].reshape(shape)
            for players, place in self.sides():
                key = f"{spec.name}:{players.name}"
                laid = (len(shares), *shape, *players.shape)
                stored[f"attribution:{key}"] = _laid(shares[:, place, values], laid)
                if errors:
                    stored[f"error:{key}"] = _laid(spread[:, place, values], laid)
        for players in self.players:
            stored[f"players:{players.name}"] = np.array(players.names)
        return stored


def _laid(shares: Array, shape: tuple[int, ...]) -> Array:
    return shares.swapaxes(1, 2).reshape(shape).astype(np.float32)


def explain_rows(
    ask: Ask, way: Way, material: Material, wish: Wish, limits: Limits, progress: Progress | None = None
) -> Explained:
    """Explain the first rows; raises Invalid for what cannot be, and whatever `ask` raises."""
    rows, outputs = material.rows, material.outputs
    total = rows_of(rows)
    _require_rows(total, wish)
    specs = {tensor.name: tensor for tensor in material.interface.inputs if tensor.name in rows}
    players = _players(material, specs, wish)
    count = min(wish.rows, total)
    _require_few(count, players, wish, limits)
    _require_room(count, players, (), wish, limits)  # before anything is computed
    usual = usual_row(rows, specs, wish.baseline)
    game = Game(ask, players, outputs, row_of(rows, 0), usual, limits.run_rows, limits.run_bytes)
    shapes = game.first_shapes()
    _require_room(count, players, shapes, wish, limits)
    each = []
    for number in range(count):
        played = replace(game, row=row_of(rows, number), shapes=shapes)
        each.append(way(played, played.count, wish.rounds, wish.seed + number))
        if progress:
            progress(number + 1, count)
    return Explained(players, outputs, shapes, tuple(each))


def explainable(specs: Sequence[TensorSpec], wanted: Sequence[str], called: Called) -> tuple[TensorSpec, ...]:
    """Those asked for, else all that hold numbers with a fraction: of labels no part can be shared out."""
    numbers = {spec.name: spec for spec in specs if spec.element_type in FLOATS}
    for name in wanted:
        if name not in numbers:
            raise Invalid(
                f"there is no output '{name[:80]}' of numbers with a fraction",
                where=called.outputs,
                do=f"those are {', '.join(numbers)}" if numbers else "this model has none",
            )
    found = tuple(numbers[name] for name in dict.fromkeys(wanted)) or tuple(numbers.values())
    if not found:
        raise Invalid(
            "no output holds numbers with a fraction, and a label cannot be shared out",
            where="the model",
            do="pack it with its probabilities or scores as an output",
        )
    return found


def batch_of_one(interface: Interface) -> bool:
    """Whether a request is a batch of one, whose first dimension says nothing."""
    tensors = (*interface.inputs, *interface.outputs)
    return all(tuple(tensor.shape[:1]) == (1,) for tensor in tensors)


def _players(material: Material, specs: Mapping[str, TensorSpec], wish: Wish) -> tuple[Players, ...]:
    """Of each input, whose rows have the shape of what one request takes."""
    alone = batch_of_one(material.interface)
    found = []
    for name, spec in specs.items():
        shape = material.rows[name].shape[1:]
        players = players_of(spec, shape[1:] if alone else shape, material.columns, wish.picture, wish.called.option)
        found.append(replace(players, row=shape))
    if not any(players.count for players in found):
        raise Invalid("a row has no values, and so no part to explain", where=wish.called.data)
    return tuple(found)


def _require_rows(total: int, wish: Wish) -> None:
    if total == 0:
        raise Invalid("there is no row to explain", where=wish.called.data)
    if total == 1 and wish.baseline == "mean":
        called = wish.called
        raise Invalid(
            "one row is its own mean, so nothing can be taken away from it",
            where=called.data,
            do=f"give more rows, and {called.option('rows')} 1 to explain only the first; "
            f"or {called.option('baseline')} zero",
        )


def _require_few(rows: int, players: Sequence[Players], wish: Wish, limits: Limits) -> None:
    if limits.asked is None:
        return
    count = sum(one.count for one in players)
    each = evaluations(wish.method, count, wish.rounds)
    if rows * each > limits.asked:
        called = wish.called
        raise Invalid(
            f"{rows} rows of {count} parts ask the model about {rows * each} rows, and {limits.asked} are the limit",
            where=called.data,
            do=f"fewer {called.option('rows')} or {called.option('rounds')}, larger patches ({called.option('patch')}) "
            f"or {called.option('method')} occlusion",
        )


def _require_room(
    rows: int, players: Sequence[Players], shapes: Sequence[tuple[int, ...]], wish: Wish, limits: Limits
) -> None:
    values = sum(math.prod(shape) for shape in shapes)
    count = sum(one.count for one in players)
    if count * (rows * values * 2 * NUMBER + 2 * count) > limits.held:  # the second: who takes part, of one row
        called, each = wish.called, f" and {values} values of the answer" if values else ""
        raise Invalid(
            f"{rows} rows with {count} parts{each} each are too many to hold",
            where=called.data,
            do=f"fewer rows ({called.option('rows')}), larger patches ({called.option('patch')}) "
            f"or one output ({called.outputs})",
        )
