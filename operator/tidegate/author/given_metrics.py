"""Metrics that were computed elsewhere: from a JSON file or from the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tidegate.errors import Invalid


def read_metrics(path: Path) -> dict[str, float]:
    """Metrics computed elsewhere: a JSON object of numbers."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=str(path)) from None
    except ValueError as error:
        raise Invalid(f"not JSON: {str(error)[:120]}", where=str(path)) from None
    if not isinstance(found, dict):
        raise Invalid("must be an object of names and numbers", where=str(path))
    return {str(name): _number(value, f"{path}: {name}") for name, value in found.items()}


def metric_of(text: str) -> tuple[str, float]:
    """One `name=value` of the command line."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"'{text}' is not name=value", where="--metric", do="write, for example, accuracy=0.93")
    return name, _number(value, f"--metric {name}")


def _number(value: object, where: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Invalid(f"'{value}' is not a number", where=where) from None
    if isinstance(value, bool) or not math.isfinite(number):
        raise Invalid(f"'{value}' is not a finite number", where=where)
    return number
