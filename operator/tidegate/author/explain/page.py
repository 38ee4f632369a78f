"""The explanation as one HTML page: what counts in general, then each row.

Green adds to the answer that was given and red takes away from it; bars also point to different sides and every mark
has a title, so nothing depends on colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from tidegate.attribution.players import Players
from tidegate.author.explain.explaining import Explanation
from tidegate.author.explain.marks import Bar, bars, patches
from tidegate.author.session import Array
from tidegate.bundle.manifest import TensorSpec
from tidegate.page import footer, framed, own

SHOWN_ROWS = 24
GENERAL, OF_ROW = 20, 10  # bars
SHORT_DIGEST = 19


@dataclass(frozen=True, slots=True)
class Answered:
    """One value of one row's answer: the one that is largest, and so what the model says."""

    row: int
    output: TensorSpec
    place: int  # among the values
    index: tuple[int, ...]  # in the output

    @property
    def name(self) -> str:
        """As `probabilities[3]`."""
        inside = ", ".join(map(str, self.index))
        return f"{self.output.name}[{inside}]" if self.index else self.output.name


def render(found: Explanation) -> str:
    """The whole page."""
    manifest = found.bundle.manifest
    title = f"{manifest.name} {manifest.version}"
    body = f"""<h1>{escape(title)}</h1>
<p class="under">{escape(found.bundle.digest[:SHORT_DIGEST])}… · {escape(_how(found))}</p>
<p class="under">{escape(_sum(found))}</p>
<h2>What counts</h2>
{_general(found)}
<h2>Row by row</h2>
{"".join(_row(found, row) for row in range(min(len(found.each), SHOWN_ROWS)))}
{footer("tidegate explain", "All rows and outputs are in attributions.npz.")}"""
    return framed(title, "explanation", body, style=own("tidegate.author.explain", "page.css"))


def _how(found: Explanation) -> str:
    request = found.request
    orders = f", {request.rounds} pairs of orders" if request.method == "shapley" else ""
    return f"{request.method}{orders} · {len(found.each)} rows of {request.data.name} · against the {request.baseline}"


def _sum(found: Explanation) -> str:
    if found.request.method == "occlusion":
        return "What is lost without each part alone: parts that stand in for each other both look small."
    return f"Parts add up to the difference from the usual answer, within {found.unexplained:.2g}."


def _general(found: Explanation) -> str:
    """Over all rows and values: of pictures a map, of everything else the largest."""
    importance = found.importance()
    figures = []
    for players, place in found.sides():
        own = importance[place]
        if players.picture:
            label = f"what counts in {players.name}"
            mean = _mean_picture(found, players)
            drawn = patches(mean, own.reshape(players.shape), label=label, picture=players.picture)
        else:
            drawn = bars([Bar(name, "", value) for name, value in _largest(players.names, own, GENERAL)])
        figures.append(f"<figure><h3>{escape(players.name)}</h3>{drawn}</figure>")
    return "\n".join(figures)


def _mean_picture(found: Explanation, players: Players) -> Array:
    return np.asarray(found.rows[players.name].astype(np.float64).mean(axis=0))


def _largest(names: Sequence[str], values: Array, most: int) -> list[tuple[str, float]]:
    order = np.argsort(-np.abs(values), kind="stable")[:most]
    return [(names[place], float(values[place])) for place in order]


def _row(found: Explanation, row: int) -> str:
    parts = "".join(_answer(found, answered) for answered in _answers(found, row))
    return f'<section class="row"><h3>Row {row}</h3><div class="answers">{parts}</div></section>\n'


def _answers(found: Explanation, row: int) -> Iterator[Answered]:
    """Of each output the largest value: the class that the model says, or the only number there is."""
    for spec, shape, values in found.values():
        place = int(np.argmax(found.each[row].answer[values]))
        index = tuple(int(axis) for axis in np.unravel_index(place, shape)) if np.prod(shape) > 1 else ()
        yield Answered(row, spec, values.start + place, index)


def _answer(found: Explanation, answered: Answered) -> str:
    shares = found.each[answered.row]
    said, usual = shares.answer[answered.place], shares.usual[answered.place]
    drawn = "".join(
        _side(found, answered, players, shares.shares[place, answered.place]) for players, place in found.sides()
    )
    return (
        f"<figure><h4>{escape(answered.name)} = {said:.4g}"
        f'<span class="hint">usually {usual:.4g}</span></h4>{drawn}</figure>'
    )


def _side(found: Explanation, answered: Answered, players: Players, shares: Array) -> str:
    value = found.rows[players.name][answered.row]
    label = f"what adds to {answered.name} in row {answered.row}"
    if players.picture:
        return patches(value, shares.reshape(players.shape), label=label, picture=players.picture)
    seen = _values(value, players)
    largest = _largest(players.names, shares, OF_ROW)
    return bars([Bar(name, seen.get(name, ""), share) for name, share in largest])


def _values(row: Array, players: Players) -> dict[str, str]:
    """What the row holds for each player, where that is one value."""
    if row.size != players.count:
        return {}
    return {name: _written(value) for name, value in zip(players.names, row.reshape(-1).tolist(), strict=True)}


def _written(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]
