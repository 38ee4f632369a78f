"""What is told of places that cannot be seen, or not now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from tidegate.cluster.errors import ApiDown, ClusterError, Forbidden, Unauthorized
from tidegate.cluster.kubectl.connection import Connection
from tidegate.cluster.kubectl.following import Following
from tidegate.cluster.kubectl.kept import Kept
from tidegate.cluster.kubectl.watching import Watcher, Where
from tidegate.dashboard.board import Board
from tidegate.dashboard.publishing import Publisher
from tidegate.plan.manifests.identity import MODEL_DEPLOYMENT, POD

FRAUD = ("shop", "fraud")
SHOP, PODS = (
    Where(MODEL_DEPLOYMENT, "shop"),
    Where(POD, "shop", "serving.tidegate.io/deployment,serving.tidegate.io/revision"),
)
FOUND = {"metadata": {"namespace": "shop", "name": "fraud"}}
REFUSED = Forbidden("ana may not list modeldeployments in namespace shop", do="ask for that right")
DOWN = ApiDown("the API server does not answer: Connection refused")


class Scene:
    """A person's page without an API server: the test plays the watches."""

    def __init__(self) -> None:
        self.kept, self.board = Kept(), Board("a")
        self.publisher = Publisher(self.board, self.kept.show)
        self.following = Following(cast("Connection", None), ["shop"], self.kept, self.publisher)

    def listed(self, *found: dict[str, Any], where: Where = SHOP) -> None:
        self.following.page(where, list(found), first=True)
        self.following.listed(where)

    async def settled(self) -> None:
        """Until the event loop has had everything that was handed to it."""
        for _ in range(5):
            await asyncio.sleep(0)

    @property
    def troubles(self) -> list[dict[str, Any]]:
        return list(json.loads(self.board.since(None).facts or b"{}").get("troubles", []))


def played(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Scene())

    asyncio.run(run())


def test_a_server_that_is_away_leaves_what_was_shown_and_the_page_is_stale() -> None:
    async def story(scene: Scene) -> None:
        scene.listed(FOUND)
        scene.following.trouble(SHOP, DOWN)
        await scene.settled()
        assert scene.kept.show(FRAUD)
        [told] = scene.troubles
        assert (told["about"], told["what"], told["passes"]) == ("modeldeployments in namespace shop", DOWN.what, True)
        scene.following.trouble(SHOP, ApiDown(DOWN.what))
        await scene.settled()
        assert scene.troubles[0]["since"] == told["since"]
        scene.following.trouble(SHOP, None)
        await scene.settled()
        assert scene.troubles == []

    played(story)


def test_a_login_that_has_run_out_makes_the_page_stale_too() -> None:
    async def story(scene: Scene) -> None:
        scene.following.trouble(SHOP, Unauthorized("log in again"))
        await scene.settled()
        assert scene.troubles[0]["passes"] is True

    played(story)


def test_what_is_deleted_or_was_not_listed_again_is_not_shown() -> None:
    async def story(scene: Scene) -> None:
        scene.listed(FOUND, {"metadata": {"namespace": "shop", "name": "churn"}})
        scene.following.news(SHOP, "DELETED", {"metadata": {"namespace": "shop", "name": "churn"}})
        await scene.settled()
        assert scene.kept.show(("shop", "churn")) is None
        scene.listed()
        await scene.settled()
        assert scene.kept.show(FRAUD) is None

    played(story)


def test_a_list_that_broke_off_between_two_pages_keeps_nothing_alive() -> None:
    """410 between two pages: what it had shown may be gone when the next one is read."""

    async def story(scene: Scene) -> None:
        scene.following.page(SHOP, [FOUND], first=True)
        scene.listed({"metadata": {"namespace": "shop", "name": "churn"}})
        await scene.settled()
        assert scene.kept.show(FRAUD) is None
        assert scene.kept.show(("shop", "churn"))

    played(story)


class Answers:
    """A connection whose lists and watches end with what the test says."""

    def __init__(self, *answers: dict[str, Any] | ClusterError) -> None:
        self._answers = list(answers)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        answer = self._answers.pop(0)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    def lines(self, path: str, silence: float, **query: str) -> Any:
        raise self.get(path) if self._answers else AssertionError  # type: ignore[misc]


class Told:
    """What a watcher tells, in words; ends it when it has told enough."""

    def __init__(self, enough: int) -> None:
        self.words: list[str] = []
        self.watcher: Watcher
        self._enough = enough

    def _tell(self, word: str) -> None:
        self.words.append(word)
        if len(self.words) >= self._enough:
            self.watcher.stop()

    def page(self, where: Where, items: list[Any], *, first: bool) -> None:
        self._tell(f"page of {len(items)}")

    def listed(self, where: Where) -> None:
        self._tell("listed")

    def news(self, where: Where, what: str, found: Any) -> None:
        self._tell(what)

    def trouble(self, where: Where, error: ClusterError | None) -> None:
        self._tell(type(error).__name__ if error else "heard")


def test_a_right_that_is_withdrawn_takes_away_what_was_shown(monkeypatch: Any) -> None:
    """What may not be watched is listed again, and what may not be listed is listed as nothing."""
    monkeypatch.setattr("tidegate.cluster.kubectl.watching.REFUSED_PAUSE", 0.01)
    page = {"items": [FOUND], "metadata": {"resourceVersion": "7"}}
    told = Told(enough=5)
    told.watcher = Watcher(cast("Connection", Answers(page, REFUSED, REFUSED)), SHOP, told)

    told.watcher.run()

    assert told.words == ["page of 1", "listed", "Forbidden", "Forbidden", "listed"]


def test_a_server_that_ends_each_watch_at_once_is_not_asked_all_the_time(monkeypatch: Any) -> None:
    monkeypatch.setattr("tidegate.cluster.kubectl.watching.SOON_SECONDS", 60.0)
    told = Told(enough=5)

    class Nothing(list[bytes]):
        def close(self) -> None:
            """It has ended by itself."""

    class Ending(Answers):
        def lines(self, path: str, silence: float, **query: str) -> Any:
            return Nothing()

    told.watcher = Watcher(cast("Connection", Ending({"items": [], "metadata": {"resourceVersion": "7"}})), SHOP, told)
    rests: list[float] = []
    monkeypatch.setattr(told.watcher._over, "wait", rests.append)

    told.watcher.run()

    assert told.words == ["page of 0", "listed", "heard", "heard", "heard"]
    assert rests == [60.0, 60.0, 60.0]
