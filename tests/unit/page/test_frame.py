"""The frame of our HTML files: what its policy lets in, and that text from outside stays text."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from tidegate.page import cell, footer, framed, own, row, table, write_page

EVIL = "</title></td><script>alert(1)</script>\"'&"


def policy_of(page: str) -> str:
    (found,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    return str(found)


def mark_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_lets_in_the_sheets_and_the_script_of_the_page_and_nothing_else() -> None:
    page = framed("a", "report", "<svg><style>p {}</style></svg>", style="i {}", drawn="p {}", script="go()")

    frame = own("tidegate.page", "page.css")
    assert re.findall(r"<style>(.*?)</style>", page, re.S) == [frame, "i {}", "p {}"]
    assert policy_of(page).split("; ") == [
        "default-src 'none'",
        f"style-src {mark_of(frame)} {mark_of('i {}')} {mark_of('p {}')}",
        f"script-src {mark_of('go()')}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_a_page_without_a_script_may_run_none() -> None:
    page = framed("a", "catalog", "")

    assert "script" not in page


def test_titles_heads_cells_and_footers_are_only_text() -> None:
    body = table([EVIL], [row([EVIL, 7]), f"<tr>{cell(EVIL, 'code')}</tr>"]) + footer(EVIL, EVIL)
    page = framed(EVIL, "catalog", body)

    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 6
    assert page.count("</td>") == 3
    assert '<td class="code">' in page
    assert "<td>7</td>" in page


def test_a_page_takes_the_place_of_another_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.html"
    write_page("old", target)
    write_page("new", target)

    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]
