"""The largest spec and the largest status each stay under 64 KiB, whatever is written into them."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from tidegate.api.crd import object_schema

LIMIT = 64 * 1024
# The evidence of a rollout has a bound of its own over all its lists (tests/unit/plan/test_evidence.py).
EVIDENCE = 32 * 1024
# One of each kind of character that JSON or UTF-8 makes longer, and plain ones.
CHARACTERS = ["a", "0", " ", '"', "\\", "\n", "\x01", "é", "€", "😀"]
TIME = len('"2026-11-22T03:15:00.123456+00:00"')
# Counts reach 10^12.
FIXED = {"boolean": len("false"), "integer": 13, "number": len("-1.7976931348623157e+308")}


@cache
def bytes_per_character(pattern: str) -> int:
    """The longest JSON form of a character that text of this pattern can consist of."""
    taken = [c for c in CHARACTERS if re.search(pattern, c * 3) or re.search(pattern, f"a{c}a")] or ["a"]
    return max(len(json.dumps(c, ensure_ascii=False).encode()) - 2 for c in taken)


def text_bytes(schema: dict[str, Any], unsaid: float) -> int:
    """`unsaid`: bytes per character where no form is demanded (written by Tidegate, or by anybody)."""
    rules = " && ".join(rule["rule"] for rule in schema.get("x-kubernetes-validations", []))
    forms = [form.replace("\\\\", "\\") for form in re.findall(r"(?<!!)self\.matches\('(\^.*?\$)'\)", rules)]
    forms += [schema["pattern"]] if "pattern" in schema else []
    width = min((float(bytes_per_character(form)) for form in forms), default=unsaid)
    return 2 + round(width * int(schema["maxLength"]))


def largest(schema: dict[str, Any], unsaid: float) -> int:
    """An upper bound of the compact JSON of a value."""
    if "enum" in schema:
        return max(len(json.dumps(value)) for value in schema["enum"])
    if schema.get("format") == "date-time":
        return TIME
    kind = schema.get("type", "string")
    if kind in FIXED:
        return FIXED[kind]
    if kind == "string":
        return text_bytes(schema, unsaid)
    if kind == "array":
        return 2 + int(schema["maxItems"]) * (1 + largest(schema["items"], unsaid))
    if "properties" in schema:
        parts = schema["properties"].items()
        return 2 + sum(len(name) + 4 + largest(part, max(unsaid, sentence(name))) for name, part in parts)
    # No key is longer than a label's or an option's name; forms and rules keep it plain.
    return 2 + int(schema["maxProperties"]) * (4 + 63 + largest(schema["additionalProperties"], unsaid))


def sentence(name: str) -> float:
    """Sentences of a status quote names now and then: one character in four is more than any of them has."""
    return 1.25 if name.lower().endswith("message") else 0


def test_the_largest_spec_is_under_64_kib() -> None:
    assert largest(object_schema()["properties"]["spec"], unsaid=6) < LIMIT


def test_the_largest_status_is_under_64_kib() -> None:
    status = object_schema()["properties"]["status"]
    status["properties"]["rollout"]["properties"].pop("evidence")

    # Names, reasons and digests are Tidegate's own words: plain letters.
    assert largest(status, unsaid=1) + EVIDENCE < LIMIT


def test_text_that_json_makes_longer_is_counted_so() -> None:
    assert bytes_per_character("^[a-z]*$") == 1
    assert bytes_per_character("^[ -~]*$") == 2
    assert bytes_per_character(".") == 6
    assert text_bytes({"maxLength": 10}, 6) == 62
