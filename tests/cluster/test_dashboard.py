"""A real rollout as both forms of the dashboard show it: the operator's own page, and a person's, who promotes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.browser.served import served
from tests.browser.told import Page
from tests.cluster.operating import HOME, Operator, Site, grant
from tests.cluster.outage import gone
from tests.control_plane.plane import Plane
from tests.control_plane.users import ADMIN
from tests.waiting import wait_until

MANUAL = {"steps": [{"weight": 50, "hold": "manual"}]}
SECONDS = 60.0


@pytest.fixture(scope="module")
def operator(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    grant(control_plane)
    running = Operator(control_plane, tmp_path_factory.mktemp("operator"), ("--dashboard-port", "0")).start().leads()
    yield running
    running.close()


def page_port(operator: Operator) -> int:
    [line, *_] = operator.until(
        lambda: [one for one in operator.lines() if "the page of rollouts" in one["message"]], "a page"
    )
    return int(line["message"].split("port ")[1])


@pytest.mark.slow
def test_a_rollout_is_followed_on_both_pages_and_promoted_on_ones_own(operator: Operator, site: Site) -> None:
    site.simulate("v1")
    site.until_serving("v1")
    key = f"{site.namespace}/fraud"
    with (
        served("-n", site.namespace, kubeconfig=site.plane.kubeconfig(ADMIN)) as dashboard,
        closing(Page(dashboard.port, dashboard.token)) as mine,
        closing(Page(page_port(operator))) as everybodys,
    ):
        site.simulate("v2", rollout=MANUAL)

        def both(look: Any, what: str) -> None:
            for page in (mine, everybodys):
                wait_until(lambda: look(page.shown.get(key, {})), lambda: f"{what}: {page.shown.get(key)}", SECONDS)  # noqa: B023

        both(lambda one: (one.get("rollout") or {}).get("holdReason") == "WaitingForPromote", "both wait")
        both(lambda one: one["candidate"]["weight"] == 50, "both show the weight")
        both(
            lambda one: (
                {pod["revision"] for pod in one["pods"]} == {one[r]["revision"] for r in ("stable", "candidate")}
            ),
            "and the pods",
        )
        assert everybodys.act(site.namespace, "promote")[0] == 404

        status, told = mine.act(site.namespace, "promote")

        assert (status, told["message"].endswith("was taken up")) == (200, True)
        both(lambda one: one["phase"] == "Serving" and one["stable"]["version"] == "v2", "both show the end")
        both(lambda one: [row["outcome"] for row in one["history"]] == ["Promoted", "Promoted"], "and the history")
        assert {name.partition("/")[0] for name in mine.shown} == {site.namespace}
        assert HOME not in {name.partition("/")[0] for name in everybodys.shown}


@pytest.mark.slow
def test_the_operators_page_knows_when_it_is_stale(operator: Operator, control_plane: Plane) -> None:
    with closing(Page(page_port(operator))) as page:
        with gone(control_plane):
            [trouble] = wait_until(lambda: page.facts.get("troubles"), "the page is stale")
        assert trouble["what"] == "the API server does not answer"
        wait_until(lambda: page.facts["troubles"] == [], "the page is current", SECONDS)


def test_the_page_ends_with_the_operator(operator: Operator) -> None:
    with closing(Page(page_port(operator))) as page:
        assert operator.stop() == 0
        wait_until(lambda: not page.reading, "its stream has ended")
