"""Parts of docs/performance.md that benchmarks write: each between a pair of comments that name it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/performance.md"


def with_section(page: str, name: str, text: str) -> str:
    """`page` with its part `name` replaced; raises LookupError when it has none."""
    begin, end = f"<!-- {name}: written by its benchmark -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise LookupError(f"no part {name!r} in the page: add {begin} and {end}")
    return pattern.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", page)


def write_section(name: str, text: str) -> None:
    PAGE.write_text(with_section(PAGE.read_text(), name, text))
