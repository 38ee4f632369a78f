"""Label selectors as the API takes them, and as Services, Deployments and budgets write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Labels = Mapping[str, str]
Selector = Callable[[Labels], bool]

REQUIREMENT = re.compile(
    r"\s*(?:(!?)([\w./-]+)|([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)|([\w./-]+)\s+(in|notin)\s+\(([^)]*)\))\s*"
)


def everything(labels: Labels) -> bool:
    return True


def selector(text: str | None) -> Selector:
    """`a=b,c!=d,e in (f,g),h,!i`; nothing selects everything."""
    if not text:
        return everything
    wanted = [_requirement(part) for part in re.split(r",(?![^(]*\))", text)]
    return lambda labels: all(one(labels) for one in wanted)


def _requirement(text: str) -> Selector:
    found = REQUIREMENT.fullmatch(text)
    assert found, f"not a label selector: {text!r}"
    absent, present, name, sign, value, member, word, values = found.groups()
    if present:
        return lambda labels: (present in labels) != bool(absent)
    if name:
        return lambda labels: (labels.get(name) == value) != (sign == "!=")
    allowed = {one.strip() for one in values.split(",")}
    return lambda labels: (labels.get(member) in allowed) != (word == "notin")


def label_selector(written: Mapping[str, Any] | None) -> Selector:
    """The `matchLabels` form; the fake's controllers need no expressions."""
    wanted = (written or {}).get("matchLabels") or {}
    return lambda labels: bool(wanted) and all(labels.get(name) == value for name, value in wanted.items())
