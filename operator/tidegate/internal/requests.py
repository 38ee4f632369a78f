"""What the runner asks of the servers for a plan: copies to the candidate, rules of comparison, golden samples.

Every request has an end of its own (a time to live, a count), so nothing goes on when the runner is gone; each is
renewed only when its end is near, however often a plan is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tidegate.internal.calls import Address, NoAnswer, call
from tidegate.plan.wanted import Plan, ShadowWanted

LIVES = 3  # intervals that a shadow lives without being renewed
LONGEST_LIFE = 3600.0
MOST_SAMPLES = 1000
RENEW_BEFORE = 0.5  # of its life


@dataclass(frozen=True, slots=True)
class ReadyServer:
    """A server that is ready; `address` is that of its internal endpoints, and tells it from the others."""

    revision: str
    address: Address


class Requests:
    """What has been asked of which server process, and until when it holds."""

    def __init__(self, ready: Callable[[], Sequence[ReadyServer]], *, lend_token: bool = True) -> None:
        self._servers = ready
        self._lend_token = lend_token  # False: servers have an identity of their own to send copies with
        self._shadows: dict[Address, tuple[Mapping[str, Any], float]] = {}  # what, renew at
        self._rules: dict[Address, Mapping[str, Any]] = {}
        self._golden: dict[Address, float] = {}

    async def carry_out(self, plan: Plan, interval: timedelta) -> None:
        """Ask for all that the plan wants and the servers do not do already."""
        self._forget_the_gone()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._shadow(plan.shadow, interval))
            for revision, rate in plan.synthetic.items():
                group.create_task(self._synthetic(revision, rate, interval))

    def _forget_the_gone(self) -> None:
        """Addresses are used again by later processes: what was asked of one that is gone was not asked of those."""
        there = {server.address for server in self._servers()}
        for asked in (self._shadows, self._rules, self._golden):
            for address in set(asked) - there:
                del asked[address]

    def _ready(self, revision: str) -> list[Address]:
        return [server.address for server in self._servers() if server.revision == revision]

    async def _shadow(self, wanted: ShadowWanted | None, interval: timedelta) -> None:
        targets = self._ready(wanted.target) if wanted else []
        sources = self._ready(wanted.source) if wanted else []
        if wanted is None or not targets:
            return await self._end_shadows()
        for target in targets:
            await self._set_rules(target, rules(wanted))
        for i, source in enumerate(sources):
            await self._set_shadow(source, targets[i % len(targets)], wanted.percent, interval)
        return None

    async def _end_shadows(self) -> None:
        for server in tuple(self._shadows):
            if self._shadows.pop(server, None):
                await put(server, "/internal/shadow", {"target": "", "percent": 0, "ttlSeconds": 0, "token": ""})

    async def _set_rules(self, target: Address, document: Mapping[str, Any]) -> None:
        if self._rules.get(target) != document and await put(target, "/internal/rules", document):
            self._rules[target] = document

    async def _set_shadow(self, source: Address, target: Address, percent: float, interval: timedelta) -> None:
        life = min(LONGEST_LIFE, LIVES * interval.total_seconds())
        document = {
            "target": f"http://{target}",
            "percent": percent,
            "ttlSeconds": life,
            "token": target.token if self._lend_token else "",
        }
        before, renew_at = self._shadows.get(source, ({}, 0.0))
        if before == document and time.monotonic() < renew_at:
            return
        if await put(source, "/internal/shadow", document):
            self._shadows[source] = (document, time.monotonic() + life * RENEW_BEFORE)

    async def _synthetic(self, revision: str, rate: float, interval: timedelta) -> None:
        """Golden samples for one interval on every server of the revision, unless the last ones still run."""
        seconds = interval.total_seconds()
        for server in self._ready(revision):
            if rate <= 0 or time.monotonic() < self._golden.get(server, 0.0):
                continue
            count = min(MOST_SAMPLES, max(1, math.ceil(rate * seconds)))
            if await put(server, "/internal/golden", {"rate": rate, "count": count}, method="POST"):
                self._golden[server] = time.monotonic() + count / rate


def rules(wanted: ShadowWanted) -> dict[str, Any]:
    """The comparison as the candidate's server takes it; without limits the best class is compared and recorded."""
    if wanted.rules is None:
        return {"top1": True, "outputs": []}
    return {
        "top1": wanted.rules.top1_disagreement is not None,
        "outputs": [{"name": one.name, "atol": one.atol, "rtol": one.rtol} for one in wanted.rules.outputs],
    }


async def put(server: Address, path: str, document: Mapping[str, Any], *, method: str = "PUT") -> bool:
    """Whether the server took it; one that does not answer is asked again with the next plan."""
    with contextlib.suppress(NoAnswer):
        return (await call(server, method, path, document)).status < 300  # noqa: PLR2004
    return False
