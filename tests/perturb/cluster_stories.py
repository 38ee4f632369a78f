"""What happens to a deployment, in a dozen and a half stories; each begins from nothing or from a version that serves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tests.fakes.behaviours import Servers, Trouble, refused

from .cluster_stage import STORE, Stage
from .cluster_story import Act, Story

# -- words --------------------------------------------------------------------------------------------


def deploys(version: str, **changes: Any) -> Act:
    return Act(f"deploys {version} {changes or ''}", do=lambda stage: stage.deploy(version, **changes))


def commands(verb: str, version: str = "") -> Act:
    return Act(f"{verb} {version}", do=lambda stage: stage.command(verb, stage.revision(version) if version else ""))


def happens(name: str, do: Callable[[Stage], object]) -> Act:
    return Act(name, do=do)


def until(name: str, holds: Callable[[Stage], bool]) -> Act:
    return Act(name, until=holds)


def until_serving(version: str) -> Act:
    """That version is stable, nothing else runs, and the status says so."""
    return until(f"{version} serves", lambda stage: serves(stage, version))


def serves(stage: Stage, version: str) -> bool:
    alone = {name for name, ready in stage.servers.items() if ready} == {version}
    return stage.phase == "Serving" and stage.stable == version and alone and stage.split == {version: 100}


def until_weight(weight: int) -> Act:
    """The candidate has this weight and the step's time runs."""
    return until(f"{weight} % are given", lambda stage: has_weight(stage, weight))


def has_weight(stage: Stage, weight: int) -> bool:
    return stage.phase == "Holding" and stage.status.candidate is not None and stage.status.candidate.weight == weight


def until_phase(phase: str) -> Act:
    return until(phase, lambda stage: stage.phase == phase)


def until_truth(condition: str, status: str, reason: str) -> Act:
    return until(f"{condition} is {status} by {reason}", lambda stage: stage.truth(condition) == (status, reason))


def servers_of(version: str, **changes: Any) -> Act:
    return Act(f"servers of {version}: {changes}", do=lambda stage: set_servers(stage, version, **changes))


def set_servers(stage: Stage, version: str, **changes: Any) -> None:
    stage.world.servers[STORE + version] = Servers(**changes)


def errs(version: str, share: float) -> Act:
    return Act(f"{version} answers {share:.0%} badly", do=lambda stage: set_errors(stage, version, share))


def set_errors(stage: Stage, version: str, share: float) -> None:
    stage.traffic.manner(version).errors = share


def says(reason: str) -> str:
    """Last words of a container."""
    return Servers().says(reason)


# -- beginnings ---------------------------------------------------------------------------------------


@cache
def nothing() -> Stage:
    return Stage()


@cache
def v1_serves() -> Stage:
    return _serving({})


@cache
def v1_serves_and_scales() -> Stage:
    resources = {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}
    stage = _serving({"scaling": {"minReplicas": 3, "maxReplicas": 6}, "runtime": {"resources": resources}})
    stage.world.load[stage.revision("v1")] = 3
    return stage


@cache
def v1_serves_without_room() -> Stage:
    return _serving({"rollout": {"surge": "Replace"}})


def _serving(changes: dict[str, Any]) -> Stage:
    stage = Stage()
    stage.deploy("v1", **changes)
    stage.pass_time(600)
    assert serves(stage, "v1"), stage.status
    stage.witness.floor = stage.servers["v1"]
    return stage


# -- stories ------------------------------------------------------------------------------------------

IN_THE_STEPS = (deploys("v2"), until_weight(25))

STORIES: tuple[Story, ...] = (
    Story("first deployment", (deploys("v1"), until_serving("v1")), nothing),
    Story("promoted", (deploys("v2"), until_serving("v2")), v1_serves),
    Story(
        "promoted while the load changes",
        (
            happens("more load", lambda stage: stage.world.load.update({stage.revision("v1"): 5})),
            until("five servers", lambda stage: stage.servers == {"v1": 5}),
            *IN_THE_STEPS,
            happens("less load", lambda stage: stage.world.load.clear()),
            until_serving("v2"),
        ),
        v1_serves_and_scales,
    ),
    Story(
        "rolled back by errors",
        (*IN_THE_STEPS, errs("v2", 0.5), until_truth("Stalled", "True", "ErrorRateExceeded"), until_serving("v1")),
        v1_serves,
    ),
    Story(
        "golden samples refuse it",
        (
            servers_of("v2", trouble=Trouble.CRASH_LOOP, message=says("GoldenMismatch")),
            deploys("v2"),
            until_truth("Stalled", "True", "GoldenMismatch"),
            until_serving("v1"),
        ),
        v1_serves,
    ),
    Story(
        "a bundle that is none",
        (
            happens(
                "v2 is broken", lambda stage: stage.world.bundles.update({STORE + "v2": refused("ManifestInvalid")})
            ),
            deploys("v2"),
            until_truth("Stalled", "True", "ManifestInvalid"),
            until_serving("v1"),
        ),
        v1_serves,
    ),
    Story(
        "aborted",
        (*IN_THE_STEPS, commands("abort"), until_truth("Stalled", "True", "Aborted"), until_serving("v1")),
        v1_serves,
    ),
    Story("new spec in the steps", (*IN_THE_STEPS, deploys("v3"), until_serving("v3")), v1_serves),
    Story("back to the old spec in the steps", (*IN_THE_STEPS, deploys("v1"), until_serving("v1")), v1_serves),
    Story(
        "rolled back by command",
        (
            deploys("v2"),
            until_serving("v2"),
            commands("rollback-to", "v1"),
            until_serving("v1"),
        ),
        v1_serves,
    ),
    Story(
        "restarted",
        (
            commands("restart"),
            until("two versions", lambda stage: len(stage.view.deployments) == 2),
            until_serving("v1"),
            until("the new one", lambda stage: len(stage.view.deployments) == 1),
        ),
        v1_serves,
    ),
    Story(
        "first deployment fails and is mended",
        (
            servers_of("v1", trouble=Trouble.INIT_FAILS, message=says("GoldenMismatch")),
            deploys("v1"),
            until_phase("Failed"),
            deploys("v2"),
            until_serving("v2"),
        ),
        nothing,
    ),
    Story(
        "scaled up in the steps",
        (*IN_THE_STEPS, deploys("v2", scaling={"minReplicas": 5}), until_serving("v2")),
        v1_serves,
    ),
    Story(
        "an image that cannot be pulled, then can",
        (
            servers_of("v2", trouble=Trouble.IMAGE_PULL),
            deploys("v2"),
            until("it is said", lambda stage: "ImagePull" in str(stage.status.rollout)),
            servers_of("v2"),
            until_serving("v2"),
        ),
        v1_serves,
    ),
    Story(
        "new spec while the old version is warm",
        (deploys("v2"), until_phase("Watching"), deploys("v3"), until_serving("v3")),
        v1_serves,
    ),
    Story(
        "returns after the promotion",
        (
            deploys("v2", rollout={"scaleDownDelay": "5m"}),
            until_phase("Watching"),
            errs("v2", 0.6),
            until("v1 is back", lambda stage: stage.stable == "v1"),
            until_serving("v1"),
        ),
        v1_serves,
    ),
    Story(
        "deleted and made again",
        (
            *IN_THE_STEPS,
            happens("deleted", lambda stage: stage.delete()),
            deploys("v2"),
            until_serving("v2"),
        ),
        v1_serves,
    ),
    Story(
        "the stable version is lost",
        (
            *IN_THE_STEPS,
            happens("no floor", lambda stage: setattr(stage.witness, "floor", 0)),
            servers_of("v1", trouble=Trouble.CRASH_LOOP, exit_code=137),
            until_serving("v2"),
        ),
        v1_serves,
    ),
    Story(
        "in the place of the old servers",
        (happens("no floor", lambda stage: setattr(stage.witness, "floor", 0)), deploys("v2"), until_serving("v2")),
        v1_serves_without_room,
    ),
    Story(
        "paused and promoted by hand",
        (
            deploys("v2", rollout={"steps": [{"weight": 25, "hold": "manual"}]}),
            until_weight(25),
            commands("pause"),
            until("paused", lambda stage: stage.status.paused),
            commands("resume"),
            until("resumed", lambda stage: not stage.status.paused),
            commands("promote"),
            until_serving("v2"),
        ),
        v1_serves,
    ),
)
BY_NAME = {story.name: story for story in STORIES}
