"""Every pod that can be asked for meets Pod Security `restricted`, whatever the spec says."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tidegate.api.bundle import SecretKeyRef
from tidegate.api.runtime import ENV_NAMES, Runtime
from tidegate.plan.manifests.jobs import resolve_job
from tidegate.plan.manifests.origins import Credentials
from tidegate.plan.manifests.pods import pod_template

from .parts import OWNER, PLATFORM, asked, record, spec_of
from .pod_security import objections

WORDS = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
KEYS = st.one_of(WORDS, st.builds("example.com/{}".format, WORDS))
SIZES = st.sampled_from(["1", "500m", "2Gi", "0.5", "1500Mi", "3G"])
AMOUNTS = st.fixed_dictionaries({"memory": SIZES}, optional={"cpu": SIZES, "ephemeral-storage": SIZES})
EXPRESSION = st.fixed_dictionaries(
    {"key": KEYS, "operator": st.sampled_from(["In", "NotIn"])}, optional={"values": st.lists(WORDS, max_size=4)}
)
TERM = st.fixed_dictionaries({"matchExpressions": st.lists(EXPRESSION, min_size=1, max_size=4)})
NODES = st.fixed_dictionaries({"nodeSelectorTerms": st.lists(TERM, min_size=1, max_size=2)})
NEAR = st.fixed_dictionaries({"labelSelector": st.just({"matchLabels": {"a": "b"}}), "topologyKey": KEYS})
PODS = st.fixed_dictionaries(
    {},
    optional={
        "nodeSelector": st.dictionaries(KEYS, WORDS, max_size=3),
        "tolerations": st.lists(st.fixed_dictionaries({"key": KEYS, "value": WORDS}), max_size=3),
        "affinity": st.fixed_dictionaries(
            {},
            optional={
                "nodeAffinity": st.fixed_dictionaries({"requiredDuringSchedulingIgnoredDuringExecution": NODES}),
                "podAntiAffinity": st.fixed_dictionaries(
                    {"requiredDuringSchedulingIgnoredDuringExecution": st.lists(NEAR, max_size=1)}
                ),
            },
        ),
        "topologySpreadConstraints": st.lists(st.fixed_dictionaries({"topologyKey": KEYS}), max_size=2),
        "priorityClassName": WORDS,
        "runtimeClassName": WORDS,
        "imagePullSecrets": st.lists(st.fixed_dictionaries({"name": WORDS}), max_size=2),
        "labels": st.dictionaries(KEYS, WORDS, max_size=3),
        "annotations": st.dictionaries(KEYS, WORDS, max_size=3),
        "serviceAccountName": WORDS,
    },
)
GPUS = st.sampled_from(["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "amd.com/gpu"])
RUNTIMES = st.fixed_dictionaries(
    {},
    optional={
        "image": st.just("registry.example.com/own/runtime:1"),
        "resources": st.fixed_dictionaries({"limits": AMOUNTS}, optional={"requests": AMOUNTS}),
        "sessions": st.integers(1, 64),
        "grace": st.sampled_from(["1s", "1m30s", "1h"]),
        "env": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(ENV_NAMES), "value": st.sampled_from(["", "x", "0"])}),
            max_size=3,
            unique_by=lambda one: one["name"],
        ),
        "pod": PODS,
        "cache": st.fixed_dictionaries({"persistentVolumeClaim": st.fixed_dictionaries({"claimName": WORDS})}),
        "auth": st.just({"secretRef": {"name": "clients"}}),
        "tls": st.just({"secretRef": {"name": "tls"}}),
    },
)
URIS = st.sampled_from(["s3://models/fraud/1", "pvc://claim/fraud/1", "https://example.com/a/b", "file:///a/b"])


@st.composite
def runtimes(draw: st.DrawFn) -> Runtime:
    document = draw(RUNTIMES)
    if draw(st.booleans()):
        count = draw(st.integers(1, 16))
        document |= {"device": "tensorrt", "accelerator": {"resource": draw(GPUS), "count": count}}
    return Runtime.model_validate(document)


@settings(max_examples=150, deadline=None)
@given(runtime=runtimes(), uri=URIS, secret=st.sampled_from(["", "store"]), plain_bytes=st.sampled_from([0, 3 * 2**30]))
def test_servers_are_restricted_whatever_the_spec_says(
    runtime: Runtime, uri: str, secret: str, plain_bytes: int
) -> None:
    opens = Credentials(secret, SecretKeyRef(name="model-key", key="age.key"))
    of = record(uri=uri, runtime=runtime, plain_bytes=plain_bytes)
    made = pod_template(OWNER, of, "Require", opens, PLATFORM)

    assert objections(made) == []


@settings(max_examples=100, deadline=None)
@given(runtime=runtimes(), uri=URIS, signed=st.booleans(), secret=st.booleans(), sealed=st.booleans())
def test_jobs_are_restricted_whatever_the_spec_says(
    runtime: Runtime, uri: str, signed: bool, secret: bool, sealed: bool
) -> None:
    bundle: dict[str, Any] = {"uri": uri}
    if signed:
        bundle["signature"] = {"publicKeySecretRef": {"name": "release", "key": "key.pub"}}
    if secret:
        bundle["secretRef"] = {"name": "store"}

    if sealed:
        bundle["decryption"] = {"keySecretRef": {"name": "model-key", "key": "age.key"}}

    for prove in (False, True):
        job = resolve_job(OWNER, replace(asked(spec_of(bundle=bundle)), prove=prove), PLATFORM, runtime)

        assert objections(job["spec"]["template"]) == []


def test_labels_and_variables_of_ours_cannot_be_asked_for() -> None:
    for refused in (
        {"pod": {"labels": {"serving.tidegate.io/revision": "x"}}},
        {"pod": {"labels": {"app.kubernetes.io/component": "x"}}},
        {"env": [{"name": "LD_PRELOAD", "value": "x"}]},
        {"env": [{"name": "TIDEGATE_BUNDLE", "value": "x"}]},
    ):
        with pytest.raises(ValidationError):
            Runtime.model_validate(refused)


def allowed() -> dict[str, Any]:
    return copy.deepcopy(pod_template(OWNER, record(), "Require", Credentials(), PLATFORM))


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("hostNetwork", True, "hostNetwork"),
        ("automountServiceAccountToken", None, "gets a token of the API server"),
        ("securityContext", {}, "may run as root"),
        ("securityContext", {"runAsNonRoot": True}, "seccomp is not restricted"),
        ("securityContext", {"runAsNonRoot": True, "runAsUser": 0}, "is root"),
        ("securityContext", {"sysctls": [{}]}, "sysctls"),
        ("volumes", [{"name": "host", "hostPath": {"path": "/"}}], "volume host is {'hostPath'}"),
        ("volumes", [{"name": "big", "emptyDir": {}}], "volume big has no size limit"),
        (
            "volumes",
            [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
            "volume t holds a token of the API server",
        ),
    ],
)
def test_the_rules_see_what_a_pod_does_wrong(where: str, value: object, said: str) -> None:
    pod = allowed()
    pod["spec"][where] = value

    assert said in objections(pod)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"securityContext": {"privileged": True}}, "server: privileged"),
        ({"securityContext": {}}, "server: may gain privileges"),
        ({"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}}, "server: keeps capabilities"),
        ({"securityContext": {"runAsNonRoot": False}}, "server: may run as root"),
        ({"securityContext": {"procMount": "Unmasked"}}, "server: procMount"),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "server: seccomp is not restricted"),
        ({"securityContext": {}}, "server: may write to its root"),
        ({"ports": [{"hostPort": 80}]}, "server: has a port of the node"),
        ({"readinessProbe": {"httpGet": {"host": "example.com"}}}, "server: probes another host"),
        ({"resources": {}}, "server: has no memory limit"),
        ({"command": ["sh"]}, "server: is not the image's own program"),
        ({"volumeMounts": [{"name": "nowhere"}]}, "server: mounts {'nowhere'}, which is not there"),
    ],
)
def test_the_rules_see_what_a_container_does_wrong(changes: dict[str, Any], said: str) -> None:
    pod = allowed()
    pod["spec"]["containers"][0] |= changes

    assert said in objections(pod)
