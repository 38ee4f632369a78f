"""The catalog as a page: one HTML file that fetches and runs nothing; all that came from a store is escaped."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.bundle.catalog import Held

HEADS = ("Version", "Digest", "Size", "Signed", "Made by", "Metrics", "Address")


def write_catalog(title: str, tree: Sequence[tuple[int, Held]], target: Path) -> None:
    """Write the page; a reader never sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.write_text(render(title, tree), encoding="utf-8")
    unfinished.replace(target)


def render(title: str, tree: Sequence[tuple[int, Held]]) -> str:
    """The whole page."""
    style = files("tidegate.cli").joinpath("catalog.css").read_text(encoding="utf-8")
    mark = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{mark}'; base-uri 'none'"
    heads = "".join(f'<th scope="col">{head}</th>' for head in HEADS)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)} · Tidegate catalog</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p>{_count(tree)}. A version below another was made from it.</p>
<div><table>
<thead><tr>{heads}</tr></thead>
<tbody>
{"".join(_row(depth, held) for depth, held in tree)}</tbody>
</table></div>
<footer>Made by tidegate catalog. This page holds all it shows and fetches nothing.</footer>
</main>
</body>
</html>
"""


def _count(tree: Sequence[tuple[int, Held]]) -> str:
    names = {held.resolved.manifest.name for _, held in tree if held.resolved}
    return f"{len(tree)} versions of {len(names)} models"


def _row(depth: int, held: Held) -> str:
    resolved = held.resolved
    place = f'<td class="address">{escape(held.uri)}</td>'
    if resolved is None:
        return f'<tr class="bad"><td>unreadable</td><td colspan="5">{escape(held.problem)}</td>{place}</tr>\n'
    manifest = resolved.manifest
    stem = f'<span class="stem depth{min(depth, 9)}">└</span>' if depth else ""
    metrics = "<br>".join(f"{escape(name)} {value:.4g}" for name, value in manifest.metric_values().items())
    # Not all of its parents may be here: they are told by digest.
    made = escape(manifest.lineage.action) if manifest.lineage else ""
    parents = "".join(f'<br><span class="digest">{escape(parent)}</span>' for parent in held.parents)
    return (
        f"<tr><td>{stem}<b>{escape(manifest.name)}</b> {escape(manifest.version)}</td>"
        f'<td class="digest">{escape(resolved.digest)}</td><td class="number">{manifest.total_bytes:,}</td>'
        f"<td>{'yes' if resolved.signature is not None else 'no'}</td>"
        f"<td>{made}{parents}</td><td>{metrics}</td>{place}</tr>\n"
    )
