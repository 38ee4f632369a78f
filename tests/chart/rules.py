"""What is held against the rendered chart: the rules of kube-score, kube-linter and the restricted pod standard that apply.

Each looks at all objects and names those that break it.  docs/install.md lists them, by the names they have here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.chart.helm import container
from tests.control_plane.resources import Object

Rule = Callable[[list[Object]], Iterator[str]]
RULES: dict[str, Rule] = {}
WORDS_OF_SECRETS = re.compile(r"password|secret|api.?key", re.IGNORECASE)
UNDER_ANY_NAMESPACE = {
    "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
}  # fmt: skip


def rule(check: Rule) -> Rule:
    RULES[check.__name__.replace("_", "-")] = check
    return check


def findings(objects: list[Object]) -> list[str]:
    return [f"{name}: {found}" for name, check in RULES.items() for found in check(objects)]


def workloads(objects: list[Object]) -> list[Object]:
    return [obj for obj in objects if obj["kind"] == "Deployment"]


def pods(objects: list[Object]) -> list[tuple[str, Object]]:
    return [(obj["metadata"]["name"], obj["spec"]["template"]["spec"]) for obj in workloads(objects)]


def containers(objects: list[Object]) -> list[tuple[str, Object]]:
    return [(obj["metadata"]["name"], container(obj)) for obj in workloads(objects)]


def selects(selector: Object, deployment: Object) -> bool:
    return bool(selector["matchLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items())


@rule
def runs_as_nobody(objects: list[Object]) -> Iterator[str]:
    """User and group are over 10,000, and root is refused."""
    for name, pod in pods(objects):
        told = pod.get("securityContext", {})
        if not told.get("runAsNonRoot") or min(told.get("runAsUser", 0), told.get("runAsGroup", 0)) < 10_000:
            yield name


@rule
def seccomp_is_on(objects: list[Object]) -> Iterator[str]:
    """The runtime's profile of system calls."""
    for name, pod in pods(objects):
        if pod.get("securityContext", {}).get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield name


@rule
def root_is_read_only(objects: list[Object]) -> Iterator[str]:
    """Nothing in a container can be changed."""
    for name, one in containers(objects):
        if not one.get("securityContext", {}).get("readOnlyRootFilesystem"):
            yield name


@rule
def no_capabilities(objects: list[Object]) -> Iterator[str]:
    """All are dropped, none can be gained."""
    for name, one in containers(objects):
        told = one.get("securityContext", {})
        if told.get("capabilities") != {"drop": ["ALL"]} or told.get("allowPrivilegeEscalation") is not False:
            yield name


@rule
def nothing_of_the_node(objects: list[Object]) -> Iterator[str]:
    """No network, processes, IPC, ports or folders of the node."""
    for name, pod in pods(objects):
        shares = any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        folders = any("hostPath" in volume for volume in pod.get("volumes", []))
        ports = any("hostPort" in port for one in pod["containers"] for port in one.get("ports", []))
        if shares or folders or ports:
            yield name


@rule
def image_has_a_version(objects: list[Object]) -> Iterator[str]:
    """A tag other than latest, or a digest."""
    for name, one in containers(objects):
        _, _, tag = one["image"].rpartition("/")[2].partition(":")
        if tag in ("", "latest") and "@sha256:" not in one["image"]:
            yield f"{name} {one['image']}"


@rule
def resources_are_bounded(objects: list[Object]) -> Iterator[str]:
    """CPU, memory and disk are asked for; memory and disk have a limit. CPU has none: it would only be throttled."""
    for name, one in containers(objects):
        asked, most = one["resources"].get("requests", {}), one["resources"].get("limits", {})
        if not {"cpu", "memory", "ephemeral-storage"} <= set(asked) or not {"memory", "ephemeral-storage"} <= set(most):
            yield name


@rule
def probes_differ(objects: list[Object]) -> Iterator[str]:
    """There are both, and they ask different questions."""
    for name, one in containers(objects):
        alive, ready = one.get("livenessProbe"), one.get("readinessProbe")
        if not alive or not ready or alive["httpGet"]["path"] == ready["httpGet"]["path"]:
            yield name


@rule
def replicas_are_apart(objects: list[Object]) -> Iterator[str]:
    """Two or more, on different nodes where that is possible."""
    for obj in workloads(objects):
        apart = obj["spec"]["template"]["spec"].get("affinity", {}).get("podAntiAffinity")
        if obj["spec"]["replicas"] < 2 or not apart:
            yield obj["metadata"]["name"]


@rule
def a_budget_for_drains(objects: list[Object]) -> Iterator[str]:
    """A PodDisruptionBudget selects them, and lets a drain go on."""
    budgets = [obj["spec"] for obj in objects if obj["kind"] == "PodDisruptionBudget"]
    for obj in workloads(objects):
        if not any(selects(one["selector"], obj) and one.get("maxUnavailable", 0) >= 1 for one in budgets):
            yield obj["metadata"]["name"]


@rule
def traffic_is_named(objects: list[Object]) -> Iterator[str]:
    """A NetworkPolicy selects them, for both directions."""
    policies = [obj["spec"] for obj in objects if obj["kind"] == "NetworkPolicy"]
    for obj in workloads(objects):
        if not any(selects(one["podSelector"], obj) and len(one["policyTypes"]) == 2 for one in policies):
            yield obj["metadata"]["name"]


@rule
def an_account_of_its_own(objects: list[Object]) -> Iterator[str]:
    """Not the namespace's default; its token is mounted where it is used only."""
    accounts = {obj["metadata"]["name"]: obj for obj in objects if obj["kind"] == "ServiceAccount"}
    for name, pod in pods(objects):
        account = accounts.get(pod.get("serviceAccountName", "default"))
        if account is None or account.get("automountServiceAccountToken") is not False:
            yield name


@rule
def no_wildcards(objects: list[Object]) -> Iterator[str]:
    """No role has `*`, rights on Secrets, or what lets it make itself another."""
    taboo = {"*", "secrets", "escalate", "bind", "impersonate", "pods/exec", "serviceaccounts/token"}
    for obj in objects:
        if obj["kind"] in ("ClusterRole", "Role"):
            words = {word for one in obj["rules"] for part in one.values() for word in part}
            if taboo & words:
                yield f"{obj['kind']} {obj['metadata']['name']}"


@rule
def no_secret_in_sight(objects: list[Object]) -> Iterator[str]:
    """No environment variable or argument carries one."""
    for name, one in containers(objects):
        told = [f"{row['name']}" for row in one.get("env", [])] + one.get("args", [])
        yield from (f"{name} {word}" for word in told if WORDS_OF_SECRETS.search(word.partition("=")[0]))


@rule
def namespace_is_said(objects: list[Object]) -> Iterator[str]:
    """By each object that has one: `helm template | kubectl apply` puts it where the release is."""
    for obj in objects:
        if obj["kind"] not in UNDER_ANY_NAMESPACE and "namespace" not in obj["metadata"]:
            yield f"{obj['kind']} {obj['metadata']['name']}"


@rule
def labels_are_the_usual_ones(objects: list[Object]) -> Iterator[str]:
    """app.kubernetes.io/name, instance, version, component and managed-by."""
    wanted = {f"app.kubernetes.io/{key}" for key in ("name", "instance", "version", "component", "managed-by")}
    for obj in objects:
        if not wanted <= set(obj["metadata"].get("labels", {})):
            yield f"{obj['kind']} {obj['metadata']['name']}"
