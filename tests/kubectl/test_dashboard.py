"""`tidegate dashboard` against a real API server: what a person may see is live, what they may do is done by their rights."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from tests.browser.served import Served, served, started
from tests.browser.told import Page
from tests.cluster.outage import gone
from tests.control_plane.users import STRANGER
from tests.kubectl.conftest import GROUP, HOLDING, Site
from tests.kubectl.test_acts import PROMOTED, operated
from tests.waiting import wait_until

from tidegate.cluster.errors import ClusterError
from tidegate.cluster.kubectl.connection import Connection
from tidegate.cluster.kubectl.kubeconfig import find_context
from tidegate.cluster.kubectl.watching import Watcher, Where
from tidegate.plan.manifests.identity import MODEL_DEPLOYMENT

LOOKS = {"apiGroups": [GROUP], "resources": ["modeldeployments"], "verbs": ["get", "list", "watch"]}
ACTS = {"apiGroups": [GROUP], "resources": ["modeldeployments"], "verbs": ["patch"]}
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
AWAY = 60.0


@contextmanager
def opened(site: Site, *options: str) -> Iterator[tuple[Served, Page]]:
    kubeconfig = site.folder / ("stranger" if (site.folder / "stranger").exists() else "kubeconfig")
    with served(*options, kubeconfig=kubeconfig) as dashboard:
        page = Page(dashboard.port, dashboard.token)
        try:
            yield dashboard, page
        finally:
            page.close()


def of(page: Page, site: Site, name: str = "fraud") -> Mapping[str, Any]:
    return page.shown.get(f"{site.namespace}/{name}", {})


def test_a_rollout_is_shown_live_with_its_pods_until_it_is_gone(site: Site) -> None:
    site.deploy()
    site.pod("3f6f694c2a", 1)

    with opened(site) as (dashboard, page):
        assert dashboard.target == f"namespace {site.namespace} of context tests ({site.plane.url})"
        wait_until(lambda: of(page, site).get("pods"), "its pod is shown")
        assert of(page, site)["rollout"]["holdReason"] == "WaitingForPromote"
        assert of(page, site)["steps"] == [{"weight": 40, "hold": "manual"}]
        assert [(pod["revision"], pod["status"]) for pod in of(page, site)["pods"]] == [("3f6f694c2a", "Pending")]

        site.says({**HOLDING, "candidate": {**HOLDING["candidate"], "weight": 70}})
        wait_until(lambda: of(page, site)["candidate"]["weight"] == 70, "its weight is shown")
        site.pod("3f6f694c2a", 2)
        wait_until(lambda: len(of(page, site)["pods"]) == 2, "its second pod is shown")
        site.annotate("pause", "3f6f694c2a@2099-01-01T00:00:00Z")
        wait_until(lambda: of(page, site)["waiting"], "what is asked for is shown")
        site.plane.client.delete("modeldeployments", site.namespace, "fraud")
        wait_until(lambda: not of(page, site), "it is not shown any more")


def test_a_namespace_that_was_not_asked_for_is_not_shown(site: Site) -> None:
    other = Site(site.plane, site.plane.new_namespace(), site.folder)
    third = Site(site.plane, site.plane.new_namespace(), site.folder)
    for one in (site, other, third):
        one.deploy()

    with opened(site, "-n", site.namespace, "-n", other.namespace) as (_, page):
        wait_until(lambda: of(page, site) and of(page, other), "both are shown")
        assert set(page.shown) == {f"{one.namespace}/fraud" for one in (site, other)}
    with opened(site, "-A") as (_, page):
        wait_until(lambda: all(of(page, one) for one in (site, other, third)), "all are shown")


def test_promote_is_the_command_itself_by_the_persons_own_rights(stranger: Site) -> None:
    stranger.grant(LOOKS, ACTS, PODS)
    stranger.deploy()

    with opened(stranger) as (_, page):
        assert page.refusal(stranger.namespace) == ""
        with operated(stranger, "promote", rollout=PROMOTED):
            assert page.act(stranger.namespace, "promote") == (200, {"message": "promote of 3f6f694c2a/1 was taken up"})
        assert stranger.annotations()[f"{GROUP}/promote"].startswith("3f6f694c2a/1@2")
        assert page.act(stranger.namespace, "promote")[1]["message"].startswith("already: ")
        status, answer = page.act(stranger.namespace, "promote", step=2)
        assert (status, answer["error"]["what"]) == (409, "step 2 is not reached, it is at step 1")
        status, answer = page.act(stranger.namespace, "promote", "nothing")
        assert (status, answer["error"]["reason"]) == (409, "NotFound")
        assert answer["error"]["what"] == "there is no ModelDeployment nothing"


def test_a_name_that_looks_like_an_option_is_a_name(site: Site) -> None:
    with opened(site) as (_, page):
        status, answer = page.act(site.namespace, "abort", "--help")

    assert (status, answer["error"]["what"]) == (409, "there is no ModelDeployment --help")


def test_who_may_only_look_is_told_so_and_an_act_is_refused_by_the_api_server(stranger: Site) -> None:
    stranger.grant(LOOKS, PODS)
    stranger.deploy()

    with opened(stranger) as (_, page):
        assert page.refusal(stranger.namespace) == (
            f"you may not patch modeldeployments.{GROUP} in namespace {stranger.namespace}"
        )
        status, answer = page.act(stranger.namespace, "promote")

    assert (status, answer["error"]["reason"]) == (409, "Forbidden")
    assert f"{STRANGER.name} may not patch modeldeployments" in answer["error"]["what"]
    assert stranger.annotations() == {}


def test_what_a_person_may_not_list_is_said_and_the_rest_is_shown(stranger: Site) -> None:
    stranger.grant(LOOKS)
    stranger.deploy()
    stranger.pod("3f6f694c2a", 1)
    hidden = stranger.plane.new_namespace()

    with opened(stranger, "-n", stranger.namespace, "-n", hidden) as (_, page):
        wait_until(lambda: of(page, stranger), "what may be seen is shown")
        wait_until(
            lambda: len(page.facts.get("troubles", [])) == 3, lambda: f"all that is refused is said: {page.facts}"
        )
        wait_until(lambda: "pods" not in of(page, stranger), "none were looked at, which is not that there are none")
        said = {one["about"]: one for one in page.facts["troubles"]}
        assert set(said) == {
            f"pods in namespace {stranger.namespace}",
            *(f"{kind} in namespace {hidden}" for kind in ("pods", "modeldeployments")),
        }
        one = said[f"modeldeployments in namespace {hidden}"]
        assert one["what"] == f"{STRANGER.name} may not list modeldeployments.{GROUP} in namespace {hidden}"
        assert not one["passes"]


def test_who_may_see_nothing_gets_no_page(stranger: Site) -> None:
    child = started("-A", kubeconfig=stranger.folder / "stranger")
    said, error = child.communicate(timeout=30)

    assert (child.returncode, said) == (1, "")
    assert f"{STRANGER.name} may not list modeldeployments.{GROUP} in all namespaces" in error


def test_a_server_that_cannot_be_reached_is_told(site: Site) -> None:
    config = json.loads((site.folder / "kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (site.folder / "kubeconfig").write_text(json.dumps(config))
    child = started(kubeconfig=site.folder / "kubeconfig")
    _, error = child.communicate(timeout=30)

    assert child.returncode == 5
    assert "the API server does not answer" in error


@pytest.mark.slow
def test_an_api_server_that_was_away_is_caught_up_with(site: Site) -> None:
    site.deploy()

    with opened(site) as (_, page):
        wait_until(lambda: of(page, site), "it is shown")
        with gone(site.plane):
            wait_until(
                lambda: any(one["passes"] for one in page.facts.get("troubles", [])), "the page knows that it is stale"
            )
            assert of(page, site), "what was shown stays"
        site.says({**HOLDING, "phase": "Returning"})
        wait_until(lambda: of(page, site)["phase"] == "Returning", "what has changed meanwhile is shown", AWAY)
        wait_until(lambda: page.facts["troubles"] == [], "and nothing is stale", AWAY)


class Heard:
    """What a watch has told."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lists = 0
        self.errors: list[ClusterError] = []

    def page(self, where: Where, items: list[Mapping[str, Any]], *, first: bool) -> None:
        self.names |= {item["metadata"]["name"] for item in items}

    def listed(self, where: Where) -> None:
        self.lists += 1

    def news(self, where: Where, what: str, found: Mapping[str, Any]) -> None:
        self.names.add(found["metadata"]["name"])

    def trouble(self, where: Where, error: ClusterError | None) -> None:
        if error:
            self.errors.append(error)


def test_a_version_that_is_too_old_for_the_server_makes_a_watch_list_again(site: Site) -> None:
    """A laptop that was asleep for an hour: the server answers 410."""
    site.deploy()
    heard = Heard()
    watcher = Watcher(Connection(find_context(None, "")), Where(MODEL_DEPLOYMENT, site.namespace), heard)
    watcher._version = "1"
    watcher.start()

    wait_until(lambda: heard.lists, "it has listed")
    assert heard.names == {"fraud"}
    site.deploy("churn")
    wait_until(lambda: heard.names == {"fraud", "churn"}, "and watches from there")
    watcher.stop()
    watcher.join(10)
    assert not watcher.is_alive()
    assert (heard.lists, heard.errors) == (1, [])


def test_a_long_list_is_read_in_pages(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.cluster.kubectl.watching.PAGE", "2")
    names = {f"model-{number}" for number in range(5)}
    for name in names:
        site.deploy(name, status=None)
    heard = Heard()
    watcher = Watcher(Connection(find_context(None, "")), Where(MODEL_DEPLOYMENT, site.namespace), heard)
    watcher.start()

    wait_until(lambda: heard.lists, "it has listed")
    watcher.stop()
    assert heard.names == names


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_in_order_while_a_page_is_open(site: Site, number: int, code: int) -> None:
    with opened(site) as (dashboard, page):
        assert dashboard.ends(number) == code
        wait_until(lambda: not page.reading, "its stream has ended")
        assert dashboard.child.stderr
        assert dashboard.child.stderr.read() == ""


def test_an_object_of_a_form_that_nobody_foresaw_does_not_end_a_watch_in_silence(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.cluster.kubectl.watching.REFUSED_PAUSE", 0.05)
    site.deploy()

    class Surprised(Heard):
        def page(self, where: Where, items: list[Mapping[str, Any]], *, first: bool) -> None:
            if not self.errors:
                raise KeyError("metadata")
            super().page(where, items, first=first)

    heard = Surprised()
    watcher = Watcher(Connection(find_context(None, "")), Where(MODEL_DEPLOYMENT, site.namespace), heard)
    watcher.start()

    wait_until(lambda: heard.lists, "it has listed")
    watcher.stop()
    assert [error.what for error in heard.errors] == [
        "what the API server says is not understood: KeyError: 'metadata'"
    ]
