"""Every refusal of the API, said by the types and by the generated schema, with what to write instead."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from tidegate.api.load import Checked, check_text

DIGEST = "sha256:" + "a" * 64
# (what is written into the spec, the place that is named, what the sentence says)
REFUSED: dict[str, tuple[str, str, str]] = {
    "weights that fall": ("rollout: {steps: [{weight: 50}, {weight: 10}]}", "spec.rollout", "rising weights"),
    "weights that stay": ("rollout: {steps: [{weight: 50}, {weight: 50}]}", "spec.rollout", "rising weights"),
    "weight 0": ("rollout: {steps: [{weight: 0}]}", "spec.rollout.steps[0].weight", "1 or more"),
    "weight 100": ("rollout: {steps: [{weight: 100}]}", "spec.rollout.steps[0].weight", "99 or less"),
    "a weight as text": ("rollout: {steps: [{weight: '10'}]}", "spec.rollout.steps[0].weight", "without quotes"),
    "half a percent": ("rollout: {steps: [{weight: 0.5}]}", "spec.rollout.steps[0].weight", ""),
    "21 steps": (
        f"rollout: {{steps: [{', '.join(f'{{weight: {w}}}' for w in range(1, 22))}]}}",
        "spec.rollout.steps", "20 entries at most",
    ),
    "a hold without unit": ("rollout: {steps: [{weight: 1, hold: 60}]}", "spec.rollout.steps[0].hold", "such as 90s"),
    "a hold in words": ("rollout: {steps: [{weight: 1, hold: 1 minute}]}", "spec.rollout.steps[0].hold", "or manual"),
    "a hold in days": ("rollout: {steps: [{weight: 1, hold: 7d}]}", "spec.rollout.steps[0].hold", "between 0s and 168h"),
    "a hold of a month": ("rollout: {steps: [{weight: 1, hold: 720h}]}", "spec.rollout.steps[0].hold", "168h"),
    "a negative hold": ("rollout: {steps: [{weight: 1, hold: -1s}]}", "spec.rollout.steps[0].hold", "168h"),
    "manual elsewhere": ("rollout: {progressDeadline: manual}", "spec.rollout.progressDeadline", "such as 90s"),
    "min above max": ("scaling: {minReplicas: 3, maxReplicas: 2}", "spec.scaling", "not below minReplicas"),
    "min 0 without KEDA": ("scaling: {minReplicas: 0, maxReplicas: 2}", "spec.scaling", "needs provider: KEDA"),
    "min 0 without max": ("scaling: {minReplicas: 0, provider: KEDA}", "spec.scaling", "needs a maxReplicas"),
    "1001 replicas": ("scaling: {maxReplicas: 1001}", "spec.scaling.maxReplicas", "1000 or less"),
    "two targets": (
        "scaling: {target: {cpuUtilization: 70, concurrency: 2}}", "spec.scaling.target", "exactly one of",
    ),
    "no target in target": ("scaling: {target: {}}", "spec.scaling.target", "exactly one of"),
    "GPU target on a CPU": ("scaling: {target: {gpuUtilization: 80}}", "spec", "needs a GPU"),
    "error rate 0": ("rollout: {analysis: {maxErrorRate: 0}}", "spec.rollout.analysis.maxErrorRate", "0.001"),
    "error rate 1": ("rollout: {analysis: {maxErrorRate: 1}}", "spec.rollout.analysis.maxErrorRate", "0.001"),
    "error rate 5": ("rollout: {analysis: {maxErrorRate: 5}}", "spec.rollout.analysis.maxErrorRate", "0.001"),
    "a share of outputs of 1": (
        "rollout: {analysis: {maxDivergence: {outputs: [{name: y, maxShare: 1.0}]}}}",
        "spec.rollout.analysis.maxDivergence.outputs[0].maxShare", "between 0 and 1",
    ),
    "an empty divergence": (
        "rollout: {analysis: {maxDivergence: {}}}", "spec.rollout.analysis.maxDivergence", "top1Disagreement, outputs",
    ),
    "an output twice": (
        "rollout: {analysis: {maxDivergence: {outputs: [{name: y}, {name: y}]}}}",
        "spec.rollout.analysis.maxDivergence.outputs", "once",
    ),
    "confidence 0.3": ("rollout: {analysis: {confidence: 0.3}}", "spec.rollout.analysis", "between 0.5 and 0.9999"),
    "confidence 1": ("rollout: {analysis: {confidence: 1}}", "spec.rollout.analysis.confidence", "0.9999 or less"),
    "an increase below 1": (
        "rollout: {analysis: {maxErrorRateIncrease: 0.5}}", "spec.rollout.analysis.maxErrorRateIncrease", "1 or more",
    ),
    "Prometheus without a name": ("rollout: {analysis: {source: Prometheus}}", "spec.rollout.analysis", "ref: NAME"),
    "a query without bounds": (
        "rollout: {analysis: {prometheus: {queries: [{name: q, query: up}]}}}",
        "spec.rollout.analysis.prometheus.queries[0]", "min, max or both",
    ),
    "a query with crossed bounds": (
        "rollout: {analysis: {prometheus: {queries: [{name: q, query: up, min: 2, max: 1}]}}}",
        "spec.rollout.analysis.prometheus.queries[0]", "not above max",
    ),
    "a query of 2 KB": (
        f"rollout: {{analysis: {{prometheus: {{queries: [{{name: q, max: 1, query: {'x' * 2000}}}]}}}}}}",
        "spec.rollout.analysis.prometheus.queries[0].query", "1024 characters at most",
    ),
    "a latency without unit": (
        "rollout: {analysis: {maxLatency: {p99: 80}}}", "spec.rollout.analysis.maxLatency.p99", "between 1ms",
    ),
    "an unknown quantile": ("rollout: {analysis: {maxLatency: {p98: 80ms}}}", "spec.rollout.analysis.maxLatency.p98", "p9"),
    "a percentage without sign": (
        "rollout: {analysis: {maxLatencyIncrease: {p99: '20'}}}", "spec.rollout.analysis.maxLatencyIncrease.p99", "20%",
    ),
    "a percentage as a number": (
        "rollout: {analysis: {maxLatencyIncrease: {p99: 0.2}}}", "spec.rollout.analysis.maxLatencyIncrease.p99", "20%",
    ),
    "a percentage of nothing": (
        "rollout: {analysis: {maxLatencyIncrease: {p99: 0.00%}}}", "spec.rollout.analysis.maxLatencyIncrease.p99", "20%",
    ),
    "a metric without bounds": ("acceptance: {metrics: {f1: {}}}", "spec.acceptance.metrics.f1", "min, max or both"),
    "a metric with crossed bounds": (
        "acceptance: {metrics: {f1: {min: 2, max: 1}}}", "spec.acceptance.metrics.f1", "not above max",
    ),
    "a metric's odd name": ("acceptance: {metrics: {1f: {min: 1}}}", "spec.acceptance.metrics.1f", "letter"),
    "an unknown mode": ("acceptance: {golden: Maybe}", "spec.acceptance.golden", "'Require', 'Report' or 'Skip'"),
    "a GPU without accelerator": ("runtime: {device: cuda}", "spec.runtime", "add accelerator"),
    "logs of nothing": ("runtime: {requestLogs: {}}", "spec.runtime.requestLogs", "nothing would be written"),
    "more than all requests": (
        "runtime: {requestLogs: {accessSample: 5}}", "spec.runtime.requestLogs.accessSample", "1 or less",
    ),
    "an accelerator without GPU": ("runtime: {accelerator: {}}", "spec.runtime", "stand idle"),
    "provider options on a CPU": ("runtime: {providerOptions: {use_tf32: '0'}}", "spec.runtime", "device: cpu"),
    "TensorRT's option without it": (
        "runtime: {device: cuda, accelerator: {}, providerOptions: {trt_fp16_enable: '1'}}",
        "spec.runtime", "write device: tensorrt",
    ),
    "our provider option": (
        "runtime: {device: cuda, accelerator: {}, providerOptions: {device_id: '1'}}",
        "spec.runtime.providerOptions", "set by Tidegate",
    ),
    "a provider option as a number": (
        "runtime: {device: cuda, accelerator: {}, providerOptions: {use_tf32: 0}}",
        "spec.runtime.providerOptions.use_tf32", "quotes",
    ),
    "our environment": (
        "runtime: {env: [{name: TIDEGATE_DEVICE, value: cpu}]}", "spec.runtime.env[0]", "set by Tidegate",
    ),
    "a loader's environment": (
        "runtime: {env: [{name: LD_PRELOAD, value: /tmp/x.so}]}", "spec.runtime.env[0]", "set by Tidegate",
    ),
    "a path's environment": ("runtime: {env: [{name: PYTHONPATH, value: /tmp}]}", "spec.runtime.env[0]", "set by"),
    "an environment twice": (
        "runtime: {env: [{name: TZ, value: UTC}, {name: TZ, value: CET}]}", "spec.runtime.env", "once",
    ),
    "no memory limit": ("runtime: {resources: {limits: {cpu: 2}}}", "spec.runtime.resources", "limits.memory"),
    "a malformed quantity": (
        "runtime: {resources: {requests: {memory: 2 GB}}}", "spec.runtime.resources.requests.memory", "500m or 2Gi",
    ),
    "a negative quantity": (
        "runtime: {resources: {requests: {cpu: -1}}}", "spec.runtime.resources.requests.cpu", "500m or 2Gi",
    ),
    "half a resource": (
        "runtime: {resources: {requests: {cpu: 0.5}}}", "spec.runtime.resources.requests.cpu", "500m or 2Gi",
    ),
    "an odd resource": (
        "runtime: {device: cuda, accelerator: {resource: gpu}}", "spec.runtime.accelerator.resource", "nvidia.com/gpu",
    ),
    "no batch": ("runtime: {batching: {maxSize: 0}}", "spec.runtime.batching.maxSize", "1 or more"),
    "an image with a space": ("runtime: {image: 'a b'}", "spec.runtime.image", "image reference"),
    "our label": ("runtime: {pod: {labels: {tidegate.io/x: y}}}", "spec.runtime.pod.labels", "keys of your own"),
    "an app's label": (
        "runtime: {pod: {labels: {app.kubernetes.io/name: y}}}", "spec.runtime.pod.labels", "keys of your own",
    ),
    "a template's field": ("runtime: {pod: {hostNetwork: true}}", "spec.runtime.pod.hostNetwork", "no such field"),
    "hostnames of another's route": (
        "routing: {hostnames: [a.example.com], existingRouteRef: {name: fraud}}", "spec.routing", "existingRouteRef out",
    ),
    "one name for two protocols": (
        "routing: {hostnames: [a.example.com], grpcHostnames: [a.example.com]}", "spec.routing", "different names",
    ),
    "a Service with a gateway": (
        "routing: {provider: Service, parentRefs: [{name: public}]}", "spec.routing", "no gateway",
    ),
    "a gateway without a name": (
        "routing: {provider: GatewayAPI, hostnames: [a.example.com]}", "spec.routing", "name the gateway",
    ),
    "a URL as hostname": ("routing: {hostnames: ['https://a.example.com']}", "spec.routing.hostnames[0]", "host name"),
    "an address as hostname": ("routing: {hostnames: [10.0.0.1]}", "spec.routing.hostnames[0]", "IP address"),
    "a wildcard inside": ("routing: {hostnames: ['a.*.com']}", "spec.routing.hostnames[0]", "*.example.com"),
    "our header": ("routing: {headers: {x-tidegate-pinned: 'on'}}", "spec.routing.headers", "x-tidegate-"),
    "HTTP's header": ("routing: {headers: {host: x}}", "spec.routing.headers", "lower case"),
    "two headers": ("routing: {headers: {a: x, b: x}}", "spec.routing.headers", "1 entries at most"),
    "text for truth": ("paused: 'true'", "spec.paused", "without quotes"),
    "an unknown field": ("rolout: {}", "spec.rolout", "did you mean rollout?"),
    "fields as a list": ("rollout: []", "spec.rollout", "fields here"),
    "a peer of two kinds": (
        "networkPolicy: {clients: [{cidr: 10.0.0.0/8, namespace: a}]}",
        "spec.networkPolicy.clients[0]",
        "either cidr, or namespace",
    ),
    "a peer of no kind": (
        "networkPolicy: {clients: [{}]}",
        "spec.networkPolicy.clients[0]",
        "either cidr, or namespace",
    ),
    "a peer without labels": (
        "networkPolicy: {clients: [{pods: {}}]}",
        "spec.networkPolicy.clients[0].pods",
        "1 entr",
    ),
    "a network without its length": (
        "networkPolicy: {clients: [{cidr: 10.0.0.7}]}",
        "spec.networkPolicy.clients[0].cidr",
        "10.20.0.7/32",
    ),
    "a network by name": (
        "networkPolicy: {clients: [{cidr: example.com}]}",
        "spec.networkPolicy.clients[0].cidr",
        "10.20.0.0/16",
    ),
    "a network of 33 bits": (
        "networkPolicy: {clients: [{cidr: 10.0.0.0/33}]}",
        "spec.networkPolicy.clients[0].cidr",
        "10.20.0.0/16",
    ),
    "the metadata address": (
        "networkPolicy: {egress: [{to: {cidr: 169.254.169.254/32}, ports: [80]}]}",
        "spec.networkPolicy.egress[0].to.cidr",
        "--identity-endpoints",
    ),
    "the metadata address in IPv6": (
        "networkPolicy: {egress: [{to: {cidr: 'fd00:ec2::254/128'}, ports: [80]}]}",
        "spec.networkPolicy.egress[0].to.cidr",
        "--identity-endpoints",
    ),
    "a namespace by pattern": (
        "networkPolicy: {clients: [{namespace: 'team-*'}]}",
        "spec.networkPolicy.clients[0].namespace",
        "'*' for all",
    ),
    "egress without ports": (
        "networkPolicy: {egress: [{to: {namespace: a}, ports: []}]}",
        "spec.networkPolicy.egress[0].ports",
        "1 entr",
    ),
    "egress to port 0": (
        "networkPolicy: {egress: [{to: {namespace: a}, ports: [0]}]}",
        "spec.networkPolicy.egress[0].ports[0]",
        "1 or more",
    ),
    "nine clients": (
        f"networkPolicy: {{clients: [{', '.join(['{namespace: a}'] * 9)}]}}",
        "spec.networkPolicy.clients",
        "8 entries at most",
    ),
}  # fmt: skip
URIS = {
    "a repository without tag or digest": ("oci://registry.example.com/team/fraud", "oci://HOST/REPOSITORY:TAG"),
    "credentials": ("s3://key:hunter2@models/fraud", "credentials do not belong"),
    "a user": ("https://me@models.example.com/fraud", "credentials do not belong"),
    "a way up": ("s3://models/../other", "without . and .. parts"),
    "a way up at the end": ("file:///models/..", "without . and .. parts"),
    "an escaped way up": ("s3://models/%2e%2e/other", "write where the bundle is"),
    "another scheme": ("ftp://models/fraud", "write where the bundle is"),
    "plain http": ("http://models.example.com/fraud", "write where the bundle is"),
    "no scheme": ("models/fraud", "write where the bundle is"),
    "a query": ("https://models.example.com/fraud?token=1", "write where the bundle is"),
    "a fragment": ("https://models.example.com/fraud#x", "write where the bundle is"),
    "a backslash": ("s3://models\\fraud/1", "write where the bundle is"),
    "a space": ("s3://models/my model", "write where the bundle is"),
    "a line's end": ("s3://models/fraud\n", "write where the bundle is"),
    "another alphabet": ("s3://models/раудфф", "write where the bundle is"),
    "an address": ("https://169.254.169.254/latest", "name the host"),
    "port 0": ("https://models.example.com:0/fraud", "write where the bundle is"),
    "a relative file": ("file://models/fraud", "write where the bundle is"),
    "nothing": ("", "1 characters at least"),
    "too much": ("s3://models/" + "x" * 600, "512 characters at most"),
}


def manifest(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "serving.tidegate.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud"},
        "spec": {"bundle": {"uri": "s3://models/fraud/1"}} | spec,
    }


def problems(document: dict[str, Any]) -> list[tuple[str, str]]:
    checked = Checked()
    check_text(yaml.safe_dump(document, allow_unicode=True).encode(), "f.yaml", checked)
    return [(problem.field, problem.message) for problem in checked.problems]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_its_place_and_what_to_write(case: str, api_server: Any) -> None:
    text, place, says = REFUSED[case]
    document = manifest(yaml.safe_load(text))

    found = problems(document)

    assert any(where == place and says in message for where, message in found), found
    assert api_server.refusals(document)


@pytest.mark.parametrize("case", URIS)
def test_an_address_that_is_none_is_refused(case: str, api_server: Any) -> None:
    uri, says = URIS[case]
    document = manifest({"bundle": {"uri": uri}})

    found = problems(document)

    assert found[0][0] == "spec.bundle.uri"
    assert says in found[0][1]
    assert "hunter2" not in found[0][1]
    assert api_server.refusals(document)


@pytest.mark.parametrize(
    "uri",
    ["s3://models/fraud/1.4.0", "https://models.example.com:8443/fraud", "oci://registry.example.com/team/fraud:1.4",
     "oci://registry.example.com:5000/fraud@sha256:" + "a" * 64, "oci://host/fraud:1@sha256:" + "a" * 64,
     "pvc://models/fraud", "file:///var/models/fraud", "s3://models/fraud/"],
)  # fmt: skip
def test_every_kind_of_address_is_taken(uri: str, api_server: Any) -> None:
    document = manifest({"bundle": {"uri": uri}})

    assert problems(document) == []
    assert api_server.refusals(document) == []


@pytest.mark.parametrize("digest", ["a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 63, "latest", "md5:" + "a" * 64])
def test_a_malformed_digest_is_refused(digest: str, api_server: Any) -> None:
    document = manifest({"bundle": {"uri": "s3://models/fraud/1", "digest": digest}})

    assert "tidegate pack" in problems(document)[0][1] or "characters" in problems(document)[0][1]
    assert api_server.refusals(document)


@pytest.mark.parametrize("key", ["", ".", "..", "..age", "keys/age", "age key"])
def test_a_key_that_no_secret_has_is_refused(key: str, api_server: Any) -> None:
    """It is the name of a file in the pods."""
    document = manifest(opened_by(key))

    assert problems(document)[0][0] == "spec.bundle.decryption.keySecretRef.key"
    assert api_server.refusals(document)


@pytest.mark.parametrize("key", ["age.key", ".age", "a..b", "-_", "7"])
def test_every_key_that_a_secret_can_have_is_taken(key: str, api_server: Any) -> None:
    assert problems(manifest(opened_by(key))) == []
    assert api_server.refusals(manifest(opened_by(key))) == []


def opened_by(key: str) -> dict[str, Any]:
    return {"bundle": {"uri": "s3://models/fraud/1", "decryption": {"keySecretRef": {"name": "keys", "key": key}}}}


@pytest.mark.parametrize("name", ["a" * 41, "Fraud", "1fraud", "fraud-", "fraud.v1", "-fraud"])
def test_a_name_that_its_children_cannot_carry_is_refused(name: str, api_server: Any) -> None:
    document = manifest({})
    document["metadata"]["name"] = name

    assert problems(document)[0][0] == "metadata.name"
    assert api_server.refusals(document)


def test_all_problems_are_told_at_once() -> None:
    bad = manifest({"paused": 1, "scaling": {"minReplicas": -1}, "rollout": {"historyLimit": 0}})

    assert [place for place, _ in problems(bad)] == [
        "spec.paused", "spec.rollout.historyLimit", "spec.scaling.minReplicas",
    ]  # fmt: skip


def test_the_same_rule_speaks_with_the_same_words_on_both_sides(api_server: Any) -> None:
    for text, place, _ in REFUSED.values():
        document = manifest(yaml.safe_load(text))
        if refused := [line for line in api_server.refusals(document) if line.startswith(".spec")]:
            said = {message for _, message in problems(document)}
            assert {line.split(": ", 1)[1] for line in refused} <= said | {"duplicate name"}, place


def test_refusing_does_not_change_what_was_written(minimal: dict[str, Any]) -> None:
    before = copy.deepcopy(minimal)
    problems(minimal)
    assert minimal == before
