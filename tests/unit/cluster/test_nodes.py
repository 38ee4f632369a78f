"""What nodes have of accelerators: how they are read, how rarely, and when not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.unit.plan.world import bundle

from tidegate.api.runtime import Accelerator, Runtime
from tidegate.api.status import ModelDeploymentStatus, RolloutStatus
from tidegate.cluster.api import Object, Objects
from tidegate.cluster.errors import ApiDown, ClusterError, Forbidden
from tidegate.cluster.nodes import NODE, NodeReader, Sight, asked_for, in_question, lack, node_of
from tidegate.plan.accelerators import Node
from tidegate.plan.manifests.identity import Kind
from tidegate.plan.observed import Failure, FailureClass, Resolution, RevisionRecord

from .pods import pod

GPU = "nvidia.com/gpu"
READY = [{"type": "Ready", "status": "True"}]
ASKED = frozenset({GPU})


def live_node(name: str = "a", *, conditions: Any = READY, spec: Object | None = None, **allocatable: str) -> Object:
    found = {"cpu": "4", "memory": "1Gi", **{f"nvidia.com/{key}": count for key, count in allocatable.items()}}
    return {
        "metadata": {"name": name}, "spec": spec or {},
        "status": {"allocatable": found, "conditions": conditions},
    }  # fmt: skip


def asking(count: int, phase: str = "Running", **spec: Any) -> Object:
    container = {"resources": {"limits": {GPU: str(count), "memory": "1Gi"}}}
    return {"spec": {"containers": [container], **spec}, "status": {"phase": phase}}


class Server:
    """Pages of nodes and pods; `asked` is what it was asked for."""

    def __init__(self, nodes: list[Object], pods: dict[str, list[Object]] | None = None) -> None:
        self.nodes, self.pods, self.asked = nodes, pods or {}, list[str]()
        self.fails: ClusterError | None = None

    async def walk(self, kind: Kind, fields: str = "") -> AsyncIterator[Objects]:
        self.asked.append(fields or kind.plural)
        if self.fails:
            raise self.fails
        found = self.nodes if kind == NODE else self.pods.get(fields.removeprefix("spec.nodeName="), [])
        for obj in found:
            yield [obj]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def sees(reader: NodeReader, resources: frozenset[str] = ASKED) -> Sight:
    return asyncio.run(reader.of(resources))


def reads(reader: NodeReader, resources: frozenset[str] = ASKED) -> Sequence[Node] | None:
    return sees(reader, resources).nodes


def test_nodes_are_told_with_what_their_pods_have_taken() -> None:
    server = Server([live_node("a", gpu="2"), live_node("b")], {"a": [asking(1), asking(1, "Succeeded")]})

    assert reads(NodeReader(server, allowed=True)) == (Node("a", {GPU: 2}, "", {GPU: 1}), Node("b", {}))
    assert server.asked == ["nodes", "spec.nodeName=a"]


@pytest.mark.parametrize(
    ("about", "closed"),
    [
        ({}, ""),
        ({"spec": {"unschedulable": True}}, "cordoned"),
        ({"conditions": [{"type": "Ready", "status": "Unknown"}]}, "not ready"),
        ({"conditions": []}, "not ready"),
    ],
)
def test_a_node_says_why_it_takes_no_pod(about: dict[str, Any], closed: str) -> None:
    assert node_of(live_node(**about)).closed == closed


def test_a_node_without_a_status_has_nothing() -> None:
    assert node_of({"metadata": {"name": "new"}}) == Node("new", {}, "not ready")


def test_only_extended_resources_are_counted() -> None:
    found = live_node(gpu="2")
    found["status"]["allocatable"] |= {"hugepages-2Mi": "0", "example.com/odd": "1.5"}

    assert node_of(found).has == {GPU: 2}


def test_a_pod_holds_what_its_containers_ask_for_together_or_its_largest_init_step() -> None:
    first = {"resources": {"limits": {GPU: "3"}}}

    assert asked_for(asking(1)) == {GPU: 1}
    assert asked_for(asking(1, initContainers=[first, {}])) == {GPU: 3}
    assert asked_for(asking(1, initContainers=[first | {"restartPolicy": "Always"}])) == {GPU: 4}
    assert asked_for(asking(1, initContainers=[first | {"restartPolicy": "Always"}, first])) == {GPU: 6}
    assert asked_for({}) == {}


def test_what_was_read_a_moment_ago_is_not_read_again() -> None:
    server, clock = Server([live_node("a", gpu="2")]), Clock()
    reader = NodeReader(server, allowed=True, clock=clock)

    async def several() -> None:
        await asyncio.gather(*(reader.of(ASKED) for _ in range(20)))

    asyncio.run(several())
    assert server.asked.count("nodes") == 1
    reads(reader, frozenset({"nvidia.com/mig-1g.5gb"}))
    assert server.asked.count("nodes") == 2
    reads(reader, ASKED)
    assert server.asked.count("nodes") == 2, "the second question has taken the first one's answer away"
    clock.now = 60.0
    reads(reader, ASKED)
    assert server.asked.count("nodes") == 3


def test_pods_of_many_nodes_are_not_counted() -> None:
    server = Server([live_node(f"n{number}", gpu="8") for number in range(40)])

    found = reads(NodeReader(server, allowed=True)) or ()

    assert sum(node.taken is not None for node in found) == 32
    assert len(server.asked) == 33


@pytest.mark.parametrize(("allowed", "resources"), [(False, ASKED), (True, frozenset())])
def test_nobody_is_asked_without_the_right_or_a_reason(allowed: bool, resources: frozenset[str]) -> None:
    server = Server([live_node("a", gpu="2")])

    assert reads(NodeReader(server, allowed=allowed), resources) is None
    assert server.asked == []


def test_a_right_that_is_missing_is_told_and_not_asked_for_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    server, clock = Server([live_node("a", gpu="2")]), Clock()
    server.fails = Forbidden("nodes is forbidden", where="list nodes")
    reader = NodeReader(server, allowed=True, clock=clock)

    assert [sees(reader), sees(reader)] == [Sight(), Sight()]
    assert (len(server.asked), len(caplog.records)) == (1, 1)
    assert "GPUUnavailable goes without counts" in caplog.text
    server.fails, clock.now = None, 1000.0
    assert reads(reader)


def test_trouble_of_a_moment_is_told_apart_from_a_right_that_is_missing() -> None:
    server, clock = Server([live_node("a", gpu="2")]), Clock()
    server.fails = ApiDown("the API server does not answer", where="list nodes")
    reader = NodeReader(server, allowed=True, clock=clock)

    assert sees(reader) == Sight(None, trouble=True)
    server.fails, clock.now = None, 2.0
    assert reads(reader)


# -- when


def record(accelerator: Accelerator | None) -> RevisionRecord:
    found: Resolution = bundle("v1")
    runtime = Runtime(device="cuda" if accelerator else "cpu", accelerator=accelerator)
    return RevisionRecord("r", 1, found, runtime, base="r")


def refused(message: str = "", reason: str = "Unschedulable") -> Object:
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}])


@pytest.mark.parametrize(
    ("rollout", "replaces", "pods", "asked"),
    [
        (None, False, [], False),
        (None, True, [], True),
        (None, False, [pod()], False),
        (None, False, [refused("0/1 nodes")], True),
        (RolloutStatus(phase="Proving", surge="Auto"), False, [], True),
        (RolloutStatus(phase="Holding", surge="Replace"), False, [], True),
        (RolloutStatus(phase="Holding", surge="Surge"), True, [], False),
        (RolloutStatus(phase="Returning", surge="Replace"), False, [], False),
    ],
)
def test_nodes_are_read_where_pods_wait_or_servers_may_have_to_make_room(
    rollout: RolloutStatus | None, replaces: bool, pods: list[Object], asked: bool
) -> None:
    status = ModelDeploymentStatus(rollout=rollout)

    found = in_question([record(Accelerator())], pods, status, replaces=replaces)

    assert found == (ASKED if asked else frozenset())
    assert in_question([record(None)], pods, status, replaces=replaces) == frozenset()


# -- whether


WORDS = "0/3 nodes are available: 1 Insufficient {}, 2 node(s) had untolerated taint. preemption: no victims found."


@pytest.mark.parametrize(
    ("message", "lacking"),
    [
        (WORDS.format(GPU), True),
        (f"0/3 nodes are available: 3 Insufficient {GPU}.", True),
        (f"0/3 nodes are available: 3 Insufficient {GPU}", True),
        (WORDS.format("nvidia.com/gpu.shared"), False),
        (WORDS.format("nvidia.com/gpu-memory"), False),
        (WORDS.format("memory"), False),
        ("", False),
    ],
)
def test_the_schedulers_sentence_says_whether_it_is_the_accelerator(message: str, lacking: bool) -> None:
    found = lack(Accelerator(), [pod(), refused(message)], None)

    assert bool(found) == lacking
    assert "preemption" not in found


@pytest.mark.parametrize(
    ("reason", "message", "lacking"),
    [
        ("QuotaExceeded", "exceeded quota: small, requested: requests.nvidia.com/gpu=1, used: …", True),
        ("QuotaExceeded", "exceeded quota: small, requested: limits.memory=1Gi, used: …", False),
        ("PodsRefused", "requests.nvidia.com/gpu=1", False),
    ],
)
def test_a_quota_of_accelerators_that_is_used_up_is_a_shortage_too(reason: str, message: str, lacking: bool) -> None:
    failure = Failure(FailureClass.ENVIRONMENT, reason, message)

    assert lack(Accelerator(), [], failure) == (message if lacking else "")
