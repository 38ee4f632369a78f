"""Pod Security `restricted`, rule by rule, and the house's own rules for pods; each says what it objects to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Pod = Mapping[str, Any]
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
PROFILES = ("RuntimeDefault", "Localhost")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def objections(template: Pod) -> list[str]:
    """Everything that a pod template does wrong."""
    spec = template["spec"]
    found = [*pod_objections(spec), *volume_objections(spec)]
    for container in containers(spec):
        found += [f"{container['name']}: {what}" for what in container_objections(container, spec)]
    return found


def containers(spec: Pod) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"], *spec.get("ephemeralContainers", [])]


def pod_objections(spec: Pod) -> Iterator[str]:
    context = spec.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    if context.get("runAsNonRoot") is not True:
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in PROFILES:
        yield "seccomp is not restricted"
    for name in ("sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"):
        if context.get(name):
            yield name
    if context.get("runAsUser") == 0:
        yield "is root"
    if spec.get("automountServiceAccountToken") is not False:
        yield "gets a token of the API server"


def volume_objections(spec: Pod) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        sources = set(volume) - {"name"}
        if len(sources) != 1 or not sources <= VOLUMES:
            yield f"volume {volume['name']} is {sources}"
        if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
            yield f"volume {volume['name']} has no size limit"
        for source in volume.get("projected", {}).get("sources", []):
            if source.get("serviceAccountToken", {}).get("audience") in (None, "", "https://kubernetes.default.svc"):
                yield f"volume {volume['name']} holds a token of the API server"


def container_objections(container: Pod, spec: Pod) -> Iterator[str]:
    context = container.get("securityContext", {})
    capabilities = context.get("capabilities", {})
    if context.get("privileged"):
        yield "privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if "ALL" not in capabilities.get("drop", []) or not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
        yield "keeps capabilities"
    if context.get("runAsNonRoot") is False or context.get("runAsUser") == 0:
        yield "may run as root"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"
    if context.get("seccompProfile", {"type": PROFILES[0]}).get("type") not in PROFILES:
        yield "seccomp is not restricted"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "has a port of the node"
    if any(container.get(probe, {}).get("httpGet", {}).get("host") for probe in PROBES):
        yield "probes another host"
    yield from own_rules(container, spec)


def own_rules(container: Pod, spec: Pod) -> Iterator[str]:
    if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
        yield "may write to its root"
    if not container.get("resources", {}).get("limits", {}).get("memory"):
        yield "has no memory limit"
    if "command" in container:
        yield "is not the image's own program"
    declared = {volume["name"] for volume in spec.get("volumes", [])}
    if missing := {mount["name"] for mount in container.get("volumeMounts", [])} - declared:
        yield f"mounts {missing}, which is not there"
