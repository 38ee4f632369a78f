from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.local.bundles import Bundles
from tidegate.local.children import Lifeline
from tidegate.local.deployment import Deployment, Surroundings
from tidegate.local.front import Front
from tidegate.local.routes import ModelRoute
from tidegate.local.servers import Workplace
from tidegate.local.state import DeploymentState
from tidegate.plan.observed import Failure, FailureClass, RouteObserved
from tidegate.plan.wanted import Event, ResolveWanted


class StuckFront:
    """A proxy that never takes a route."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def set(self, _: ModelRoute) -> None:
        self.asked.set()
        await asyncio.Event().wait()

    def observed(self, _: str) -> RouteObserved:
        return RouteObserved(weights={}, accepted=True, message="", url="")


class RefusedBundles:
    """Every bundle is another than it claims to be."""

    environment = ""

    async def resolve(self, _: ResolveWanted) -> Failure:
        return Failure(FailureClass.CONTENT, "DigestMismatch", "expected another")


def test_what_a_run_that_ends_in_the_middle_of_a_turn_remembers_it_has_told(
    tmp_path: Path, spec: Callable[..., ModelDeploymentSpec]
) -> None:
    told: list[str] = []
    state = DeploymentState(tmp_path)
    state.prepare()

    def tell(_: str, event: Event) -> None:
        told.append(event.reason)

    async def main() -> None:
        front, changed = StuckFront(), asyncio.Event()
        place = Workplace("fraud", state.servers, Lifeline(0, 0), "", tmp_path, None, changed.set, tell)
        bundles = cast("Bundles", RefusedBundles())
        deployment = Deployment(
            "fraud", spec(), Surroundings(state, place, cast("Front", front), bundles, tell, changed)
        )
        for _ in ("it asks what the bundle is", "it is refused"):
            front.asked.clear()
            turn = asyncio.create_task(deployment.turn())
            await front.asked.wait()
            turn.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await turn
            await changed.wait()

    asyncio.run(main())

    assert [one.reason for one in state.load().status.rejected] == ["DigestMismatch"]
    assert told == ["DigestMismatch"]
