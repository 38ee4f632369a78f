"""Reading the servers' own counters, all at once and each within its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tidegate.errors import TidegateError
from tidegate.internal.calls import Address, call
from tidegate.plan.samples import PodSample, parse_sample


async def read_samples(servers: Iterable[Address]) -> tuple[PodSample, ...]:
    """The counters of every server that answers; one that does not is missing evidence, never a zero."""
    found = await asyncio.gather(*(read_sample(server) for server in servers))
    return tuple(sample for sample in found if sample)


async def read_sample(server: Address) -> PodSample | None:
    try:
        answer = await call(server, "GET", "/internal/evidence")
        return parse_sample(answer.json()) if answer.status == 200 else None  # noqa: PLR2004
    except TidegateError:
        return None
