"""What an exact weight looks like when requests are counted."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

CERTAINTY = 0.999


def interval(percent: int, requests: int, certainty: float = CERTAINTY) -> tuple[float, float]:
    """Where the candidate's share of so many requests is, with all but one in a thousand of certainty."""
    share = percent / 100
    far = NormalDist().inv_cdf((1 + certainty) / 2) * sqrt(requests * share * (1 - share)) + 1
    return requests * share - far, requests * share + far
