"""The catalog as a page: one HTML file that fetches and runs nothing; all that came from a store is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from tidegate.page import cell, footer, framed, own, table

if TYPE_CHECKING:
    from tidegate.bundle.catalog import Held

HEADS = ("Version", "Digest", "Size", "Signed", "Made by", "Metrics", "Address")


def render(title: str, tree: Sequence[tuple[int, Held]]) -> str:
    """The whole page."""
    body = f"""<h1>{escape(title)}</h1>
<p class="under">{_count(tree)}. A version below another was made from it.</p>
{table(HEADS, (_row(depth, held) for depth, held in tree))}
{footer("tidegate catalog")}"""
    return framed(title, "catalog", body, style=own("tidegate.cli", "catalog.css"))


def _count(tree: Sequence[tuple[int, Held]]) -> str:
    names = {held.resolved.manifest.name for _, held in tree if held.resolved}
    return f"{len(tree)} versions of {len(names)} models"


def _row(depth: int, held: Held) -> str:
    resolved = held.resolved
    place = cell(held.uri, "code")
    if resolved is None:
        return f'<tr class="bad"><td>unreadable</td><td colspan="5">{escape(held.problem)}</td>{place}</tr>\n'
    manifest = resolved.manifest
    stem = f'<span class="stem depth{min(depth, 9)}">└</span>' if depth else ""
    metrics = "<br>".join(f"{escape(name)} {value:.4g}" for name, value in manifest.metric_values().items())
    # Not all of its parents may be here: they are told by digest.
    made = escape(manifest.lineage.action) if manifest.lineage else ""
    parents = "".join(f'<br><span class="digest code">{escape(parent)}</span>' for parent in held.parents)
    return (
        f"<tr><td>{stem}<b>{escape(manifest.name)}</b> {escape(manifest.version)}</td>"
        f"{cell(resolved.digest, 'digest code')}{cell(f'{manifest.total_bytes:,}', 'number')}"
        f"{cell('yes' if resolved.signature is not None else 'no')}"
        f"<td>{made}{parents}</td><td>{metrics}</td>{place}</tr>\n"
    )
