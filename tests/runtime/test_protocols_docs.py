"""Every curl line of docs/protocols.md, run as it stands there; and no path that the server has is without one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.page_examples import Example, examples, printed
from tests.unit.runtime.fake_model import FakeModel, FakeWatchdog

from tidegate_runtime.admission import Admission
from tidegate_runtime.counters import Counters
from tidegate_runtime.engine import Engine, Surroundings
from tidegate_runtime.health import Health
from tidegate_runtime.inference import Inferring
from tidegate_runtime.interfaces import Parts
from tidegate_runtime.internal import InternalServer
from tidegate_runtime.oip import OpenInference, server_routes
from tidegate_runtime.predict import Predicting, alive_routes
from tidegate_runtime.settings import parse
from tidegate_runtime.shadow import ShadowSender
from tidegate_runtime.watchdog import Watchdog

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "protocols.md").read_text()
ALL = examples(PAGE)
CURL = [example for example in ALL if "grpcurl" not in example.command]
LINKED = [(DOCS / name).read_text() for name in sorted(set(re.findall(r"\]\(([a-z-]+\.md)", PAGE)))]
ASKED = re.compile(r"localhost:(8080|9090)(/[^\s'\"|;]*)?")
VERSION = re.compile(r"/versions/[^/:]+")


@pytest.fixture(scope="module")
def server(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """The server that the page talks about."""
    return serve(bundles(small.linear(), small.linear_samples(), labels="low\nmiddle\nhigh\n"))


@pytest.mark.parametrize("example", CURL, ids=[example.command.split("localhost:")[1][:45] for example in CURL])
def test_an_example_gives_its_answer(server: Running, example: Example) -> None:
    found = printed(example.command, {8080: server.http, 9090: server.metrics})

    assert example.fits(found), found


def test_every_command_of_the_page_is_an_example_with_an_answer() -> None:
    assert PAGE.count("```sh\n") == len(ALL) > len(CURL) > 0


def test_every_path_that_the_server_has_is_asked_by_an_example_here_or_on_a_page_that_is_linked() -> None:
    shown = [example.command for page in (PAGE, *LINKED) for example in examples(page)]
    asked = {(port, VERSION.sub("", path or "/")) for command in shown for port, path in ASKED.findall(command)}

    assert sorted({*model_port(), *metrics_port()} - asked) == []


def model_port() -> set[tuple[str, str]]:
    """The paths of the server's own table, those of a version left out, as they are those without."""
    settings, recorder, health = parse(["--bundle", "b"], {}), Counters(), Health(Watchdog())
    loop, model = asyncio.new_event_loop(), FakeModel(name="fraud")
    try:
        engine = Engine(model, None, Surroundings(loop, settings, FakeWatchdog(), recorder, Admission(1)))
        inferring = Inferring(model, engine, settings, recorder, ShadowSender())
        tables = (
            server_routes(health, "", explains=False),
            alive_routes(health),
            OpenInference(inferring, health, settings, None).routes(),
            Predicting(inferring, health, settings, None).routes(),
        )
        return {("8080", VERSION.sub("", path.decode())) for table in tables for path in table}
    finally:
        loop.close()


def metrics_port() -> set[tuple[str, str]]:
    settings = parse(["--bundle", "b", "--metrics-host", "127.0.0.1", "--metrics-port", "0"], {})
    watchdog = Watchdog()
    server = InternalServer(Parts(settings, Health(watchdog), Counters(), ShadowSender(), Admission(1), watchdog))
    server.start()
    server.stop()
    return {("9090", path) for path in server.paths()}
