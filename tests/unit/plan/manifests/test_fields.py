"""No field of `spec.runtime` and `spec.scaling` does nothing in silence."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from tidegate.api.rules import ApiModel
from tidegate.api.runtime import Runtime
from tidegate.api.scaling import Scaling
from tidegate.plan.manifests.identity import AUTOSCALER, DEPLOYMENT
from tidegate.plan.manifests.unheeded import unheeded

from .cluster import Cluster
from .parts import PLATFORM, record, serving, spec_of

GPU = {"device": "cuda", "accelerator": {"count": 1}}
RULES = {"scaleUp": {"selectPolicy": "Min"}}
TOLERATION = {"key": "gpu", "operator": "Exists"}
NEAR = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "zone"}
# What is written instead of the default; the second of a pair is what must stand around it.
EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "runtime.image": ({"image": "registry.example.com/own:1"}, {}),
    "runtime.device": ({"device": "tensorrt"}, GPU),
    "runtime.accelerator": ({"accelerator": {"count": 2}}, GPU),
    "runtime.resources.requests.cpu": ({"resources": {"requests": {"cpu": "3"}, "limits": {"memory": "2Gi"}}}, {}),
    "runtime.resources.requests.memory": (
        {"resources": {"requests": {"memory": "3Gi", "cpu": "1"}, "limits": {"memory": "4Gi"}}},
        {},
    ),
    "runtime.resources.requests.ephemeralStorage": (
        {"resources": {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}, "limits": {"memory": "2Gi"}}},
        {},
    ),
    "runtime.resources.limits.cpu": ({"resources": {"limits": {"memory": "2Gi", "cpu": "2"}}}, {}),
    "runtime.resources.limits.memory": ({"resources": {"limits": {"memory": "8Gi"}}}, {}),
    "runtime.resources.limits.ephemeralStorage": (
        {"resources": {"limits": {"memory": "2Gi", "ephemeral-storage": "9Gi"}}},
        {},
    ),
    "runtime.sessions": ({"sessions": 2}, {}),
    "runtime.threads.intraOp": ({"threads": {"intraOp": 2}}, {}),
    "runtime.threads.interOp": ({"threads": {"interOp": 2}}, {}),
    "runtime.batching.maxSize": ({"batching": {"maxSize": 2}}, {}),
    "runtime.batching.maxDelay": ({"batching": {"maxDelay": "2ms"}}, {}),
    "runtime.queue.maxLength": ({"queue": {"maxLength": 2}}, {}),
    "runtime.queue.timeout": ({"queue": {"timeout": "2s"}}, {}),
    "runtime.explain": ({"explain": {"concurrency": 2}}, {}),
    "runtime.requestLogs": ({"requestLogs": {"audit": True, "accessSample": 1}}, {}),
    "runtime.grace": ({"grace": "2s"}, {}),
    "runtime.providerOptions": ({"providerOptions": {"use_tf32": "0"}}, GPU),
    "runtime.env": ({"env": [{"name": "TZ", "value": "UTC"}]}, {}),
    "runtime.pod.nodeSelector": ({"pod": {"nodeSelector": {"a": "b"}}}, {}),
    "runtime.pod.tolerations": ({"pod": {"tolerations": [TOLERATION]}}, {}),
    "runtime.pod.affinity": (
        {"pod": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [NEAR]}}}},
        {},
    ),
    "runtime.pod.topologySpreadConstraints": ({"pod": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}}, {}),
    "runtime.pod.priorityClassName": ({"pod": {"priorityClassName": "high"}}, {}),
    "runtime.pod.runtimeClassName": ({"pod": {"runtimeClassName": "nvidia"}}, {}),
    "runtime.pod.imagePullSecrets": ({"pod": {"imagePullSecrets": [{"name": "registry"}]}}, {}),
    "runtime.pod.labels": ({"pod": {"labels": {"a": "b"}}}, {}),
    "runtime.pod.annotations": ({"pod": {"annotations": {"a": "b"}}}, {}),
    "runtime.pod.serviceAccountName": ({"pod": {"serviceAccountName": "models"}}, {}),
    "runtime.auth": ({"auth": {"secretRef": {"name": "clients"}}}, {}),
    "runtime.tls": ({"tls": {"secretRef": {"name": "tls"}}}, {}),
    "runtime.cache": ({"cache": {"persistentVolumeClaim": {"claimName": "models"}}}, {}),
    "scaling.minReplicas": ({"minReplicas": 3}, {"maxReplicas": 8}),
    "scaling.maxReplicas": ({"maxReplicas": 9}, {"maxReplicas": 8}),
    "scaling.target": ({"target": {"cpuUtilization": 50}}, {"maxReplicas": 8}),
    "scaling.provider": ({"provider": "KEDA"}, {"maxReplicas": 8}),
    "scaling.keda": ({"keda": {"wake": "up"}}, {"maxReplicas": 8}),
    "scaling.behavior": ({"behavior": RULES}, {"maxReplicas": 8}),
}


def fields(model: type[ApiModel], path: str) -> Iterator[str]:
    """Paths of the fields that a user may set by themselves; what is optional as a whole is one field."""
    for name, field in model.model_fields.items():
        here = f"{path}.{''.join(part.title() if i else part for i, part in enumerate(name.split('_')))}"
        kind = field.annotation
        whole = here == "scaling.target"  # exactly one of its fields
        if inspect.isclass(kind) and issubclass(kind, ApiModel) and not whole:
            yield from fields(kind, here)
        else:
            yield here


ALL = [*fields(Runtime, "runtime"), *fields(Scaling, "scaling")]


def children(part: str, written: dict[str, Any]) -> object:
    """The stable revision of a spec with this part: its pods' text and who scales them."""
    spec = spec_of(**{part: written})
    least, most = spec.scaling.min_replicas, spec.scaling.most_replicas
    cluster = Cluster(spec=spec).settle(serving(record(runtime=spec.runtime), least, most))
    made = [cluster.live(kind, name) for kind in (DEPLOYMENT, AUTOSCALER) for name in cluster.names(kind)]
    return [one["spec"] for one in made]


def test_the_examples_name_every_field_and_no_other() -> None:
    assert sorted(EXAMPLES) == sorted(ALL)


@pytest.mark.parametrize("path", ALL)
def test_a_field_has_an_effect_or_is_said_to_have_none(path: str) -> None:
    part = path.partition(".")[0]
    changed, around = EXAMPLES[path]

    has_effect = children(part, around) != children(part, {**around, **changed})

    spec = spec_of(**{part: {**around, **changed}})
    assert has_effect or unheeded(spec, PLATFORM)
