"""The children of a deployment as the product renders them, from a plain spec and from one that says everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.plan.world import bundle

from tidegate.api.network import Peer
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.plan.manifests.access import access_map
from tidegate.plan.manifests.front import front_service, revision_service
from tidegate.plan.manifests.identity import Owner
from tidegate.plan.manifests.jobs import resolve_job
from tidegate.plan.manifests.network import network_policy
from tidegate.plan.manifests.origins import credentials_of
from tidegate.plan.manifests.platform import Network, Platform
from tidegate.plan.manifests.pods import pod_template
from tidegate.plan.manifests.stored import Stored, controller_revision
from tidegate.plan.manifests.workload import autoscaler, budget, deployment
from tidegate.plan.observed import RevisionRecord
from tidegate.plan.wanted import ResolveWanted, RevisionWanted

from .fields import Object

REVISION = "v1abc"
NETWORK = Network(
    metrics=(Peer(namespace="tidegate"), Peer(namespace="*", pods={"app.kubernetes.io/name": "prometheus"})),
    stores=("10.20.0.0/16", "::/0"),
    store_ports=(443, 9000),
    identity=(("169.254.170.23", 80), ("fd00:ec2::23", 80)),
)
PLATFORM = Platform("registry.example:5000/tidegate/runtime:0.1", '{"issuer": "https://example", "keys": []}', NETWORK)
RULES = {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 30}], "selectPolicy": "Min"}
TERM = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
NEIGHBOURS = {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "kubernetes.io/hostname"}
PLAIN: dict[str, Any] = {"bundle": {"uri": "s3://models/fraud/1"}, "scaling": {"minReplicas": 2, "maxReplicas": 5}}
# Values in forms that a server rewrites, or does not keep.
FULL: dict[str, Any] = {
    "bundle": {
        "uri": "pvc://models/fraud/1",
        "secretRef": {"name": "s3-credentials"},
        "signature": {"publicKeySecretRef": {"name": "release-key", "key": "key.pub"}},
        "decryption": {"keySecretRef": {"name": "model-key", "key": "age.key"}},
    },
    "runtime": {
        "device": "cuda",
        "accelerator": {"resource": "nvidia.com/gpu", "count": 1},
        "resources": {
            "requests": {"cpu": "0.5", "memory": "1024Mi", "ephemeral-storage": "1000M"},
            "limits": {"cpu": "1000m", "memory": "1.5Gi", "ephemeral-storage": "2048Mi"},
        },
        "env": [{"name": "TZ", "value": ""}, {"name": "LANG", "value": "C"}],
        "pod": {
            "nodeSelector": {"gpu": "yes"},
            "tolerations": [
                {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "spot", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 0},
                {"operator": "Exists"},
            ],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]},
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": TERM}],
                },
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [NEIGHBOURS],
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": NEIGHBOURS}],
                },
            },
            "topologySpreadConstraints": [
                {"topologyKey": "zone", "maxSkew": 1},
                {"topologyKey": "zone", "maxSkew": 3, "whenUnsatisfiable": "DoNotSchedule"},
            ],
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
            "imagePullSecrets": [{"name": "registry"}],
            "labels": {"team": "fraud", "empty": ""},
            "annotations": {"example.com/note": ""},
            "serviceAccountName": "models",
        },
        "cache": {"persistentVolumeClaim": {"claimName": "bundles"}},
    },
    "scaling": {
        "minReplicas": 2,
        "maxReplicas": 5,
        "behavior": {"scaleUp": RULES, "scaleDown": {"stabilizationWindowSeconds": 0}},
    },
    "networkPolicy": {
        "clients": [
            {"namespace": "gateways"},
            {"namespace": "*"},
            {"namespace": "*", "pods": {"empty": ""}},
            {"pods": {"app": "checkout", "team": "fraud"}},
            {"cidr": "10.9.8.7/8"},
            {"cidr": "0.0.0.0/0"},
            {"cidr": "2001:db8:1::/48"},
        ],
        "egress": [{"to": {"namespace": "minio", "pods": {"app": "minio"}}, "ports": [9000, 1, 65535]}],
    },
}
SPECS = {"plain": PLAIN, "full": FULL}


def rendered(owner: Owner, written: dict[str, Any]) -> dict[str, Object]:
    """One child of each kind, by a word for it."""
    spec = ModelDeploymentSpec.model_validate(written)
    opens = credentials_of(spec.bundle)
    found = replace(bundle("v1", uri=spec.bundle.uri), plain_bytes=3 * 2**30 if opens.decryption else 0)
    record = RevisionRecord(REVISION, 1, found, spec.runtime, REVISION)
    wanted = RevisionWanted(record, spec.scaling.min_replicas, spec.scaling.most_replicas, "Require")
    template = pod_template(owner, record, "Require", opens, PLATFORM)
    pods = deployment(owner, REVISION, template)
    access = access_map(owner, PLATFORM, [spec.runtime])
    policy = network_policy(owner, spec, [record], PLATFORM.network)
    assert access is not None
    assert policy is not None
    return {
        "record": controller_revision(owner, Stored(record, template, opens)),
        "access": access,
        "policy": policy,
        "deployment": {**pods, "spec": {**pods["spec"], "replicas": 2}},
        "service": revision_service(owner, REVISION),
        "front": front_service(owner, {REVISION: 90, "v2def": 10}, REVISION),
        "autoscaler": autoscaler(owner, wanted, spec.scaling),
        "budget": budget(owner, REVISION),
        "job": resolve_job(owner, ResolveWanted("0123456789abcdef", 1, spec.bundle), PLATFORM, spec.runtime),
    }


CHILDREN = ("record", "access", "policy", "deployment", "service", "front", "autoscaler", "budget", "job")
