"""The form of a decision is what docs/operations.md says of it, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tidegate.api.decision import Decision

PAGE = (Path(__file__).parents[3] / "docs/operations.md").read_text()


def table() -> list[str]:
    """A row for each field of the schema; versions have the figures of the status."""
    schema = Decision.model_json_schema(by_alias=True)
    return [f"| `{path}` | {kind} | {meaning} |" for path, kind, meaning in fields(schema, schema["$defs"])]


def fields(schema: dict[str, Any], kinds: dict[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in schema["properties"].items():
        found = next((part for part in field.get("anyOf", [field]) if part.get("type") != "null"), field)
        items = found.get("items", found)
        named = f"{path}{name}[]" if "items" in found else path + name
        if "$ref" in items:
            yield from fields(kinds[items["$ref"].rpartition("/")[2]], kinds, f"{named}.")
        else:
            yield named, kind_of(found), field["description"]


def kind_of(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    words = {"date-time": "time, RFC 3339", "string": "text"}
    return words.get(str(field.get("format")), words.get(field["type"], str(field["type"])))


def test_the_page_lists_every_field_as_the_type_has_it() -> None:
    rows = [
        line for line in PAGE.partition("### Decisions")[2].partition("\n## ")[0].splitlines() if line.startswith("| `")
    ]

    assert rows == table()


def test_a_field_of_a_later_version_is_passed_over_and_a_missing_number_is_not() -> None:
    known = {"number": 1, "at": "2026-11-26T09:00:00Z", "reason": "Promoted", "before": {}, "after": {}}

    assert Decision.model_validate({**known, "later": 1}).number == 1
    with pytest.raises(ValidationError):
        Decision.model_validate({name: value for name, value in known.items() if name != "number"})
