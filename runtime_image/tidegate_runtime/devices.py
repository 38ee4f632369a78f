"""Which execution providers serve a device, and the proof that the model really runs there.

ONNX Runtime falls back to the CPU without an error when CUDA cannot be used, or has no kernel for an operator: a pod
that pays for a GPU and computes on the CPU must not become ready.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.errors import Temporary

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
PROVIDERS: Mapping[str, tuple[str, ...]] = {"cpu": (CPU,), "cuda": (CUDA, CPU), "tensorrt": (TENSORRT, CUDA, CPU)}
ENOUGH = 0.5  # of the nodes: shape arithmetic stays on the CPU in every graph


class DeviceUnavailable(Temporary):
    """The device that was asked for does not do the work here; another machine may."""

    reason = "DeviceUnavailable"


def providers_for(device: str, available: Sequence[str]) -> list[str]:
    """The providers to ask for; raises DeviceUnavailable when this build or machine lacks the device's own."""
    wanted = PROVIDERS[device]
    if wanted[0] not in available:
        raise DeviceUnavailable(
            f"device '{device}' needs {wanted[0]}, which this ONNX Runtime does not have",
            do="use the runtime image built for this device, or the extra runtime-cuda in place of runtime, "
            "or device: cpu",
        )
    return [name for name in wanted if name in available]


def require_residency(device: str, active: Sequence[str], nodes: Mapping[str, int]) -> None:
    """Raise DeviceUnavailable unless most nodes of the graph were given to the device's own providers.

    `active` are the session's providers, `nodes` how many nodes of the optimized graph each one got.
    """
    if device == "cpu":
        return
    wanted = PROVIDERS[device][0]
    if wanted not in active:
        raise DeviceUnavailable(
            f"{wanted} did not start and the session fell back to {', '.join(active)}",
            do="check the driver and the device plugin of the node, or use device: cpu",
        )
    _require_enough(device, nodes, "are placed on the device", ENOUGH)


def require_work(device: str, ran: Mapping[str, int]) -> None:
    """Raise DeviceUnavailable unless the device's own providers did most of the work of one run; see `work_of`.

    Of TensorRT one operator is enough, as it runs most of a graph as one; without any it is CUDA that was paid for.
    """
    if device != "tensorrt":
        _require_enough(device, ran, "ran on the device", ENOUGH)
    elif not ran.get(TENSORRT):
        others = ", ".join(f"{name} {count}" for name, count in ran.items())
        raise DeviceUnavailable(
            f"TensorRT ran none of the model's operators ({others or 'no other ran'})",
            do="use device: cuda for this model, or a smaller trt_min_subgraph_size in providerOptions",
        )


def _require_enough(device: str, operators: Mapping[str, int], what: str, share: float) -> None:
    total = sum(operators.values())
    there = sum(operators.get(name, 0) for name in PROVIDERS[device] if name != CPU)
    if there < share * total or there == 0:
        raise DeviceUnavailable(
            f"only {there} of the model's {total} operators {what}, the rest on the CPU",
            do="use device: cpu for this model",
        )


def nodes_by_provider(session: Any) -> dict[str, int]:
    """How many nodes of the loaded graph each provider got; needs `record_assignment` in the session's options."""
    nodes: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] += len(part.get_nodes())
    return dict(nodes)


def record_assignment(options: Any) -> None:
    """Have the session remember which provider got which node."""
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


def record_work(options: Any, folder: Path) -> None:
    """Have the session profile its runs, into a file in `folder`, until `work_of` ends that."""
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "run")


def work_of(session: Any) -> dict[str, int]:
    """How many operators each provider ran since the session was opened; copies between devices are no work."""
    return count_operators(json.loads(Path(session.end_profiling()).read_text()))


def count_operators(events: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The same from the events of a profile: one per kernel that ran, with the provider it belongs to."""
    ran: Counter[str] = Counter()
    for event in events:
        provider = event.get("args", {}).get("provider")
        if event.get("cat") == "Node" and provider and not str(event["args"].get("op_name", "")).startswith("Memcpy"):
            ran[str(provider)] += 1
    return dict(ran)
