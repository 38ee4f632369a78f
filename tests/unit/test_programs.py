"""In which order the programs of the tests are built."""

from __future__ import annotations

from tests.control_plane import programs
from tests.control_plane.programs import Program, lanes


def lane_of(program: Program) -> list[Program]:
    return next(lane for lane in lanes(programs.NODE) if program in lane)


def test_what_imports_the_same_kubernetes_is_built_one_after_another() -> None:
    assert lane_of(programs.KUBELET) == lane_of(programs.API_SERVER) == lane_of(programs.METRICS_SERVER)


def test_what_imports_another_or_none_is_built_beside_it() -> None:
    assert lane_of(programs.CONTOUR) == [programs.CONTOUR]
    assert lane_of(programs.ETCD) == [programs.ETCD]


def test_every_program_is_built_once_and_the_longest_lane_begins_first() -> None:
    found = lanes(programs.NODE)

    assert sorted(one.name for lane in found for one in lane) == sorted(one.name for one in programs.NODE)
    assert found[0] == lane_of(programs.API_SERVER)
