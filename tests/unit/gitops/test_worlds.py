"""In random mixtures of edits, failures and commands Flux and Argo CD are never told something else than what is there."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import invariant
from tests.perturb.test_random_worlds import RandomWorld

from tidegate.plan.phases import ACTIVE, Phase

from .argocd import health
from .kstatus import Status, kstatus
from .told import deployment

MEANS = {
    Status.IN_PROGRESS: {"Progressing", "Suspended", "Degraded"},  # Degraded: nobody is served meanwhile
    Status.FAILED: {"Degraded"},
    Status.CURRENT: {
        "Healthy",
        "Progressing",
        "Degraded",
    },  # it serves what Git names, and something beside it is amiss
}


class SeenByOthers(RandomWorld):
    """The world of tests/perturb, looked at after each of its rules."""

    @invariant()
    def is_told_truly(self) -> None:
        seen = deployment(self.story)
        status, (word, message) = kstatus(seen), health(seen)
        truth = {name: self.story.truth(name)[0] for name in ("Promoted", "Ready")}

        assert word in MEANS[status], message
        if status is Status.CURRENT:
            assert truth == {"Promoted": "True", "Ready": "True"}, message
        if status is Status.IN_PROGRESS:
            assert self._under_way() or truth["Ready"] == "False", "nobody would ever see an end"
        if word == "Healthy":
            assert truth == {"Promoted": "True", "Ready": "True"}, message
        if status is Status.FAILED:
            assert truth["Promoted"] == "False", message

    def _under_way(self) -> bool:
        story = self.story
        unseen = story.status.observed_generation != story.world.generation
        return unseen or story.truth("Promoted")[0] == "Unknown" or story.phase in ACTIVE | {Phase.RETURNING}


TestSeenByOthers = SeenByOthers.TestCase
TestSeenByOthers.settings = settings(RandomWorld.TestCase.settings, max_examples=30, stateful_step_count=25)
