"""Numbers as people read them in verdicts: three figures, a unit, no p-values."""

from __future__ import annotations


def figures(value: float) -> str:
    """Three significant figures, without an exponent."""
    if value and abs(value) < 0.001:  # noqa: PLR2004 - smaller would be written as 1e-05
        return f"{value:.6f}".rstrip("0").rstrip(".") or "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - so would 1000 and more


def percent(part: int, whole: int) -> str:
    """A share of counts: `0.21 %`; without counts it is not known."""
    return f"{figures(100 * part / whole)} %" if whole else "unknown"


def milliseconds(seconds: float) -> str:
    """A time: `82.3 ms`."""
    return f"{figures(seconds * 1000)} ms"


def times(ratio: float) -> str:
    """A ratio: `1.5 times`."""
    return f"{figures(ratio)} times"
