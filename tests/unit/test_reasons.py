"""Every reason that the code can give is explained in docs/errors.md, and nothing there is a reason no more.

Reasons are found where they are written: class attributes and arguments called `reason`, and the calls that take one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/errors.md"
CODE = re.compile(r"[A-Z]+[a-z]+(?:[A-Z][A-Za-z]*)*")
# What takes a reason -> which of its arguments it is.
TAKES = {
    "Fact": 1, "Failure": 1, "Judgement": 1, "Event": 1, "Hold": 0, "_refuse": 0, "_in_trouble": 0, "tell": 0,
    "environment": 0,
}  # fmt: skip
NAMES = {"reason", "hold_reason", "event"}


def constants(node: ast.expr) -> Iterator[str]:
    """The codes that an expression can be; a conditional has two."""
    if isinstance(node, ast.IfExp):
        yield from (*constants(node.body), *constants(node.orelse))
    elif isinstance(node, ast.BoolOp | ast.Tuple):
        for part in node.values if isinstance(node, ast.BoolOp) else node.elts[:1]:
            yield from constants(part)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
        yield node.value


def in_call(node: ast.Call) -> Iterator[str]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    at = TAKES.get(name)
    if at is not None and len(node.args) > at:
        yield from constants(node.args[at])
    for keyword in node.keywords:
        if keyword.arg in NAMES:
            yield from constants(keyword.value)


def in_assignment(target: ast.expr, value: ast.expr) -> Iterator[str]:
    first = target.elts[0] if isinstance(target, ast.Tuple) else target
    if isinstance(first, ast.Name) and first.id in NAMES:
        yield from constants(value)


def reasons_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield from in_call(node)
        elif isinstance(node, ast.Assign):
            yield from in_assignment(node.targets[0], node.value)
        elif isinstance(node, ast.AnnAssign) and node.value:
            yield from in_assignment(node.target, node.value)
        elif isinstance(node, ast.FunctionDef) and node.name.strip("_") in NAMES:
            returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value]
            yield from (code for value in returned for code in constants(value))
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "reason":
                    yield from constants(value)


def reasons() -> set[str]:
    files = [*ROOT.glob("operator/**/*.py"), *ROOT.glob("runtime_image/**/*.py")]
    return {reason for file in files for reason in reasons_in(file.read_text())}


def explained() -> dict[str, list[str]]:
    """Code -> the other cells of its row."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        if match := re.match(r"\| `([A-Za-z]+)` \|(.*)\|$", line):
            assert match[1] not in rows, f"{match[1]} is explained twice"
            rows[match[1]] = [cell.strip() for cell in match[2].split(" | ")]
    return rows


def test_the_search_finds_reasons_wherever_they_are_written() -> None:
    source = """
class Full(Exception):
    reason = "DiskFull"
fail(reason="" if x else "Bc")
Failure(kind, "Lost", "text")
s.tell("Moved", "text")
reason, message = (f.reason, f.message) if f else ("Superseded", why)
reason = str(d.get("reason", "")) or "CheckFailed"
document = {"reason": "OutOfMemory"}
def _reason(signal): return "LatencyExceeded" if signal else "DivergenceExceeded"
"""
    assert set(reasons_in(source)) == {
        "DiskFull", "Bc", "Lost", "Moved", "Superseded", "CheckFailed", "OutOfMemory", "LatencyExceeded",
        "DivergenceExceeded",
    }  # fmt: skip


def test_every_reason_is_explained() -> None:
    missing = reasons() - set(explained())

    assert missing == set(), "write a row in docs/errors.md: what it means, what to do"


def test_no_reason_is_explained_that_nothing_gives() -> None:
    phases = {"Proving", "Shifting", "Holding", "Returning", "Watching"}

    assert set(explained()) - reasons() - phases == set()


def test_each_explanation_says_what_it_means_and_what_to_do() -> None:
    assert {code: cells for code, cells in explained().items() if len(cells) < 2 or not all(cells[:2])} == {}
