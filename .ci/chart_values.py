"""Write the table of docs/install.md: every value with its default, what it may be, and its comment in values.yaml.

Run `make docs`; `make lint` fails while the page is not what this writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts/tidegate"
PAGE = ROOT / "docs/install.md"
BEGIN, END = "<!-- values: written by make docs -->\n", "<!-- values end -->\n"
FORMS = {  # of the schema's definitions, in words
    "name": "a name", "objectName": "a name", "registry": "a registry", "repository": "a name",
    "tag": "a tag, not `latest`", "digest": "a digest", "interval": "a time, as 30s",
    "strings": "map of texts", "labels": "map of labels", "quantities": "quantities",
}  # fmt: skip
Schema = Mapping[str, Any]


def comments(text: str) -> dict[str, str]:
    """The comment right above each key, by the key's path."""
    found: dict[str, str] = {}
    path: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            lines.append(bare.removeprefix("#").strip())
            continue
        if bare:
            depth = (len(line) - len(line.lstrip())) // 2
            path = [*path[:depth], bare.partition(":")[0]]
            found[".".join(path)] = " ".join(lines)
        lines = []
    return found


def leaves(values: Mapping[str, Any], schema: Schema, path: str = "") -> Iterator[tuple[str, Any, Schema]]:
    """Each value that people set: its path, its default, and what the schema says of it."""
    for key, value in values.items():
        rule = schema["properties"][key]
        if "properties" in rule and value and key != "resources":
            yield from leaves(value, rule, f"{path}{key}.")
        else:
            yield f"{path}{key}", value, rule


def allowed(rule: Schema) -> str:
    """What may stand there, in a few words."""
    if "$ref" in rule:
        return FORMS[rule["$ref"].rpartition("/")[2]]
    if "enum" in rule:
        return ", ".join(f"`{word}`" for word in rule["enum"])
    if rule["type"] == "array":
        return "list" if "properties" in rule["items"] else f"list: {allowed(rule['items'])}"
    if "minimum" in rule:
        return f"{rule['minimum']} to {rule['maximum']}"
    return {"boolean": "true, false", "object": "map", "string": "text", "integer": "a whole number"}[rule["type"]]


def table() -> str:
    """The rows, in the order of values.yaml."""
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    told = comments(text)
    rows = ["| value | default | may be | |", "|---|---|---|---|"]
    for path, default, rule in leaves(yaml.safe_load(text), schema):
        if not told[path]:
            raise SystemExit(f"error: {CHART}/values.yaml says nothing of {path}: write a comment above it")
        rows.append(f"| `{path}` | `{json.dumps(default)}` | {allowed(rule)} | {told[path]} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")


if __name__ == "__main__":
    main()
