"""An option that is a time: `90s`, `10m`."""

from __future__ import annotations

import re
from typing import Any

import click


class Duration(click.ParamType[float]):
    """`10m`, `90s`, `1m30s` as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from tidegate.api.scalars import DURATION, parse_duration

        if isinstance(value, int | float):
            return float(value)
        if not re.search(DURATION, str(value)):
            self.fail(f"{value!r} is not a duration such as 90s or 10m", param, ctx)
        return parse_duration(str(value)).total_seconds()
