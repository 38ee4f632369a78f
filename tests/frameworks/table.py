"""The results of `make frameworks` for people: a line per case while it runs, and the tables of docs/frameworks.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def line(framework: str, row: dict[str, Any]) -> str:
    """One case as it is printed."""
    return f"{framework:12} {row['format']:28} {row['model']:36} {outcome(row)}  ({row['seconds']} s)"


def outcome(row: dict[str, Any]) -> str:
    """What became of a case, in a word or a sentence."""
    if "failed" in row:
        return f"NOT AS IT SHOULD BE: {row['failed']}"
    if "refused" in row:
        return f"refused: {row['refused']}"
    parity = row["parity"]
    if not parity:
        return "the same graph"
    wrong = f", {parity['mismatchedRows']} of {parity['rows']} rows tip over" if parity["mismatchedRows"] else ""
    return f"{float(parity['worstDifference']):.0e}{wrong}"


def write(page: Path, framework: str, rows: Sequence[dict[str, Any]]) -> None:
    """Replace the framework's table between its markers."""
    begin, end = f"<!-- cases: {framework} -->", "<!-- end -->"
    text = page.read_text()
    assert begin in text, f"{page.name} has no place for {framework}: write {begin} and {end} where it belongs"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n{markdown(rows)}\n{end}{tail}")


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A row per format, its models with their worst differences; then what is refused, a line each."""
    formats: dict[str, list[str]] = {}
    for row in rows:
        if not row.get("expected"):
            formats.setdefault(row["format"], []).append(f"{row['model']} {outcome(row)}".replace("|", "/"))
    lines = ["| format | models, and the worst difference of a number |", "|---|---|"]
    lines += [f"| {format_} | {' · '.join(models)} |" for format_, models in formats.items()]
    refused = [f"- {row['format']}, {row['model']}: `{_code(outcome(row))}`" for row in rows if row.get("expected")]
    return "\n".join(lines + (["", "Refused, as it must be:", "", *refused] if refused else []))


def _code(text: str) -> str:
    return re.sub(r"\s+", " ", text.removeprefix("refused: ")).replace("`", "'")[:300]
