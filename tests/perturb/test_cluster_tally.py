"""The table of perturbations tells of all families that need no gateway."""

from __future__ import annotations

from pathlib import Path

from .cluster_tally import ELSEWHERE, FAMILIES, table

ROOT = Path(__file__).parents[2]
NEED_A_GATEWAY = {"P21", "P27"}


def test_every_family_is_counted_here_or_tested_elsewhere() -> None:
    assert {*FAMILIES, *ELSEWHERE} - {"random"} == {f"P{number}" for number in range(1, 31)} - NEED_A_GATEWAY
    assert not {*FAMILIES} & {*ELSEWHERE}


def test_what_is_tested_elsewhere_is_named_where_it_is() -> None:
    for about, where in ELSEWHERE.values():
        assert (ROOT / where).is_file()
        assert any(f"{about}: {where}" in line for line in table())
