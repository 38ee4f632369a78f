"""The servers' own counters, read from their pods, and what a plan asks of the servers.

No Prometheus is needed for a verdict.  Reading is bounded for the whole operator, each pod has its own deadline, and a
pod that does not answer is missing evidence: it never holds up the others, or another deployment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from tidegate.api.evidence import MAX_INSTANCES
from tidegate.cluster.api import Key
from tidegate.cluster.observe import Look, Object, is_ready, pods_of
from tidegate.internal.calls import Address
from tidegate.internal.evidence import read_sample
from tidegate.internal.requests import ReadyServer, Requests
from tidegate.plan.samples import PodSample
from tidegate.plan.wanted import Plan

METRICS_PORT = 9090
AT_ONCE = 64  # requests to pods at the same time, of all deployments


class Measurer:
    """Reads pods and asks them, as the operator's service account."""

    def __init__(self, token: Callable[[], str], at_once: int = AT_ONCE) -> None:
        self._token = token
        self.room = asyncio.Semaphore(at_once)  # for all of the operator's requests to pods
        self._ready: dict[Key, Sequence[ReadyServer]] = {}
        self._requests: dict[Key, Requests] = {}

    async def samples(self, look: Look, revisions: Sequence[str]) -> tuple[PodSample, ...]:
        """Counters of the ready pods of these revisions; of more than can be remembered a part that stays the same."""
        chosen = self._chosen(look, revisions)
        found = await asyncio.gather(*(self._sample(address) for address in chosen))
        return tuple(sample for sample in found if sample)

    def _chosen(self, look: Look, revisions: Sequence[str]) -> list[Address]:
        share = MAX_INSTANCES // max(1, len(revisions))
        return [server.address for name in revisions for server in self._servers(look, name)[:share]]

    async def _sample(self, address: Address) -> PodSample | None:
        async with self.room:
            return await read_sample(address)

    def _servers(self, look: Look, revision: str) -> list[ReadyServer]:
        """The ready pods of a revision, the oldest first."""
        ready = [pod for pod in pods_of(look, revision) if is_ready(pod) and address_of(pod)]
        ready.sort(key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["uid"]))
        token = self._token()
        return [ReadyServer(revision, Address(METRICS_PORT, address_of(pod), token=token)) for pod in ready]

    async def carry_out(self, key: Key, look: Look, plan: Plan, interval: timedelta) -> None:
        """Shadow, rules and golden samples as the plan wants them."""
        asked = plan.shadow is not None or bool(plan.synthetic)
        if not asked and key not in self._requests:
            return
        revisions = {wanted.record.revision for wanted in plan.revisions}
        self._ready[key] = [server for name in sorted(revisions) for server in self._servers(look, name)]
        requests = self._requests.setdefault(key, Requests(lambda: self._ready[key], lend_token=False))
        await requests.carry_out(plan, interval)
        if not asked:
            self.forget(key)

    def forget(self, key: Key) -> None:
        """The deployment is gone, or nothing is asked of its servers any more."""
        self._requests.pop(key, None)
        self._ready.pop(key, None)


def address_of(pod: Object) -> str:
    return str((pod.get("status") or {}).get("podIP") or "")
