"""Why pods do not come up, in the words and classes that a plan understands.

Kubernetes says it in a dozen places; each function here looks at one of them, and the first that knows something
wins.  What a container of ours has said itself (its termination message) goes before what the kubelet says about it.
Every sentence ends with what to do, and is short enough to be whole in the status of a ModelDeployment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tidegate.cluster.errors import MISSING_RIGHT
from tidegate.plan.manifests.pods import FETCH_CONTAINER
from tidegate.plan.observed import Failure, FailureClass
from tidegate.plan.texts import LONGEST_MESSAGE

REFUSED = 1  # exit code of a program of ours that will say the same of these bytes every time
CRASH_LOOP = 3  # restarts that are no accident any more
MESSAGE_LIMIT = LONGEST_MESSAGE - len("; waited 167h59m59s")  # what a plan adds when it has waited for nothing
IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError"})
GONE_FROM_NODE = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Preempting", "Terminated"})
# Said with exit code 1, and yet able to pass without a new spec: a secret, a disk or a store may change.
PASSING = frozenset({
    "AddressRefused", "CertificateInvalid", "ClockSkewed", "DecryptionKeyWrong", "Denied", "DeviceUnavailable",
    "DiskFull", "NotFound", "OutOfMemory", "PortTaken",
})  # fmt: skip
ADMISSION = ("violates PodSecurity", "admission webhook", "denied the request", "denied request")
FORBIDDEN = re.compile(r'^(\S+) "[^"]*" is forbidden: ')
AFTERTHOUGHTS = re.compile(r"[ ,.]*(?: no new claims to deallocate)?[ ,.]*(?: preemption: .*)?$", re.DOTALL)
NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]+" not found')

Status = Mapping[str, Any]
Look = Callable[[Status], Failure | None]


def environment(reason: str, what: str, do: str = "") -> Failure:
    """What is missing around a version, and what to do; of a long `what` the end is left out."""
    if not do:
        return Failure(FailureClass.ENVIRONMENT, reason, shortened(what))
    return Failure(FailureClass.ENVIRONMENT, reason, f"{shortened(what, MESSAGE_LIMIT - len(do) - 2)}: {do}")


def shortened(text: str, most: int = MESSAGE_LIMIT) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def failure_of_pods(pods: Iterable[Mapping[str, Any]]) -> Failure | None:
    """Why the latest start failed; what will not pass by itself goes before what may.

    Pods that a node refused or removed stay in the list for ever, beside those that came in their places.
    """
    found = [(failure, is_over(pod)) for pod in pods if (failure := failure_of_pod(pod))]
    first = min(found, key=lambda one: (one[0].class_ is not FailureClass.CONTENT, one[1]), default=None)
    return first[0] if first else None


def is_over(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has failed as a whole, and will never run again."""
    return (pod.get("status") or {}).get("phase") == "Failed"


def failure_of_pod(pod: Mapping[str, Any]) -> Failure | None:
    """Why a pod is not ready, as far as it is known."""
    status = pod.get("status") or {}
    looks: tuple[Look, ...] = (_unschedulable, _gone, _container)
    return next((failure for look in looks if (failure := look(status))), None)


def _unschedulable(status: Status) -> Failure | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return no_node(str(condition.get("message", "")))
    return None


def no_node(message: str) -> Failure:
    """Why the scheduler finds no node."""
    if missing := NO_CLAIM.search(message):
        return environment("MountMissing", missing[0], "create the claim in this namespace, or correct its name")
    do = "free or add nodes, lower runtime.resources, or look at nodeSelector and tolerations"
    return environment("Unschedulable", f"no node takes the pod: {reasons(message)}", do)


def reasons(message: str) -> str:
    """What the scheduler says of nodes, without what else it has tried in vain."""
    return AFTERTHOUGHTS.sub("", message)


def _gone(status: Status) -> Failure | None:
    """A node has removed the pod, or never took it though the scheduler had chosen that node."""
    reason, message = status.get("reason"), status.get("message", "")
    if status.get("phase") != "Failed" or not reason:
        return None
    if reason in GONE_FROM_NODE:
        do = "raise resources.requests or limits.ephemeral-storage, or look at the node"
        return environment("Evicted", f"the node removed the pod: {message or reason}", do)
    return environment("PodConfigInvalid", f"the node refused the pod: {reason}: {message}", "look at the node")


def _container(status: Status) -> Failure | None:
    for container in containers(status):
        if failure := _waiting(container) or _ended(container):
            return failure
    return None


def containers(status: Status) -> Iterator[Status]:
    """Container statuses, those of the init steps first."""
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(field) or ()


def _waiting(container: Status) -> Failure | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), str(waiting.get("message", ""))
    if reason in IMAGE:
        what = f"the image {container.get('image', '')} cannot be pulled: {message or reason}"
        do = "correct runtime.image, or name its registry's Secret in pod.imagePullSecrets"
        return environment("ImagePull", what, do)
    if reason in CONFIG and "secret" in message.lower():
        return environment("SecretMissing", message, "create it in this namespace")
    if reason in CONFIG:
        return environment("PodConfigInvalid", f"the container cannot be made: {message or reason}", "correct that")
    return None


def _ended(container: Status) -> Failure | None:
    """How its latest life ended, when it is not running again."""
    state = container.get("state") or {}
    ended = state.get("terminated") or (
        (container.get("lastState") or {}).get("terminated") if _down(container) else None
    )
    if not ended or ended.get("exitCode") == 0:
        return None
    return _in_a_loop(failure_of_end(ended), container)


def _down(container: Status) -> bool:
    return not container.get("ready") and "terminated" not in (container.get("state") or {})


def _in_a_loop(failure: Failure, container: Status) -> Failure:
    """A server that died for the third time goes on dying, whatever its last words: a plan takes its requests away.

    Not so the init step, which gets no requests: why it cannot fetch is what counts.
    """
    lasting = failure.class_ is FailureClass.CONTENT or container.get("name") == FETCH_CONTAINER
    if lasting or int(container.get("restartCount") or 0) < CRASH_LOOP:
        return failure
    return Failure(FailureClass.ENVIRONMENT, "CrashLoop", both_ends(f"ends again and again: {failure.message}"))


def failure_of_end(ended: Status) -> Failure:
    """Why a container ended: its own last words, or what can be said without them."""
    code = int(ended.get("exitCode") or 0)
    if ended.get("reason") == "OOMKilled":
        return environment("OutOfMemory", "the container used more memory than its limit", "raise limits.memory")
    if words := last_words(ended.get("message")):
        lasting = code == REFUSED and words[0] not in PASSING
        kind = FailureClass.CONTENT if lasting else FailureClass.ENVIRONMENT
        return Failure(kind, words[0], both_ends(words[1]))
    what = f"the container ended with exit code {code}: {ended.get('message') or 'it said nothing'}"
    return environment("ServerDied", what, "read its log with kubectl logs --previous")


def last_words(message: object) -> tuple[str, str] | None:
    """Reason and sentence of a termination message of ours."""
    try:
        said = json.loads(str(message))
        return str(said["reason"])[:63], str(said["message"])
    except (ValueError, KeyError, TypeError):
        return None


def both_ends(sentence: str) -> str:
    """Of a long sentence of ours the middle is left out: it begins with the place and ends with what to do."""
    if len(sentence) <= MESSAGE_LIMIT:
        return sentence
    half = MESSAGE_LIMIT // 2
    return f"{sentence[: half - 2]} … {sentence[-(MESSAGE_LIMIT - half - 1) :]}"


def failure_of_controller(conditions: Sequence[Mapping[str, Any]] | None) -> Failure | None:
    """Why a Deployment cannot even make pods: quota, admission, a missing account."""
    for condition in conditions or ():
        kind, truth = condition.get("type"), condition.get("status")
        no_pods = kind == "ReplicaFailure" and truth == "True"
        no_set = kind == "Progressing" and truth == "False" and condition.get("reason") == "ReplicaSetCreateError"
        if no_pods or no_set:
            return refusal(str(condition.get("message", "")))
    return None


def refusal(sentence: str) -> Failure:
    """Why the API server takes no pod or object of ours, from its sentence.

    The object's name, which may be another at each attempt, is left out: the same thing is told once.
    """
    message = FORBIDDEN.sub(r"\1: ", sentence)
    if MISSING_RIGHT.search(message):
        return environment("Forbidden", message, "compare the operator's role with docs/rbac.md")
    if "exceeded quota" in message:
        return environment("QuotaExceeded", message, "raise the quota, or lower runtime.resources or the replicas")
    if any(word in message for word in ADMISSION):
        return environment("AdmissionDenied", message, "correct what the rule names, or have this namespace exempted")
    if 'serviceaccount "' in message:
        return environment("AccountMissing", message, "create it, or correct pod.serviceAccountName")
    return environment("PodsRefused", message, "correct spec.runtime, or what it names")
