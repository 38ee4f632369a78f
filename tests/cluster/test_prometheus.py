"""Rollouts that read a real Prometheus: counters arrive as servers tell them, and a query's value decides."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from tests.control_plane import prometheus as real
from tests.runtime import small_bundles as small
from tests.runtime.running_server import RunningServer, numbers, serve
from tests.unit.plan.conftest import Story
from tests.waiting import wait_until

from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.asking import Heard, hear
from tidegate.cluster.prometheus import Prometheus, servers
from tidegate.cluster.prometheus_answer import QueryRefused
from tidegate.plan.samples import PodSample, Traffic, parse_sample

T = TypeVar("T")
pytestmark = pytest.mark.timeout(900)  # the first of them may have to build Prometheus
NAMESPACE, NAME = "shop", "fraud"
STORY = ("shop", "fraud")  # what stories call their deployment
QUERY = "sum(tidegate_requests_total{namespace={{namespace}},model={{name}},revision={{revision}},code='200'})"


def old_page() -> str:
    """A page with times of its own: one sample is two minutes old; the other is fresh, however long it is served."""
    now = time.time()
    return f"old_metric 1 {int((now - 120) * 1000)}\nnew_metric 2\n"


@dataclass
class Scene:
    """Two servers of v1, one of a candidate whose revision is that of the story, and a Prometheus that scrapes them."""

    url: str
    stable: list[RunningServer]
    candidate: RunningServer
    revision: str

    def ask(self, question: Callable[[Prometheus], Awaitable[T]]) -> T:
        async def main() -> T:
            prometheus = Prometheus(servers(f"main={self.url}"))
            try:
                return await question(prometheus)
            finally:
                await prometheus.close()

        return asyncio.run(main())

    def query(self, text: str) -> float | None:
        return self.ask(lambda prometheus: prometheus.query("main", text))

    def samples(self, namespace: str = NAMESPACE) -> dict[str, PodSample]:
        revisions = ["stable", self.revision]
        found = self.ask(lambda prometheus: prometheus.samples("main", namespace, NAME, revisions))
        return {sample.instance: sample for sample in found}

    def hear(self, story: Story, status: ModelDeploymentStatus | None = None) -> Heard:
        world = story.world
        told = status or world.status
        return self.ask(lambda prometheus: hear(prometheus, STORY, world.spec, told, world.now))


@contextlib.contextmanager
def page_of(text: str) -> Iterator[int]:
    """A target whose page never changes, with the times of its samples."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def story_of(**query: Any) -> Story:
    """A rollout of v2 at 10 %, whose only query has these limits."""
    analysis = {"prometheus": {"queries": [{"name": "answers", "query": QUERY, **query}]}}
    story = Story(steps=[(10, "1m")], rollout={"analysis": analysis}).serving("v1")
    return story.apply("v2").until_weight(10)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    program, folder = real.find(), tmp_path_factory.mktemp("scene")
    bundle = small.write_bundle(folder / "bundle", small.linear(), small.linear_samples())
    revision = story_of(max=1).revision("v2")
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(serve(bundle, folder / f"server{i}", "--name", NAME, "--revision", name))
            for i, name in enumerate(("stable", "stable", revision))
        ]
        for server in running:
            server.until_ready()
        pods = [
            real.Target(server.metrics, {"namespace": NAMESPACE, "pod": f"pod-{i}"}) for i, server in enumerate(running)
        ]
        again = real.Target(running[0].metrics, {"namespace": NAMESPACE, "pod": "pod-0", "container": "model"})
        old = real.Target(stack.enter_context(page_of(old_page())), {})
        url = stack.enter_context(real.scraping(program, folder / "prometheus", [*pods, again, old]))
        for server, count in zip(running, (120, 40, 30), strict=True):
            for i in range(count):
                assert server.infer(numbers(*[[1.0, 2.0, 3.0, 4.0]] * (1 + i % 3))).status == 200
            assert server.infer({"inputs": []}).status == 400
        yield Scene(url, running[:2], running[2], revision)


def told(server: RunningServer) -> PodSample:
    """What a server says itself; when it was asked and what is pinned is not compared."""
    return replace(parse_sample(server.evidence()), until=0, pinned=Traffic(), in_flight=0, queued=0)


# Counters.


def test_counters_arrive_as_the_servers_tell_them(scene: Scene) -> None:
    running = [*scene.stable, scene.candidate]
    found: dict[str, PodSample] = {}

    def same() -> bool:
        found.update(scene.samples())
        own = {sample.instance: sample for sample in map(told, running)}
        over = all(sum(sample.requests.latency_squares10) > 0 for sample in own.values())
        return over and {name: replace(sample, until=0) for name, sample in found.items()} == own

    wait_until(same, "the ten seconds of the traffic are over, and scraped", seconds=40)

    counts = sorted((one.revision == "stable", one.requests.n, one.client_errors) for one in found.values())
    assert counts == [(False, 30, 1), (True, 40, 1), (True, 120, 1)]


def test_they_are_of_the_last_seconds_and_the_candidates_never_the_newer_ones(scene: Scene) -> None:
    looks = 0

    def looked_ten_times() -> bool:
        nonlocal looks
        found = scene.samples().values()
        stable = [sample.until for sample in found if sample.revision == "stable"]
        candidate = [sample.until for sample in found if sample.revision == scene.revision]
        if stable and candidate:  # a scrape may fail on a busy machine
            looks += 1
            assert time.time() - 60 < min(stable) <= time.time()
            assert max(candidate) <= min(stable) + 1  # whole seconds of different beginnings
        return looks == 10

    wait_until(looked_ten_times, "counters of both versions")


def test_counters_of_another_namespace_are_not_ours(scene: Scene) -> None:
    assert scene.samples("elsewhere") == {}


def test_a_rollout_without_counters_is_told_what_to_look_for(scene: Scene) -> None:
    story = story_of(max=1)
    analysis = story.world.spec.rollout.analysis.model_copy(update={"source": "Prometheus"})
    rollout = story.world.spec.rollout.model_copy(update={"analysis": analysis})
    story.world.spec = story.world.spec.model_copy(update={"rollout": rollout})

    wait_until(lambda: len(scene.hear(story).samples) == 1, "the candidate's counters are there")
    heard = scene.hear(story)

    stable = story.revision("v1")
    assert heard.unread.startswith(f"Prometheus main has no fresh counters of revision {stable}: are its pods scraped")


# Queries.


def test_a_query_has_a_number_nothing_or_a_sentence(scene: Scene) -> None:
    assert scene.query("1 + 1") == 2.0
    above = 'sum(tidegate_requests_total{namespace="shop",code="400"}) > 3'
    wait_until(lambda: scene.query(above) is not None, "all four pages are scraped: on a busy machine one may fail")
    assert scene.query("no_such_series") is None
    assert scene.query("vector(0) / 0") is None
    assert scene.query("1 / 0") is None
    for wrong, sentence in {
        "sum(": "parse error: ",
        "up + on(job) group_left up": "found duplicate series|many-to-many|multiple matches",
        "up": "its result has [0-9] series",
        "up[1m]": "its result is a matrix",
        '"text"': "its result is a string",
    }.items():
        with pytest.raises(QueryRefused, match=sentence):
            scene.query(wrong)


def test_samples_that_are_older_than_a_minute_are_no_answer(scene: Scene) -> None:
    wait_until(lambda: scene.query("new_metric") == 2.0, "the page is scraped")

    assert scene.query("old_metric") is None
    assert scene.query("last_over_time(old_metric[10m])") == 1.0


@pytest.mark.parametrize(("limit", "ends"), [({"max": 29.5}, "v1"), ({"max": 30}, "v2"), ({"min": 31}, "v1")])
def test_the_value_of_a_query_decides_a_rollout(scene: Scene, limit: dict[str, float], ends: str) -> None:
    story = story_of(**limit)
    wait_until(lambda: scene.query(story_text(scene)) == 30.0, "all answers are scraped")

    while story.world.status.rollout and story.phase != "Watching" and not story.rejected:
        story.world.answers = dict(scene.hear(story).queries)
        story.turn()
        story.world.pass_time(timedelta(seconds=10))
    story.settle()

    assert story.stable == ends
    if ends == "v1":
        assert story.rejected == [("Content", "QueryFailed")]
        assert "query answers: 30 (" in story.rejection().message


def story_text(scene: Scene) -> str:
    text = QUERY.replace("{{namespace}}", f'"{NAMESPACE}"').replace("{{name}}", f'"{NAME}"')
    return text.replace("{{revision}}", f'"{scene.revision}"')


def test_a_refused_query_is_shown_with_the_servers_words(scene: Scene) -> None:
    story = Story(
        steps=[(10, "1m")],
        rollout={"analysis": {"prometheus": {"queries": [{"name": "broken", "query": "sum(", "max": 1}]}}},
    ).serving("v1")
    story.apply("v2").until_weight(10)

    heard = scene.hear(story.runs("10s"), due(story.world.status))

    assert heard.queries == {"broken": None}
    assert "parse error" in heard.unanswered["broken"]
    assert scene.hear(story, ModelDeploymentStatus()) == Heard()


def due(status: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """The same with queries that are to be asked again."""
    assert status.rollout is not None
    return status.model_copy(
        update={"rollout": status.rollout.model_copy(update={"queried_at": datetime.fromtimestamp(0, UTC)})}
    )


# The last one: it ends a server.


def test_a_server_that_is_gone_has_no_counters_and_none_of_zero(scene: Scene) -> None:
    gone = told(scene.candidate).instance
    wait_until(lambda: gone in scene.samples(), "its counters are known")

    scene.candidate.process.kill()

    wait_until(lambda: gone not in scene.samples(), "its series have ended")
    assert len(scene.samples()) == 2
