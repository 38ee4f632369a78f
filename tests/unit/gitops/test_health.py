"""What Argo CD and Flux say of a deployment at every moment of its rollouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.plan.conftest import Story
from tests.unit.plan.world import OTHER

from tidegate.plan.observed import Failure, FailureClass

from .argocd import health
from .kstatus import Status, kstatus
from .told import deployment

SLOW = [(10, "1h"), 50]
FULL_QUOTA = Failure(FailureClass.ENVIRONMENT, "QuotaExceeded", "no room for a budget")


def serving(**spec: Any) -> Story:
    return Story(**{"steps": SLOW, **spec}).serving("v1")


def holding(**spec: Any) -> Story:
    return serving(**spec).apply("v2").until_weight(10)


def without_evidence(**changes: Any) -> Story:
    """Nobody sends anything, and nothing stands in for users."""
    story = serving(steps=[(10, "0s")], rollout={"analysis": {"synthetic": {"rate": 0}, **changes}})
    story.world.unreadable = True
    return story.apply("v2").runs("2m")


def obstructed() -> Story:
    story = serving()
    story.world.obstacle = FULL_QUOTA
    return story.settle()


def stuck_on_the_way_back() -> Story:
    story = holding()
    story.world.route_stuck = True
    return story.command("abort").settle()


def replacing(servers: int) -> Story:
    story = serving(scaling={"minReplicas": servers}, rollout={"surge": "Replace", "allowDowntime": True})
    return story.servers_of("v1", ready=0).servers_of("v2", ready=0).apply("v2").settle()


def scaled_to_zero() -> Story:
    story = serving(scaling={"minReplicas": 0, "maxReplicas": 2, "provider": "KEDA"})
    story.world.idle = True
    story.world.refresh_servers()
    return story.settle()


def not_looked_at() -> Story:
    return serving().apply("v2")


def rolling_back() -> Story:
    story = serving(steps=[]).apply("v2").until_phase("Watching").until_phase("Serving")
    return story.servers_of("v1", ready=0).command("rollback-to", "v1")


def rolled_back() -> Story:
    return rolling_back().servers_of("v1", ready=None).settle().until_phase("Serving")


CASES: dict[str, tuple[Callable[[], Story], Status, str, str]] = {
    "nothing was looked at yet": (
        Story, Status.IN_PROGRESS, "Progressing", "the operator has not seen this change yet; if this lasts, look at"),
    "a change was not looked at yet": (
        not_looked_at, Status.IN_PROGRESS, "Progressing", "the operator has not seen this change yet"),
    "a first bundle is read": (
        lambda: Story().settle(1), Status.IN_PROGRESS, "Progressing", "the bundle is being read; nothing to do"),
    "a first version starts": (
        lambda: Story().servers_of("v1", ready=0).settle(), Status.IN_PROGRESS, "Progressing",
        "v1 has 0 % (step 0, CandidateNotReady: its servers start and prove themselves); it goes back by itself after"),
    "a first version is refused": (
        lambda: Story().fails("v1", "GoldenMismatch").settle(), Status.FAILED, "Degraded",
        "GoldenMismatch: v1: GoldenMismatch; nothing serves; correct the bundle or the manifest in Git, or retry"),
    "it serves": (serving, Status.CURRENT, "Healthy", "version v1 is the stable version; nothing to do"),
    "it was scaled to zero": (
        scaled_to_zero, Status.CURRENT, "Healthy", "version v1 is the stable version; nothing to do"),
    "it serves with too few servers": (
        lambda: serving(scaling={"minReplicas": 3}).servers_of("v1", ready=2).settle(), Status.CURRENT, "Progressing",
        "StableNotReady: 2 of 3 servers ready; Kubernetes starts what is missing"),
    "no server is ready": (
        lambda: serving().servers_of("v1", ready=0).settle(), Status.IN_PROGRESS, "Degraded",
        "no request is answered: StableNotReady; look at the pods of v1"),
    "something beside the servers is refused": (
        obstructed, Status.CURRENT, "Degraded", "QuotaExceeded: no room for a budget; v1 goes on serving; docs/errors.md"),
    "a candidate starts": (
        lambda: serving().servers_of("v2", ready=0).apply("v2").settle(), Status.IN_PROGRESS, "Progressing",
        "v2 has 0 % (step 0, CandidateNotReady"),
    "a step takes its time": (
        holding, Status.IN_PROGRESS, "Progressing", "v2 has 10 % (step 1, StepHold: 10 % for 1h); nothing to do"),
    "requests are missing": (
        without_evidence, Status.IN_PROGRESS, "Progressing", "requests decide; promote goes on without them, abort"),
    "a person is awaited": (
        lambda: holding(steps=[(10, "manual")]).settle(), Status.IN_PROGRESS, "Suspended",
        "v2 has 10 % (step 1, WaitingForPromote: step 1 ends by `tidegate promote`); promote goes on, abort goes back"),
    "paused by command": (
        lambda: holding().command("pause"), Status.IN_PROGRESS, "Suspended", "Paused: paused by command); resume goes on"),
    "paused in Git": (
        lambda: holding().edit(paused=True).settle(), Status.IN_PROGRESS, "Suspended",
        "Paused: spec.paused is true); set spec.paused to false in Git"),
    "paused at rest": (
        lambda: serving().command("pause"), Status.CURRENT, "Healthy", "version v1 is the stable version"),
    "both versions are bad alike": (
        lambda: holding(steps=[(10, "1m"), (50, "1h")]).until_weight(50).servers_of("v1", errors=0.3)
        .servers_of("v2", errors=0.3).runs("1m"),
        Status.IN_PROGRESS, "Progressing", "both versions are bad alike: look at what they depend on, or abort"),
    "nobody serves while it is paused": (
        lambda: holding().command("pause").servers_of("v1", ready=0).settle(), Status.IN_PROGRESS, "Degraded",
        "no request is answered: StableNotReady; look at the pods of v1"),
    "it goes back": (
        stuck_on_the_way_back, Status.IN_PROGRESS, "Progressing", "v2 goes back (Aborted: aborted by command); nothing to do"),
    "it was aborted": (
        lambda: holding().command("abort").settle(), Status.FAILED, "Degraded",
        "Aborted: aborted by command; v1 goes on serving; a person decided this: name in Git what is to serve, or retry"),
    "it failed by evidence": (
        lambda: serving().servers_of("v2", errors=0.3).apply("v2").until(lambda one: bool(one.rejected)).settle(),
        Status.FAILED, "Degraded", "ErrorRateIncreased"),
    "it may pass by itself": (
        lambda: serving().fails("v2", "ImagePull", "Environment").apply("v2").until(lambda one: bool(one.rejected)),
        Status.FAILED, "Degraded", "v1 goes on serving; it is tried again by itself at 2026-01-01T"),
    "the interface changed": (
        lambda: serving().knows("v2", interface=OTHER).apply("v2").settle(), Status.FAILED, "Degraded",
        "InterfaceChanged"),
    "it was promoted a moment ago": (
        lambda: serving(steps=[]).apply("v2").until_phase("Watching"), Status.CURRENT, "Healthy",
        "version v2 is the stable version; v1 is kept warm until 2026-01-01T"),
    "a person's rollback is under way": (
        rolling_back, Status.IN_PROGRESS, "Progressing", "v1 has 0 % (step 0, CandidateNotReady"),
    "a person rolled back": (
        rolled_back, Status.FAILED, "Degraded", "RolledBack: rolled back to"),
    "the only server is replaced": (
        lambda: replacing(1), Status.IN_PROGRESS, "Progressing", "v2 has 0 % (step 0, CandidateNotReady"),
    "servers are replaced, and all that are left are down": (
        lambda: replacing(3), Status.IN_PROGRESS, "Degraded", "no request is answered: StableNotReady"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_argo_cd_and_flux_see_the_truth_and_the_next_step(name: str) -> None:
    tell, expected, word, words = CASES[name]

    seen = deployment(tell())

    found, message = health(seen)
    assert (kstatus(seen), found) == (expected, word), message
    assert words in message
