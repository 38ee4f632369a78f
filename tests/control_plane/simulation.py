"""What kwok makes of nodes and pods: which states they pass through, and which faults a pod can be told to have.

A pod's annotations say how it fares; they are followed when they change while it lives:

    sim.example.com/mode      ready (as without it) | never-ready | crash | init-crash | image-pull-error | real
    sim.example.com/after     a duration such as 500ms: how long a `ready` pod runs before it is ready
    sim.example.com/reason    how the container of a crash ended: OOMKilled, exit code 137 and no message …
    sim.example.com/exit-code
    sim.example.com/message   … unless these say otherwise

Pods that no node can take stay Pending by the real scheduler.  Pods of Jobs and of mode `real` are left to the player.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.control_plane.resources import Object

PREFIX = "sim.example.com/"
MODE = PREFIX + "mode"
AFTER = PREFIX + "after"
REASON = PREFIX + "reason"
EXIT_CODE = PREFIX + "exit-code"
MESSAGE = PREFIX + "message"
REAL = "real"
PLAYED = PREFIX + "played"  # a condition of the pod, whose reason is the state that kwok has put it into

# jq, over the pod
OWN_MODE = f'(.metadata.annotations["{MODE}"] // "ready")'
WHOSE = f'if any(.metadata.ownerReferences[]?; .kind == "Job") then "job" else {OWN_MODE} end'
PLAYED_STATE = f'.status.conditions[]? | select(.type == "{PLAYED}") | .reason'
DELAY = f'.metadata.annotations["{AFTER}"]'
DELETED = ".metadata.deletionTimestamp"
NODE_READY = '.status.conditions[]? | select(.type == "Ready") | .status'

# Go templates, over the pod
NOW = "{{ $now | Quote }}"
RUNNING = f"state: {{running: {{startedAt: {NOW}}}}}"
DONE = f"state: {{terminated: {{exitCode: 0, reason: Completed, startedAt: {NOW}, finishedAt: {NOW}}}}}"
WAITS_FOR_INIT = "state: {waiting: {reason: PodInitializing}}"
NO_IMAGE = "state: {waiting: {reason: ImagePullBackOff, message: Back-off pulling image}}"
ENDED = f"""{{
    exitCode: {{{{ or (index $notes "{EXIT_CODE}") "137" }}}}, reason: {{{{ or (index $notes "{REASON}") "OOMKilled" }}}},
    message: {{{{ or (index $notes "{MESSAGE}") "" | Quote }}}}, startedAt: {NOW}, finishedAt: {NOW}}}"""
CRASHED = f"""state: {{waiting: {{reason: CrashLoopBackOff, message: back-off restarting failed container}}}},
    lastState: {{terminated: {ENDED}}}"""


@dataclass(frozen=True, slots=True)
class State:
    """What a pod looks like in one state; `first` and `main` are the states of its containers."""

    name: str
    main: str = RUNNING
    first: str = DONE
    phase: str = "Running"
    ready: bool = False

    @property
    def initialized(self) -> bool:
        return self.first == DONE


READY = State("ready", ready=True)
STARTING = State("starting")
STATES = (
    State("never-ready"),
    State("crash", main=CRASHED),
    State("init-crash", main=WAITS_FOR_INIT, first=CRASHED, phase="Pending"),
)
IMAGE_PULL_ERROR = "image-pull-error"
FAILS_FIRST = State(IMAGE_PULL_ERROR, main=WAITS_FOR_INIT, first=NO_IMAGE, phase="Pending")
FAILS = State(IMAGE_PULL_ERROR, main=NO_IMAGE, phase="Pending")


def stages() -> list[Object]:
    """kwok's configuration."""
    first = ".spec.initContainers[]?.name"
    return [
        node_stage(),
        *(pod_stage(state, state.name) for state in STATES),
        pod_stage(FAILS_FIRST, IMAGE_PULL_ERROR, needs(first, "Exists"), name="image-pull-error-first"),
        pod_stage(FAILS, IMAGE_PULL_ERROR, needs(first, "DoesNotExist")),
        pod_stage(READY, "ready", needs(DELAY, "DoesNotExist")),
        pod_stage(STARTING, "ready", needs(DELAY, "Exists"), needs(PLAYED_STATE, "NotIn", "ready")),
        delayed(pod_stage(READY, "ready", needs(DELAY, "Exists"), needs(PLAYED_STATE, "In", "starting"), name="late")),
        stage("Pod", "pod-delete", [needs(DELETED, "Exists"), needs(WHOSE, "NotIn", REAL)], {"delete": True}),
    ]


def needs(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def stage(kind: str, name: str, conditions: Iterable[Object], following: Mapping[str, Any]) -> Object:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": list(conditions)},
            "next": dict(following),
        },
    }


def pod_stage(state: State, mode: str, *more: Object, name: str = "") -> Object:
    """Put pods of a mode into a state, once each time they get that mode."""
    conditions = [
        needs(DELETED, "DoesNotExist"),
        needs(WHOSE, "In", mode),
        needs(PLAYED_STATE, "NotIn", state.name),
        *more,
    ]
    return stage("Pod", f"pod-{name or state.name}", conditions, {"statusTemplate": template(state)})


def delayed(late: Object) -> Object:
    late["spec"]["delay"] = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": DELAY}}
    return late


def template(state: State) -> str:
    """The status of a pod in a state, as kwok fills it in."""
    conditions = {
        "PodReadyToStartContainers": True,
        "Initialized": state.initialized,
        "ContainersReady": state.ready,
        "Ready": state.ready,
    }
    return "\n".join((
        "{{ $now := Now }}{{ $notes := default dict .metadata.annotations }}",
        f"phase: {state.phase}",
        "startTime: {{ or .status.startTime $now | Quote }}",
        "conditions:",
        *(condition(name, holds=holds) for name, holds in conditions.items()),
        f'- {{type: "{PLAYED}", status: "True", reason: "{state.name}"}}',
        "initContainerStatuses:",
        containers(".spec.initContainers", state.first, ready=state.initialized),
        "containerStatuses:",
        containers(".spec.containers", state.main, ready=state.ready),
        "{{ with NodeIPsWith .spec.nodeName }}",
        "hostIP: {{ index . 0 | Quote }}",
        "hostIPs: [{ip: {{ index . 0 | Quote }}}]",
        "{{ end }}",
        "{{ if not .status.podIP }}",
        "{{ with PodIPsWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}",
        "podIP: {{ index . 0 | Quote }}",
        "podIPs: [{ip: {{ index . 0 | Quote }}}]",
        "{{ end }}{{ end }}",
    ))  # fmt: skip


def condition(name: str, *, holds: bool) -> str:
    reason = "" if holds else ", reason: ContainersNotReady"
    return f'- {{type: {name}, status: "{holds}", lastTransitionTime: {NOW}{reason}}}'


def containers(which: str, state: str, *, ready: bool) -> str:
    running = str(state == RUNNING).lower()
    restarts = 1 if state == CRASHED else 0
    return f"""{{{{ range {which} }}}}
- {{name: {{{{ .name | Quote }}}}, image: {{{{ .image | Quote }}}}, imageID: "", restartCount: {restarts},
   ready: {str(ready).lower()}, started: {running}, {state}}}
{{{{ end }}}}"""


def node_stage() -> Object:
    """kwok keeps the leases of nodes that it has seen ready; they are made ready here."""
    conditions = [needs(NODE_READY, "NotIn", "True")]
    status = "\n".join((
        "{{ $now := Now }}",
        "phase: Running",
        "conditions:",
        f'- {{type: Ready, status: "True", reason: KubeletReady, lastTransitionTime: {NOW}, lastHeartbeatTime: {NOW}}}',
    ))  # fmt: skip
    return stage("Node", "node-ready", conditions, {"statusTemplate": status})


def node(name: str, address: str, more: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None
         ) -> Object:  # fmt: skip
    """A large node; `more` adds resources or replaces quantities."""
    resources = {"cpu": "256", "memory": "1Ti", "ephemeral-storage": "4Ti", "pods": "4000", **(more or {})}
    usual = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**usual, **(labels or {})}},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        },
    }
