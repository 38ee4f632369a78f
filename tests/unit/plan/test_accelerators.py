"""What is said of accelerators: how many, where, and why not these."""

from __future__ import annotations

import pytest

from tidegate.api.runtime import Accelerator
from tidegate.plan.accelerators import Node, Nodes, bound, remedy, shortage

GPU, PAIR = Accelerator(), Accelerator(count=2)
SLICE = Accelerator(resource="nvidia.com/mig-1g.5gb")


def node(name: str, gpus: int, taken: int | None = 0, closed: str = "") -> Node:
    return Node(name, {"nvidia.com/gpu": gpus}, closed, None if taken is None else {"nvidia.com/gpu": taken})


CASES: tuple[tuple[Accelerator, int, Nodes, str], ...] = (
    (GPU, 1, [node("a", 2, 2)], "1 server waits for 1 nvidia.com/gpu, 0 of 2 free on 1 node"),
    (GPU, 3, [node("a", 2, 2), node("b", 4, 3)], "3 servers wait for 1 nvidia.com/gpu each, 1 of 6 free on 2 nodes"),
    (GPU, 1, [node("a", 1, 3), node("b", 2, 1)], "1 server waits for 1 nvidia.com/gpu, 1 of 3 free on 2 nodes"),
    (GPU, 1, [node("a", 2, None), node("b", 0)], "1 server waits for 1 nvidia.com/gpu, 2 in all on 1 node"),
    (
        GPU, 1, [node("a", 2, 2), node("b", 2, 0, "cordoned"), node("c", 2, 0, "not ready")],
        "1 server waits for 1 nvidia.com/gpu, 0 of 2 free on 1 node, 1 more cordoned, 1 more not ready",
    ),
    (
        PAIR, 1, [node("a", 2, 1), node("b", 2, 1)],
        "1 server waits for 2 nvidia.com/gpu, 2 of 4 free on 2 nodes, at most 1 on one",
    ),
    (PAIR, 1, [node("a", 2, 1)], "1 server waits for 2 nvidia.com/gpu, 1 of 2 free on 1 node"),
    (
        GPU, 1, [node("a", 2, 0, "cordoned")],
        "1 server waits for 1 nvidia.com/gpu, 0 of 0 free on 0 nodes, 1 more cordoned",
    ),
    (GPU, 2, None, "2 servers wait for 1 nvidia.com/gpu each"),
    (GPU, 1, [], "no node has nvidia.com/gpu"),
    (
        Accelerator(resource="nvidia.com/mig-1g.5bg"), 1,
        [Node("a", {"nvidia.com/mig-1g.5gb": 7, "nvidia.com/gpu": 0, "example.com/fpga": 1})],
        "no node has nvidia.com/mig-1g.5bg, there is nvidia.com/mig-1g.5gb",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("wanted", "waiting", "nodes", "said"), CASES)
def test_a_shortage_is_told_in_counts(wanted: Accelerator, waiting: int, nodes: Nodes, said: str) -> None:
    assert shortage(wanted, waiting, nodes) == said


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (None, "free or add some, or look at nodeSelector and tolerations"),
        ([node("a", 1)], "free or add some, or look at nodeSelector and tolerations"),
        ([node("a", 0)], "correct runtime.accelerator.resource, or look at its device plugin"),
    ],
)
def test_what_to_do_depends_on_whether_there_are_any_at_all(nodes: Nodes, said: str) -> None:
    assert remedy(GPU, nodes) == said


@pytest.mark.parametrize(
    ("wanted", "nodes", "why"),
    [
        (GPU, [node("a", 1, 1), node("b", 1, 1)], ""),
        (GPU, [node("a", 1), node("b", 1, 1, "cordoned")], "on b, which is cordoned"),
        (GPU, [node("a", 0), node("b", 1)], "on a, which has 0 nvidia.com/gpu now"),
        (PAIR, [node("a", 1), node("b", 2)], "on a, which has 1 nvidia.com/gpu now"),
        (GPU, [node("a", 2, 2), node("b", 2, 3)], "on b, which has 2 nvidia.com/gpu now, and 3 are held"),
        (PAIR, [node("a", 4, 4), node("b", 3, 4)], "on b, which has 3 nvidia.com/gpu now, and 4 are held"),
        (GPU, [node("a", 1, None), node("b", 1, None)], ""),
        (SLICE, [node("a", 1), node("b", 2)], "on a, which has 0 nvidia.com/mig-1g.5gb now"),
        (GPU, [node("b", 2)], "on a, which is gone"),
        (GPU, None, ""),
    ],
)
def test_what_servers_hold_is_lost_with_them_where_none_could_start_again(
    wanted: Accelerator, nodes: Nodes, why: str
) -> None:
    said = bound(wanted, ["b", "a"], nodes)

    assert said == (f"no server is stopped, none could start again {why}" if why else "")
