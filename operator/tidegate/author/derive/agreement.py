"""Whether a derived graph answers like the parts it was made of: compared at several batch sizes, refused when not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tidegate.author.golden import tolerances
from tidegate.author.parity import REFUSED, ParityLost
from tidegate.author.rowwise import ShapesDiffer, compare_rows
from tidegate.author.session import Array, Runner, Tensors


def require_agreement(
    runner: Runner, asked: Iterable[tuple[Tensors, Mapping[str, Array]]], against: str
) -> dict[str, Any]:
    """Run each request and compare with what is expected; for the manifest: rows, those that differ, by how much.

    Raises ParityLost when more rows differ than rounding can explain.
    """
    rules = tolerances(runner.interface, quantized=False)
    rows = mismatched = 0
    worst = 0.0
    for request, expected in asked:
        try:
            compared = compare_rows(expected, runner.run(request), runner.interface.outputs, rules)
        except ShapesDiffer as error:
            raise ParityLost(str(error), where="parity") from None
        wrong = np.logical_or.reduce([output.wrong for output in compared.values()])
        rows, mismatched = rows + len(wrong), mismatched + int(wrong.sum())
        agreeing = (output.distance[~output.wrong] for output in compared.values())
        worst = max(worst, *(float(part.max(initial=0.0)) for part in agreeing))
    if mismatched > REFUSED * rows:
        raise ParityLost(
            f"{mismatched} of {rows} rows differ from {against}",
            where="parity",
            do="cut or join at other tensors: these leave something out that the answer depends on",
        )
    return {"against": against, "rows": rows, "mismatchedRows": mismatched, "worstDifference": f"{worst:.3g}"}
