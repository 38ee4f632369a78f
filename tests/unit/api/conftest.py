"""What a real API server does with a manifest, from the generated schema alone: prune, default, validate, ask the rules."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from cel_expr_python import cel
from jsonschema import Draft202012Validator

from tidegate.api.crd import object_schema

Schema = dict[str, Any]
ENVIRONMENT = cel.NewEnv(variables={"self": cel.Type.DYN})
MINIMAL = {
    "apiVersion": "serving.tidegate.io/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "fraud", "namespace": "payments"},
    "spec": {"bundle": {"uri": "s3://models/fraud/1.4.0"}},
}


@cache
def compiled(rule: str) -> Any:
    return ENVIRONMENT.compile(rule)


def parts(schema: Schema, value: Any) -> Iterator[tuple[str, Schema, Any]]:
    """The parts of `value` that `schema` has a schema for."""
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield f".{name}", part, value[name]
        if values := schema.get("additionalProperties"):
            yield from ((f".{name}", values, part) for name, part in value.items())
    if isinstance(value, list) and "items" in schema:
        yield from ((f"[{i}]", schema["items"], part) for i, part in enumerate(value))


def without_nulls(schema: Schema, value: Any) -> None:
    if isinstance(value, dict):
        known = value if "additionalProperties" in schema else schema.get("properties", {})
        for name in [name for name, part in value.items() if part is None and name in known]:
            del value[name]
    for _, part, inner in parts(schema, value):
        without_nulls(part, inner)


def with_defaults(schema: Schema, value: Any) -> None:
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if "default" in part:
                value.setdefault(name, copy.deepcopy(part["default"]))
    for _, part, inner in parts(schema, value):
        with_defaults(part, inner)


def jsonschema_form(schema: Schema) -> Schema:
    """The structural schema as jsonschema reads it: closed objects, numeric exclusive bounds, `$` that means the end."""
    made = {word: value for word, value in schema.items() if not word.startswith(("x-", "exclusive"))}
    for bound in ("Minimum", "Maximum"):
        if schema.get(f"exclusive{bound}"):
            made[f"exclusive{bound}"] = made.pop(bound.lower())
    if "pattern" in made:
        made["pattern"] = made["pattern"].replace("$", r"\Z")
    if "properties" in made:
        made["properties"] = {name: jsonschema_form(part) for name, part in made["properties"].items()}
        made["additionalProperties"] = False
    elif "additionalProperties" in made:
        made["additionalProperties"] = jsonschema_form(made["additionalProperties"])
    if "items" in made:
        made["items"] = jsonschema_form(made["items"])
    return made


@dataclass
class ApiServer:
    """Answers as the API server would, with strict field validation as kubectl asks for."""

    schema: Schema = field(default_factory=object_schema)

    def __post_init__(self) -> None:
        form = jsonschema_form(self.schema)
        form["properties"]["metadata"] = {"type": "object"}
        form["properties"]["status"] = {}
        self.validator = Draft202012Validator(form)

    def defaulted(self, manifest: Any) -> Any:
        stored = copy.deepcopy(manifest)
        without_nulls(self.schema, stored)
        with_defaults(self.schema, stored)
        return stored

    def refusals(self, manifest: Any) -> list[str]:
        """Why `manifest` is refused; as on a real server the rules are asked only when the schema is satisfied."""
        stored = self.defaulted(manifest)
        errors = [f"{error.json_path}: {error.message}" for error in self.validator.iter_errors(stored)]
        return errors or list(self.broken(self.schema, stored, ""))

    def broken(self, schema: Schema, value: Any, path: str) -> Iterator[str]:
        for rule in schema.get("x-kubernetes-validations", []):
            if compiled(rule["rule"]).eval(data={"self": value}).value() is not True:
                yield f"{path}: {rule['message']}"
        for key in schema.get("x-kubernetes-list-map-keys", []):
            names = [item[key] for item in value]
            if len(set(names)) != len(names):
                yield f"{path}: duplicate {key}"
        for step, part, inner in parts(schema, value):
            yield from self.broken(part, inner, path + step)


@pytest.fixture(scope="session")
def api_server() -> ApiServer:
    return ApiServer()


@pytest.fixture
def minimal() -> dict[str, Any]:
    return copy.deepcopy(MINIMAL)
