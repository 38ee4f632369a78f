"""Any status that the schema of the CustomResourceDefinition lets through, for properties that hold of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tidegate.api.crd import object_schema
from tidegate.plan.phases import Phase, Settled

Schema = Mapping[str, Any]
GENERATIONS = st.integers(1, 3)
# Words that mean something where they stand; everywhere else any text will do.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "phase": (*Phase, *Settled),
    "type": ("Ready", "Promoted", "Reconciling", "Stalled", "Degraded", "Other"),
    "reason": ("Paused", "WaitingForPromote", "StepHold", "TooFewRequests", "StableNotReady", "RolledBack", "Aborted"),
    "outcome": ("Promoted", "RolledBack", "Refused"),
    "surge": ("Surge", "Replace"),
    "revision": ("0123456789", "abcdef0123", "aaaaaaaaaa"),
    "rollback": ("", "0123456789"),
}


def _values(name: str, schema: Schema) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "object":
        return _objects(schema)
    if kind == "array":
        return st.lists(_values(name, schema["items"]), max_size=3)
    if kind == "boolean":
        return st.booleans()
    if kind in ("integer", "number"):
        return st.integers(schema.get("minimum", 0), schema.get("maximum", 100))
    if schema.get("format") == "date-time":
        return st.just("2026-01-01T00:00:00Z")
    return st.sampled_from(KNOWN[name]) if name in KNOWN else st.text("aé %-/", max_size=min(4, schema["maxLength"]))


def _objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        return st.dictionaries(st.sampled_from(["promote", "abort"]), _values("", schema["additionalProperties"]))
    fields = {name: _values(name, part) for name, part in schema["properties"].items()}
    needed = set(schema.get("required", ()))
    optional = {name: values for name, values in fields.items() if name not in needed}
    return st.fixed_dictionaries({name: fields[name] for name in needed}, optional=optional)


def _deployment(generation: int, seen: int | None, status: dict[str, Any] | None) -> dict[str, Any]:
    told = None if status is None else {**status, "observedGeneration": seen}
    return {
        "metadata": {"name": "fraud", "generation": generation},
        "spec": {"scaling": {"minReplicas": 1}},
        **({} if told is None else {"status": {name: part for name, part in told.items() if part is not None}}),
    }


statuses = _values("status", object_schema()["properties"]["status"])
deployments = st.builds(_deployment, GENERATIONS, st.none() | GENERATIONS, st.none() | statuses)
looked_at = st.builds(lambda generation, status: _deployment(generation, generation, status), GENERATIONS, statuses)
