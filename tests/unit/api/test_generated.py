"""What is generated from the types: the CRD in crds/, the page in docs/, and what holds for every field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidegate.api.crd import NotStructural, crd_text, custom_resource_definition, object_schema, structural
from tidegate.api.load import check
from tidegate.api.local_meaning import LOCAL_MEANING, NOT_HERE, local_meaning
from tidegate.api.reference import Entry, Undocumented, entries, reference
from tidegate.api.scalars import format_duration, parse_duration
from tidegate.api.spec import ModelDeployment
from tidegate.local.here import WITHOUT_EFFECT, camel

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted(ROOT.glob("examples/*.yaml"))
SPEC = object_schema()["properties"]["spec"]
STATUS = object_schema()["properties"]["status"]


def walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from walk(part, f"{path}.{name}")
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if word in schema:
            yield from walk(schema[word], path + mark)


def test_the_committed_definition_is_the_generated_one() -> None:
    assert (ROOT / "crds/serving.tidegate.io_modeldeployments.yaml").read_text() == crd_text(), "run `make crds`"


def test_the_committed_page_is_the_generated_one() -> None:
    assert (ROOT / "docs/manifest.md").read_text() == reference(), "run `make docs`"


def test_the_definition_reads_back_as_what_was_written() -> None:
    assert yaml.safe_load(crd_text()) == custom_resource_definition()


def test_every_field_has_a_description() -> None:
    bare = [path for path, part in [*walk(SPEC, "spec"), *walk(STATUS, "status")] if path[-1] not in "]}"
            and not part.get("description", "").strip()]  # fmt: skip
    assert bare == []


def test_every_text_list_map_and_number_of_the_spec_is_bounded() -> None:
    need = {"string": "maxLength", "array": "maxItems", "integer": "maximum", "number": "maximum"}
    unbounded = [
        path
        for path, part in [*walk(SPEC, "spec"), *walk(STATUS, "status")]
        if (word := need.get(part.get("type", ""))) and word not in part and "enum" not in part
        and part.get("format") != "date-time" and "self > 0.0 && self < 1.0" not in json.dumps(part)
        and not (path.startswith("status") and word == "maximum")
    ]  # fmt: skip
    maps = [path for path, part in walk(SPEC, "spec") if "additionalProperties" in part and "maxProperties" not in part]
    assert unbounded + maps == []


def test_the_schema_is_structural() -> None:
    for path, part in [*walk(SPEC, "spec"), *walk(STATUS, "status")]:
        assert "type" in part or part.get("x-kubernetes-int-or-string"), path
        assert not {"$ref", "title", "const", "oneOf", "allOf", "not", "prefixItems"} & set(part), path
        assert not ("properties" in part and "additionalProperties" in part), path
        assert all("\n" not in rule["message"] for rule in part.get("x-kubernetes-validations", [])), path


def test_of_a_status_only_its_beginning_is_filled_in() -> None:
    filled_in = {path: part["default"] for path, part in walk(STATUS, "status") if "default" in part}

    assert filled_in == {"status": {"observedGeneration": 0}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "patternProperties": {"a": {}}},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
        {"type": "number", "multipleOf": 2},
    ],
)
def test_what_has_no_counterpart_in_kubernetes_is_an_error(schema: dict[str, Any]) -> None:
    with pytest.raises(NotStructural):
        structural(schema, {}, "spec")


def test_bounds_that_exclude_are_said_as_kubernetes_says_them() -> None:
    assert structural({"type": "number", "exclusiveMinimum": 0}, {}, "x") == {
        "type": "number", "minimum": 0, "exclusiveMinimum": True,
    }  # fmt: skip


def test_a_pod_sees_what_an_admin_expects_in_the_columns() -> None:
    columns = custom_resource_definition()["spec"]["versions"][0]["additionalPrinterColumns"]

    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Ready", "Phase", "Stable", "Candidate", "Weight", "Replicas", "Age",
    ]  # fmt: skip
    assert [column["name"] for column in columns if column.get("priority")] == ["Digest", "Device", "Reason"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_taken_by_types_and_schema(example: Path, api_server: Any) -> None:
    checked = check([str(example)])

    assert checked.problems == []
    for document in yaml.safe_load_all(example.read_text()):
        if document["kind"] == "ModelDeployment":
            assert api_server.refusals(document) == []


def test_the_minimal_example_fits_in_ten_lines() -> None:
    lines = [line for line in (ROOT / "examples/minimal.yaml").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) <= 10


def test_every_field_has_a_meaning_on_one_machine() -> None:
    for entry in entries(SPEC):
        assert entry.meaning, entry.path
        entry.here  # noqa: B018  (raises where nothing is said)


def test_a_field_that_nobody_explained_stops_the_page() -> None:
    with pytest.raises(Undocumented, match="no meaning for `tidegate run`"):
        Entry("nobody", {"type": "string", "description": "Something."}, False).here  # noqa: B018
    with pytest.raises(Undocumented, match="no description"):
        Entry("paused", {"type": "string"}, False).meaning  # noqa: B018


def test_no_meaning_is_left_over_from_a_field_that_is_gone() -> None:
    paths = {entry.path.replace("[]", "").replace(".NAME", "") for entry in entries(SPEC)}
    assert {path for path in LOCAL_MEANING if path.removesuffix(".*") not in paths} == set()


def test_the_page_and_the_runner_name_the_same_fields_without_effect() -> None:
    told = {path for path, meaning in LOCAL_MEANING.items() if meaning.startswith(NOT_HERE)}

    assert told == {camel(path) for path in WITHOUT_EFFECT}
    assert all((local_meaning(camel(path)) or "").startswith(NOT_HERE) for path in WITHOUT_EFFECT)


@given(st.integers(0, 168 * 3_600_000))
def test_a_duration_is_read_back_as_it_was_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)

    assert parse_duration(format_duration(duration)) == duration


def test_messages_of_an_invalid_manifest_never_show_what_was_written() -> None:
    with pytest.raises(ValueError, match="credentials") as caught:
        ModelDeployment.model_validate({"metadata": {"name": "f"}, "spec": {"bundle": {"uri": "s3://me:hunter2@m/f"}}})

    assert "hunter2" not in str(caught.value)
    assert not re.search("input_value", str(caught.value))
