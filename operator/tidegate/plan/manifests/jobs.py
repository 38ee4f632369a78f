"""The Job that reads a bundle with the user's rights: its namespace, its Secret, its cloud identity.

`resolve` reads the manifest; `prove` brings the whole bundle and runs its golden samples on the CPU, before a rollout
that has no room for a server beside the old ones takes one of those away.

Its pod answers in one termination message (`tidegate-runtime resolve`).  It runs the image that servers of this spec
will run, so that the node that pulled it also says by which digest.
"""

from __future__ import annotations

from typing import Any

from tidegate.api.runtime import Runtime
from tidegate.plan.manifests.identity import JOB, LABEL_COMPONENT, RESOLVER, Owner, head, job_name, labels, metadata
from tidegate.plan.manifests.origins import Origin, credentials_of
from tidegate.plan.manifests.plaintext import PLAIN, SCRATCH, age_key, identity, plain, with_room
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.manifests.pods import (
    TERMINATION_LOG,
    bundle_size,
    container,
    pod_access,
    pod_metadata,
    resources,
    said,
    written,
)
from tidegate.plan.manifests.quantities import mebibytes
from tidegate.plan.manifests.restricted import no_privileges, pod_security
from tidegate.plan.manifests.volumes import TMP, Volume, secret_key
from tidegate.plan.wanted import ResolveWanted

KEYS = "/etc/tidegate/key"
RESOLVE_CONTAINER = "resolve"
DEADLINE_SECONDS = 300
PROVE_SECONDS = 3600
WORK = "/work"
KEPT_SECONDS = 300  # long enough to be read after an operator's restart
RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def resolve_job(owner: Owner, wanted: ResolveWanted, platform: Platform, runtime: Runtime) -> dict[str, Any]:
    """The Job that answers this question, once; of `runtime` it takes what lets a pod start and reach the store."""
    spec = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": PROVE_SECONDS if wanted.prove else DEADLINE_SECONDS,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {
            "metadata": pod_metadata(runtime.pod, {**labels(owner), LABEL_COMPONENT: RESOLVER}),
            "spec": _pod(wanted, runtime.image or platform.runtime_image, runtime),
        },
    }
    return {**head(JOB, metadata(owner, job_name(owner, wanted.key, wanted.attempt))), "spec": spec}


def _pod(wanted: ResolveWanted, image: str, runtime: Runtime) -> dict[str, Any]:
    source = wanted.source
    origin = Origin(source.uri, credentials_of(source).store)
    proofs = [*origin.volumes, *_public_key(wanted), *age_key(credentials_of(source).decryption)]
    room = _room(wanted, runtime) if wanted.prove else [TMP]
    resolve = {
        **container(RESOLVE_CONTAINER, image, _arguments(wanted, origin)),
        **origin.environment(runtime.env),
        "resources": _resources(wanted, runtime) if wanted.prove else RESOURCES,
        "volumeMounts": [*(volume.writable for volume in room), *(volume.read_only for volume in proofs)],
    }
    # Not the servers' nodes: a manifest is not worth waiting for a GPU's. But where all are tainted, the same taints.
    tolerations = [written(toleration) for toleration in runtime.pod.tolerations]
    return {
        **no_privileges(),
        **pod_access(runtime.pod),
        **said({"tolerations": tolerations}),
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "containers": [resolve],
        "volumes": [volume.declared for volume in (*room, *proofs)],
    }


def _room(wanted: ResolveWanted, runtime: Runtime) -> list[Volume]:
    """For the whole bundle; in memory for the plain text of what may be encrypted, whose size may not be known yet."""
    work = Volume("work", {"emptyDir": {"sizeLimit": bundle_size(runtime)}}, WORK)
    if wanted.source.decryption is None:
        return [TMP, work]
    most = mebibytes(wanted.plain_bytes) if wanted.plain_bytes else str(runtime.resources.limits.memory)
    return [SCRATCH, work, plain(most)]


def _resources(wanted: ResolveWanted, runtime: Runtime) -> dict[str, Any]:
    return with_room(resources(runtime, accelerator=False), wanted.plain_bytes)


def _arguments(wanted: ResolveWanted, origin: Origin) -> list[str]:
    source = wanted.source
    digest = ["--digest", source.digest] if source.digest else []
    signer = ["--public-key", f"{KEYS}/{source.signature.public_key_secret_ref.key}"] if source.signature else []
    memory = ["--memory", PLAIN] if source.decryption else []
    act = ["prove", "--work", WORK, *memory] if wanted.prove else ["resolve"]
    opens = identity(credentials_of(source).decryption)
    return [*act, origin.address, *digest, *signer, *opens, "--termination-log", TERMINATION_LOG]


def _public_key(wanted: ResolveWanted) -> list[Volume]:
    signature = wanted.source.signature
    return [secret_key("key", signature.public_key_secret_ref, KEYS)] if signature else []
