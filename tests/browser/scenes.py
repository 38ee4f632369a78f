"""Rollouts as they are met in a cluster, by what is going on: for the pictures of the docs, and for the benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.control_plane.client import Client
from tests.control_plane.resources import Object

GROUP = "serving.tidegate.io"
STEPS = [{"weight": 10, "hold": "1m"}, {"weight": 40, "hold": "manual"}, {"weight": 70, "hold": "5m"}]


def at(minutes: float) -> str:
    """So many minutes ago."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def version(number: int, weight: int, replicas: int = 3, ready: int | None = None) -> Object:
    return {
        "revision": f"{0x930F7E290C ^ number * 0x5DEECE66D:010x}"[:10], "number": number, "version": f"1.{number}.0",
        "digest": f"sha256:{number:02x}" + "c4e1" * 15 + "aa", "uri": f"s3://models/fraud/1.{number}.0", "weight": weight,
        "replicas": replicas, "readyReplicas": replicas if ready is None else ready, "device": "cpu",
    }  # fmt: skip


def fact(kind: str, status: str, reason: str, message: str = "", minutes: float = 60) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(minutes)}


def past(*numbers: int) -> list[Object]:
    entries = []
    for number in numbers:
        one = version(number, 0)
        outcome = {"outcome": "RolledBack", "reason": "ErrorRate"} if number == 2 else {"outcome": "Promoted"}
        entries.append(
            {**{k: one[k] for k in ("revision", "number", "version", "digest")}, **outcome, "at": at(3000 / number)}
        )
    return entries


def serving(number: int = 3) -> Object:
    return {
        "observedGeneration": 1, "phase": "Serving", "stable": version(number, 100), "url": "http://model.payments.svc",
        "conditions": [fact("Ready", "True", "Serving", f"version 1.{number}.0"), fact("Promoted", "True", "Promoted")],
        "history": past(*range(1, number + 1)),
    }  # fmt: skip


def trying(phase: str, weight: int, step: int, reason: str, message: str, **more: Any) -> Object:
    """A version on its way, with figures."""
    one = serving(6)
    measured = {
        "stable": {"requests": 18402, "rps": 61.2, "errorRate": 0.0011, "p50Ms": 6.4, "p99Ms": 31.8},
        "candidate": {
            "requests": 12268,
            "rps": 40.8,
            "errorRate": 0.0009,
            "p50Ms": 6.1,
            "p99Ms": 30.2,
            "divergence": 0.004,
        },
    }
    checks = [
        {"name": "maxErrorRate", "verdict": "pass", "message": "error rate 0.09 % (limit 1 %), 12,268 requests"},
        {"name": "maxErrorRateIncrease", "verdict": "pass", "message": "0.8 times the stable version's (limit 1.5)"},
        {"name": "maxLatency.p99", "verdict": "undecided", "message": "30.2 ms (limit 80 ms), 12,268 requests"},
    ]
    rollout = {
        "cause": "Spec", "phase": phase, "surge": "Surge", "step": step, "weight": weight, "holdReason": reason,
        "holdMessage": message, "startedAt": at(14), "stepStartedAt": at(6), "checks": checks, "measurements": measured,
    }  # fmt: skip
    return one | {
        "phase": phase, "stable": version(6, 100 - weight), "candidate": {**version(7, weight, 2), "realisedWeight": weight + 0.3},
        "rollout": rollout | more,
        "conditions": [
            fact("Ready", "True", "Serving", "version 1.6.0", 3000), fact("Promoted", "False", reason, message, 6),
            fact("Reconciling", "True", reason, message, 14), fact("BundleVerified", "True", "Verified", minutes=15),
            fact("RouteReady", "True", "Accepted", minutes=3000), fact("Degraded", "False", "AsExpected", minutes=3000),
        ],
    }  # fmt: skip


def refused() -> Object:
    why = "output probability differs by 0.31 from golden sample 4"
    return serving() | {
        "phase": "Refused",
        "conditions": [fact("Ready", "True", "Serving"), fact("Stalled", "True", "GoldenMismatch", why, 9)],
        "rejected": [{"key": "4b1c77aa02-9d1e", "class": "Content", "reason": "GoldenMismatch", "message": why, "at": at(9)}],
    }  # fmt: skip


WAITING = trying("Holding", 40, 2, "WaitingForPromote", "step 2 ends by `tidegate promote`")
SCENES: dict[str, tuple[str, Object]] = {  # name -> namespace, status
    "fraud": ("payments", WAITING),
    "chargeback": ("payments", trying("Holding", 10, 1, "StepHold", "10 % for 1m")),
    "card-limits": ("payments", serving(3)),
    "search-rank": ("search", trying("Shifting", 70, 3, "Converging", "70 % is not seen in the counts yet")),
    "query-intent": ("search", refused()),
    "spell-check": ("search", serving(9)),
    "embeddings": ("search", trying("Proving", 0, 0, "GPUUnavailable", "0 of 2 servers: no node has a free nvidia.com/gpu")),
    "churn": ("growth", serving(2)),
    "next-best-offer": ("growth", serving(5)),
    "uplift": ("growth", trying("Returning", 0, 2, "ErrorRate", "error rate 4.1 % (limit 1 %), 2,170 requests")),
}  # fmt: skip


def manifest(namespace: str, name: str) -> Object:
    spec = {"bundle": {"uri": f"s3://models/{name}/1.7.0"}, "rollout": {"steps": STEPS}}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ModelDeployment", "metadata": meta, "spec": spec}


def pods(namespace: str, name: str, status: Object) -> Iterator[tuple[Object, Object]]:
    """The servers of both versions, and what a kubelet would say of each."""
    for one in (status.get("stable"), status.get("candidate")):
        if one is None:
            continue
        for number in range(one["replicas"]):
            labels = {f"{GROUP}/deployment": name, f"{GROUP}/revision": one["revision"]}
            meta = {
                "name": f"{name}-{one['revision']}-{'abcdefgh'[number]}x{number}kd",
                "namespace": namespace,
                "labels": labels,
            }
            spec = {"containers": [{"name": "server", "image": "runtime"}], "nodeName": f"worker-{number + 1}"}
            told = {"phase": "Running", "containerStatuses": [
                {"name": "server", "ready": True, "restartCount": 0, "image": "runtime", "imageID": "", "state": {"running": {}}},
            ]}  # fmt: skip
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}, told


def make_namespace(client: Client, name: str) -> None:
    """One that is ready for pods."""
    client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    client.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}})


def play(client: Client) -> None:
    """All scenes, in namespaces of their names."""
    for namespace in sorted({namespace for namespace, _ in SCENES.values()}):
        make_namespace(client, namespace)
    for name, (namespace, status) in SCENES.items():
        one = manifest(namespace, name)
        client.create(one)
        client.patch_status(one, status)
        for pod, told in pods(namespace, name, status) if name == "fraud" else ():
            client.create(pod)
            client.patch_status(pod, told)
