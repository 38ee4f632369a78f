"""The types and the generated schema give the same yes or no, for manifests that nobody thought of."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from cel_expr_python import cel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tidegate.api.crd import object_schema
from tidegate.api.spec import ModelDeployment

ENVIRONMENT = cel.NewEnv(variables={"self": cel.Type.DYN})
compiled = cache(ENVIRONMENT.compile)
SCHEMA = object_schema()
SPEC = SCHEMA["properties"]["spec"]
# Text that some field takes, or nearly takes: random letters alone would only ever be refused.
WORDS = [
    "", "10s", "1m30s", "0s", "168h", "169h", "1.5s", "1.2345s", "0.5ms", "manual", "10", "20%", "0%", "0.0%", "999.99%", "20",
    "s3://models/fraud/1", "s3://a@b/c", "file:///a/../b", "file:///a/b", "https://host:443/p", "https://1.2.3.4/p", "oci://x", "oci://x/y", "oci://x/y:1",
    "sha256:" + "0" * 64, "2Gi", "500m", "-1", "1e3", "0.001", "nvidia.com/gpu", "gpu", "name", "Name", "a.b", "a..b", "-a", "a-",
    "x" * 63, "x" * 64, "tidegate.io/a", "serving.tidegate.io/a", "app.kubernetes.io/name", "nottidegate.io/a", "kubernetes.io/hostname",
    "TZ", "LD_PRELOAD", "use_tf32", "trt_fp16_enable", "device_id", "AWS_REGION", "f1", "accuracy", "vendor.example.com/gpu", "host", "x-model-version", "x-tidegate-pinned", "X-Upper", "*.example.com", "1.2.3.4",
    "Require", "Auto", "KEDA", "cuda", "Prometheus", "true", "null", "a\n", "\n", "a b", "é", "\x00", "'", "\\", "p99.9", "Ünï",
    "*", "10.20.0.0/16", "10.20.0.7/32", "10.20.0.0/33", "10.20.0/16", "256.0.0.0/8", "0.0.0.0/0", "010.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32",
    "::/0", "fd00:1::/48", "fe80::/10", "fd00:ec2::254/128", "1:2:3:4:5:6:7:8/128", "1:2:3:4:5:6:7::/129", "::ffff:10.0.0.1/128", "10.0.0.0/8\n",
]  # fmt: skip
NUMBERS = [
    0,
    1,
    -1,
    2,
    0.5,
    0.99,
    0.9999,
    1.0,
    1.5,
    10,
    50,
    99,
    100,
    1000,
    1001,
    3.0,
    65536,
    1e12,
    1e300,
    2**53,
    2**63,
    -0.0,
]
JUNK = st.one_of(
    st.none(), st.booleans(), st.sampled_from(NUMBERS), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS), st.text(max_size=8), st.just([]), st.just({}), st.just([{}]), st.just({"name": "a"}),
)  # fmt: skip


@cache
def likely(path: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Values that the schema at `path` is likely to take."""
    schema = SPEC
    for step in path:
        schema = (
            schema["properties"][step]
            if step not in ("[]", "{}")
            else schema[{"[]": "items", "{}": "additionalProperties"}[step]]
        )
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer" | "number":
            least, most = schema.get("minimum", 0), schema.get("maximum", 1)
            return st.one_of(st.sampled_from([least, most, 0.5, 1]), st.integers(int(least), int(most)))
        case "array":
            return st.lists(either((*path, "[]")), max_size=3)
        case "object" if "additionalProperties" in schema:
            keys = fitting(lambda word: passes(schema, {word: ""}))
            return st.dictionaries(keys, either((*path, "{}")), max_size=2)
        case "object":
            return fields(path, schema)
    return fitting(lambda word: passes(schema, word))


def passes(schema: dict[str, Any], value: Any) -> bool:
    """Whether the rules and bounds of this part alone are kept."""
    rules = (compiled(rule["rule"]) for rule in schema.get("x-kubernetes-validations", []))
    fits = not isinstance(value, str) or (
        schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 99)
        and re.search(schema.get("pattern", ""), value)
    )
    return bool(fits) and all(rule.eval(data={"self": value}).value() is True for rule in rules)


def fitting(fits: Callable[[str], bool]) -> st.SearchStrategy[str]:
    """Mostly words that fit, now and then any."""
    good = [word for word in WORDS if fits(word)] or WORDS
    return st.integers(0, 19).flatmap(lambda die: st.sampled_from(WORDS if die == 0 else good))


def fields(path: tuple[str, ...], schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """An object of a few of the fields, now and then with one that nobody knows."""
    known = {name: either((*path, name)) for name in schema["properties"]}
    needed = {name: known[name] for name in schema.get("required", [])}
    some = st.fixed_dictionaries(needed, optional={name: part for name, part in known.items() if name not in needed})
    few = st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries(needed | {name: known[name] for name in names})
    )
    return st.one_of(
        few, few, few, few, few, some if len(known) < 6 else few, few.map(lambda made: made | {"nobody": 1})
    )


def either(path: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: st.integers(0, 39).flatmap(lambda die: JUNK if die == 0 else likely(path)))


def taken_by_types(manifest: dict[str, Any]) -> ModelDeployment | None:
    try:
        return ModelDeployment.model_validate(copy.deepcopy(manifest), by_alias=True, by_name=False)
    except ValidationError:
        return None


@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(
        ["acceptance", "runtime", "scaling", "rollout", "routing", "networkPolicy", "bundle", "paused"]
    ),
    data=st.data(),
)
def test_types_and_schema_agree_on_every_manifest(
    name: str, data: st.DataObject, api_server: Any, minimal: Any
) -> None:
    minimal["spec"][name] = data.draw(likely((name,)))

    refused = api_server.refusals(minimal)

    assert (taken_by_types(minimal) is None) == bool(refused), (minimal["spec"], refused)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(["acceptance", "runtime", "scaling", "rollout", "routing", "bundle"]), data=st.data())
def test_what_is_taken_is_written_again_as_the_server_keeps_it(
    name: str, data: st.DataObject, api_server: Any, minimal: Any
) -> None:
    minimal["spec"][name] = data.draw(likely((name,)))
    if (deployment := taken_by_types(minimal)) is None:
        return

    written = deployment.written()

    assert api_server.refusals({**written, "metadata": minimal["metadata"]}) == []
    again = ModelDeployment.model_validate(json.loads(json.dumps(written)), by_alias=True, by_name=False)
    assert again == deployment


def test_defaults_are_the_same_on_both_sides(api_server: Any, minimal: Any) -> None:
    stored = api_server.defaulted(minimal)["spec"]

    assert ModelDeployment.model_validate(minimal).written()["spec"] == stored


def test_a_null_is_as_if_it_were_not_written(api_server: Any, minimal: Any) -> None:
    minimal["spec"]["rollout"] = None
    minimal["spec"]["scaling"] = {"maxReplicas": None, "minReplicas": None}
    minimal["spec"]["routing"] = {"headers": {"x-model-version": None}}
    minimal["spec"]["acceptance"] = {"metrics": {"f1": None, "accuracy": {"min": 0.5, "max": None}}}

    assert api_server.refusals(minimal) == []
    deployment = taken_by_types(minimal)
    assert deployment is not None
    assert deployment.spec.scaling.min_replicas == 1
