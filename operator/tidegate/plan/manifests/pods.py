"""The pod template of a revision: rendered once, kept in its ControllerRevision, and never rendered again.

    fetch    init step: brings the bundle, verified against the digest that was resolved, into a volume
    server   the model server, which finds the bundle there and writes nothing to it

What the fields of `spec.runtime` do: `image`, `device`, `providerOptions`, `sessions`, `threads`, `batching`, `queue`,
`explain`, `requestLogs` and `grace` are the server's image and flags; `accelerator` and `resources` the containers'
resources; `env` both containers' variables; `pod` the fields of the pod that carry the same names (a spread counts the
revision's own pods); `cache` the volume that bundles lie in, by digest: nothing removes them from there yet; `auth` and
`tls` the Secrets that the server reads its clients and its certificate from, again whenever they change: their rotation
restarts nothing.  Of an encrypted bundle the server sees the plain text only, in memory (plaintext.py), and TensorRT's
engines, which hold the weights, are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from math import ceil
from typing import Any

from pydantic import BaseModel

from tidegate.api.pod import Pod
from tidegate.api.runtime import Runtime, explain_flags, provider_options, request_log_flags
from tidegate.plan.manifests import quantities
from tidegate.plan.manifests.identity import LABEL_COMPONENT, SERVER, Owner, access_name, labels, pods_of
from tidegate.plan.manifests.origins import Credentials, Origin, environment
from tidegate.plan.manifests.plaintext import PLAIN, SCRATCH, age_key, identity, plain, with_room
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.manifests.quantities import mebibytes
from tidegate.plan.manifests.restricted import CACHE_GROUP, container_security, no_privileges, pod_security
from tidegate.plan.manifests.volumes import TMP, Volume, claim, secret
from tidegate.plan.observed import RevisionRecord
from tidegate.plan.wanted import GoldenMode

FETCH_CONTAINER, SERVER_CONTAINER = "fetch", "server"
HTTP_PORT, GRPC_PORT, METRICS_PORT = 8080, 9000, 9090
TERMINATION_LOG = "/dev/termination-log"
STDOUT = "-"  # where a server's logs of requests go: whatever collects a cluster's logs reads it
ENGINES = "/engines"
BUNDLES = "/bundles"
BUNDLES_SIZE = "64Gi"  # where no limit on the pod's disk says less
ACCESS, ACCESS_KEY = "/etc/tidegate/access", "access.json"
IDENTITY, IDENTITY_KEY = "/var/run/tidegate/token", "token"
CLIENTS, CLIENTS_KEY = "/etc/tidegate/clients", "clients"
TLS = "/etc/tidegate/tls"
AUDIENCE = "tidegate"
TOKEN_SECONDS = 3600
DRAIN_DELAY = timedelta(seconds=5)  # after SIGTERM: until every proxy has stopped sending new requests
KILL_MARGIN = timedelta(seconds=5)
START_SECONDS = 15 * 60  # loading, warming up and proving a model


def pod_template(
    owner: Owner, record: RevisionRecord, golden: GoldenMode, credentials: Credentials, platform: Platform
) -> dict[str, Any]:
    """The pods of a revision; `credentials` are those of its bundle."""
    runtime, origin = record.runtime, Origin(record.resolution.uri, credentials.store)
    key = credentials.decryption if _sealed(record) else None
    image = record.resolution.image or runtime.image or platform.runtime_image
    bundles, access, token = _bundles(runtime), _access(owner), _token()
    guarding, engines = _guarding(runtime), _engines(record)
    opened, tmp = _plain(record), SCRATCH if _sealed(record) else TMP
    given = (*origin.volumes, *age_key(key))
    fetch = {
        **container(FETCH_CONTAINER, image, [*_fetch_arguments(record, origin), *identity(key)]),
        **origin.environment(runtime.env),
        "resources": with_room(resources(runtime, accelerator=False), record.resolution.plain_bytes),
        "volumeMounts": [
            *(volume.writable for volume in (bundles, *opened, tmp)),
            *(volume.read_only for volume in given),
        ],
    }
    server = {
        **container(SERVER_CONTAINER, image, _serve_arguments(owner, record, golden)),
        **_probes(),
        "env": environment(runtime.env),
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "grpc", "containerPort": GRPC_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "resources": resources(runtime, accelerator=True),
        "volumeMounts": [
            *(volume.read_only for volume in opened or (bundles,)),
            tmp.writable,
            *(volume.read_only for volume in (access, token, *guarding)),
            *(volume.writable for volume in engines),
        ],
    }
    volumes = (bundles, *opened, tmp, access, token, *guarding, *engines, *given)
    return {
        "metadata": pod_metadata(runtime.pod, {**labels(owner, record.revision), LABEL_COMPONENT: SERVER}),
        "spec": {
            **no_privileges(),
            **_placement(runtime.pod, pods_of(owner, record.revision)),
            **pod_access(runtime.pod),
            "securityContext": pod_security(CACHE_GROUP if runtime.cache else None),
            "terminationGracePeriodSeconds": ceil((DRAIN_DELAY + runtime.grace + KILL_MARGIN).total_seconds()),
            "initContainers": [fetch],
            "containers": [server],
            "volumes": [volume.declared for volume in volumes],
        },
    }


def container(name: str, image: str, arguments: list[str]) -> dict[str, Any]:
    """What all our containers have in common; the image's entry point is `tidegate-runtime`."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",  # pinned by digest wherever the node could say it
        "args": arguments,
        "securityContext": container_security(),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",  # never the log: it may hold what users sent
    }


def pod_metadata(pod: Pod, ours: Mapping[str, str]) -> dict[str, Any]:
    """Labels and annotations of a pod; ours win."""
    return said({"labels": {**pod.labels, **ours}, "annotations": dict(pod.annotations)})


def pod_access(pod: Pod) -> dict[str, Any]:
    """Whose identity a pod has in a cloud, and who may pull its image."""
    pulls = [{"name": secret.name} for secret in pod.image_pull_secrets]
    return said({"serviceAccountName": pod.service_account_name, "imagePullSecrets": pulls})


def written(part: BaseModel) -> dict[str, Any]:
    """A part of the spec as Kubernetes spells it."""
    return part.model_dump(mode="json", by_alias=True, exclude_none=True)


def said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that say nothing: the server leaves those out, too."""
    return {name: value for name, value in fields.items() if value not in (None, {}, [])}


# -- volumes


def _bundles(runtime: Runtime) -> Volume:
    if runtime.cache is not None:
        return claim("bundles", runtime.cache.persistent_volume_claim.claim_name, BUNDLES)
    return Volume("bundles", {"emptyDir": {"sizeLimit": bundle_size(runtime)}}, BUNDLES)


def _sealed(record: RevisionRecord) -> bool:
    """Whether the bundle is encrypted."""
    return record.resolution.plain_bytes > 0


def _plain(record: RevisionRecord) -> tuple[Volume, ...]:
    return (plain(mebibytes(record.resolution.plain_bytes)),) if _sealed(record) else ()


def _engines(record: RevisionRecord) -> tuple[Volume, ...]:
    """TensorRT's engines, for as long as the pod: a container that starts again does not build them again."""
    if not _keeps_engines(record):
        return ()
    return (Volume("engines", {"emptyDir": {"sizeLimit": bundle_size(record.runtime)}}, ENGINES),)


def _keeps_engines(record: RevisionRecord) -> bool:
    return record.runtime.device == "tensorrt" and not _sealed(record)


def bundle_size(runtime: Runtime) -> str:
    """How much room a bundle, or what is built from it, may take on a node's disk."""
    return runtime.resources.limits.ephemeral_storage or BUNDLES_SIZE


def _served(record: RevisionRecord) -> str:
    """The folder that the server reads."""
    return f"{PLAIN}/model" if _sealed(record) else _bundle(record)


def _bundle(record: RevisionRecord) -> str:
    """The fetched bundle's folder; on a shared volume one for each digest, where a second pod finds it."""
    name = record.resolution.digest.removeprefix("sha256:") if record.runtime.cache else "model"
    return f"{BUNDLES}/{name}"


def _access(owner: Owner) -> Volume:
    # Optional: pods start without it and admit nobody, and take it up when it comes.
    return Volume("access", {"configMap": {"name": access_name(owner), "optional": True}}, ACCESS)


def _guarding(runtime: Runtime) -> tuple[Volume, ...]:
    """Whole folders, never single keys: only those follow a Secret that changes."""
    clients = [secret("clients", runtime.auth.secret_ref.name, CLIENTS)] if runtime.auth else []
    return (*clients, *([secret("tls", runtime.tls.secret_ref.name, TLS)] if runtime.tls else []))


def _token() -> Volume:
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": IDENTITY_KEY}
    return Volume("identity", {"projected": {"sources": [{"serviceAccountToken": token}]}}, IDENTITY)


# -- what the programs are told


def _fetch_arguments(record: RevisionRecord, origin: Origin) -> list[str]:
    """No public key: the digest pins exactly what was proved when it was resolved."""
    place = [origin.address, _bundle(record), *(["--plain", _served(record)] if _sealed(record) else [])]
    return ["fetch", *place, "--digest", record.resolution.digest, "--termination-log", TERMINATION_LOG]


def _serve_arguments(owner: Owner, record: RevisionRecord, golden: GoldenMode) -> list[str]:
    runtime = record.runtime
    flags = {
        "bundle": _served(record),
        "name": owner.name,
        "revision": record.revision,
        "revision-number": record.number,
        "http-port": HTTP_PORT,
        "grpc-port": GRPC_PORT,
        "metrics-port": METRICS_PORT,
        "access": f"{ACCESS}/{ACCESS_KEY}",
        "identity-token-file": f"{IDENTITY}/{IDENTITY_KEY}",
        "termination-log": TERMINATION_LOG,
        "device": runtime.device,
        "golden": golden,
        "sessions": runtime.sessions,
        "intra-op": runtime.threads.intra_op,
        "inter-op": runtime.threads.inter_op,
        "max-batch-size": runtime.batching.max_size,
        "max-batch-delay": _milliseconds(runtime.batching.max_delay),
        "queue": runtime.queue.max_length,
        "queue-timeout": _milliseconds(runtime.queue.timeout),
        "drain-delay": _milliseconds(DRAIN_DELAY),
        "drain": _milliseconds(DRAIN_DELAY + runtime.grace),  # counts from SIGTERM, the delay included
        **explain_flags(runtime),
        **request_log_flags(runtime, STDOUT, STDOUT),
        **_guarding_flags(runtime),
        **_gpu_flags(record),
    }
    return ["serve", *(text for name, value in flags.items() for text in (f"--{name}", str(value)))]


def _guarding_flags(runtime: Runtime) -> dict[str, str]:
    """Named even where a Secret may lack the file: a server without what its spec asks for does not start."""
    flags = {"auth-file": f"{CLIENTS}/{CLIENTS_KEY}"} if runtime.auth else {}
    if runtime.tls:
        flags |= {"tls-cert": f"{TLS}/tls.crt", "tls-key": f"{TLS}/tls.key"}
        if runtime.tls.client_certificates == "Require":
            flags["tls-client-ca"] = f"{TLS}/ca.crt"
    return flags


def _gpu_flags(record: RevisionRecord) -> dict[str, str]:
    options = provider_options(record.runtime, record.runtime.device)
    engines = ENGINES if _keeps_engines(record) else None
    return said({"provider-options": options or None, "engine-cache": engines})


def _milliseconds(duration: timedelta) -> str:
    return f"{round(duration / timedelta(milliseconds=1))}ms"


def _probes() -> dict[str, Any]:
    """Answered by a thread of their own: a busy server is alive."""

    def probe(path: str, period: int, failures: int, timeout: int) -> dict[str, Any]:
        every = {"periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": timeout}
        return {"httpGet": {"path": path, "port": METRICS_PORT}, **every}

    return {
        "startupProbe": probe("/startupz", 1, START_SECONDS, 1),
        "readinessProbe": probe("/readyz", 2, 2, 2),
        "livenessProbe": probe("/livez", 5, 3, 5),
    }


# -- where and with what


def resources(runtime: Runtime, *, accelerator: bool) -> dict[str, Any]:
    """Requests never above limits: a default request must not make a small limit invalid."""
    limits, requests = written(runtime.resources.limits), written(runtime.resources.requests)
    requests = {name: quantities.lesser(size, limits.get(name, size)) for name, size in requests.items()}
    if accelerator and runtime.accelerator is not None:
        limits[runtime.accelerator.resource] = str(runtime.accelerator.count)
    return said({"requests": requests, "limits": limits})


def _placement(pod: Pod, selected: Mapping[str, str]) -> dict[str, Any]:
    spreads = [
        {**written(spread), "labelSelector": {"matchLabels": dict(selected)}}
        for spread in pod.topology_spread_constraints
    ]
    return said(
        {
            "nodeSelector": dict(pod.node_selector),
            "tolerations": [written(toleration) for toleration in pod.tolerations],
            "affinity": written(pod.affinity) if pod.affinity else None,
            "topologySpreadConstraints": spreads,
            "priorityClassName": pod.priority_class_name,
            "runtimeClassName": pod.runtime_class_name,
        }
    )
