"""From a bundle to one that reuses it: opened, changed, compared with its parts, packed like every other bundle."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.author.derive.acts import Act, Derived, Given
from tidegate.author.derive.base import Base, opened_base, write_graph
from tidegate.author.describe import interface_of
from tidegate.author.golden import ROWS_PER_SAMPLE
from tidegate.author.packing import Packed, check_request, pack
from tidegate.author.pool import Hints, PoolMaker
from tidegate.author.request import GoldenRequest, PackRequest
from tidegate.bundle.manifest import Interface, Lineage

GOLDEN_SHARE, GOLDEN_LEAST = 0.005, 256 << 10  # of the parent's bytes; bytes


def derive(ref: str, act: Act, request: PackRequest, *, light: bool = True) -> Packed:
    """Make a bundle at `request.out` of the one at `ref`; without a name, it keeps the parent's.

    Its lineage names the parents and what was done; `parity` in its manifest has what was compared.  `light`: fewer
    golden samples where they would weigh more than what is new.
    """
    request.told("reading the parent")
    with tempfile.TemporaryDirectory(prefix="tidegate-derive-") as scratch, opened_base(ref, Path(scratch)) as base:
        wanted = _wanted(request, base)
        check_request(wanted)
        request.told("deriving")
        derived = act.apply(Given(base, request.data, request.golden.seed))
        filled = _filled(wanted, derived)
        if light:
            filled = replace(filled, golden=affordable(filled.golden, interface_of(derived.model), base))
        packed = pack(write_graph(derived.model, base.scratch), filled)
        fewer = ("golden samples are few, to weigh little beside the parent: --golden-count takes more",)
        told = fewer if filled.golden.count < wanted.golden.count else ()
        return replace(packed, notes=(*derived.notes, *told, *packed.notes))


def affordable(golden: GoldenRequest, interface: Interface, base: Base) -> GoldenRequest:
    """No more samples than weigh little beside the parent: whoever has that one gets everything else from there."""
    row = PoolMaker(interface, Hints(dims=golden.dims), golden.seed).inputs(1, 1)
    room = max(GOLDEN_SHARE * base.manifest.total_bytes, GOLDEN_LEAST)
    rows = room // max(sum(array.nbytes for array in row.values()), 1)
    sizes = itertools.cycle(ROWS_PER_SAMPLE if interface.batched else (1,))
    fit = sum(total <= rows for total in itertools.accumulate(itertools.islice(sizes, golden.count)))
    return replace(golden, count=max(fit, 1))


def _wanted(request: PackRequest, base: Base) -> PackRequest:
    return replace(request, name=request.name or base.manifest.name, license=request.license or base.manifest.license)


def _filled(request: PackRequest, derived: Derived) -> PackRequest:
    reports: Mapping[str, Any] = {**request.reports, **derived.reports}
    named = {path.name for path in request.files}
    return replace(
        request,
        data=derived.data,
        files=(*request.files, *(path for path in derived.files if path.name not in named)),
        lineage=Lineage(derived.parents, derived.action),
        reports=reports,
    )
