"""The page in a real browser: live, for the keyboard and for small screens, and whatever an object says stays text."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from tests.browser.conftest import PATIENCE_MS, Open, Seen
from tests.browser.scenes import WAITING
from tests.browser.served import Served, served
from tests.kubectl.conftest import GROUP, HOLDING, Site
from tests.kubectl.test_acts import PROMOTED, operated
from tests.kubectl.test_dashboard import LOOKS, PODS

expect.set_options(timeout=PATIENCE_MS)
HOSTILE = "<script>window.hurt=1</script><img src=x onerror='window.hurt=1'><b id=hurt>bold</b>&amp;"


def open_rollout(page: Page, name: str = "fraud") -> None:
    page.locator(".card", has_text=name).click()
    expect(page.locator("#detail-title")).to_have_text(name)


def moved(weight: int, **more: Any) -> dict[str, Any]:
    """The rollout at another weight."""
    stable, candidate = (
        {**HOLDING[role], "weight": share} for role, share in (("stable", 100 - weight), ("candidate", weight))
    )
    return {**HOLDING, "stable": stable, "candidate": candidate, **more}


def test_a_rollouts_progress_is_shown_live(site: Site, dashboard: Served, look: Open) -> None:
    site.deploy()
    page = look(dashboard)

    card = page.locator(".card")
    expect(card).to_contain_text("1.4.0→1.5.0")
    expect(card).to_contain_text("WaitingForPromote step 1 ends by `tidegate promote`")
    expect(card.locator(".percent")).to_have_text("40 %")
    expect(page.locator("#live-text")).to_have_text("live")
    site.says(moved(70))
    expect(card.locator(".percent")).to_have_text("70 %")
    open_rollout(page)
    expect(page.locator("#part-now")).to_contain_text("new 1.5.0 70 %")
    expect(page.locator("#part-figures")).to_contain_text("526")
    expect(page.locator("#part-checks")).to_contain_text("error rate 0 % (limit 1 %), 2,170 requests")
    expect(page.locator("#part-history")).to_contain_text("Promoted")
    site.pod("3f6f694c2a", 1)
    expect(page.locator(".pod")).to_contain_text("fraud-3f6f694c2a-1")
    site.says({"phase": "Serving", "candidate": None, "rollout": None, "stable": {**HOLDING["stable"], "weight": 100}})
    expect(page.locator("#detail .badge").first).to_have_text("✓ Serving")
    expect(page.locator(".toast")).to_contain_text("fraud is Serving")
    site.plane.client.delete("modeldeployments", site.namespace, "fraud")
    expect(page.locator("#detail-title")).to_have_text(f"There is no rollout {site.namespace}/fraud")


def test_a_click_promotes(site: Site, dashboard: Served, look: Open) -> None:
    site.deploy()
    page = look(dashboard)
    open_rollout(page)

    with operated(site, "promote", rollout=PROMOTED):
        page.get_by_role("button", name="Promote", exact=True).click()
        expect(page.locator(".toast").last).to_have_text("promote of 3f6f694c2a/1 was taken up")
    assert site.annotations()[f"{GROUP}/promote"].startswith("3f6f694c2a/1@")
    expect(page.get_by_role("button", name="Promote", exact=True)).to_be_disabled()


def test_an_abort_is_asked_for_twice(site: Site, dashboard: Served, look: Open) -> None:
    site.deploy()
    page = look(dashboard)
    open_rollout(page)

    page.get_by_role("button", name="Abort").click()
    expect(page.get_by_role("dialog")).to_contain_text("fraud: Abort?")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert site.annotations() == {}
    with operated(site, "abort", phase="Returning", rollout={**HOLDING["rollout"], "phase": "Returning"}):
        page.get_by_role("button", name="Abort").click()
        page.get_by_role("dialog").get_by_role("button", name="Abort").click()
        expect(page.locator(".toast", has_text="abort of 3f6f694c2a was taken up")).to_be_visible()
    assert set(site.annotations()) == {f"{GROUP}/abort", f"{GROUP}/asked-by"}


def test_an_act_that_cannot_be_done_says_why(site: Site, dashboard: Served, look: Open, seen: Seen) -> None:
    seen.expected = ("409",)
    site.deploy()
    site.annotate("pause", "3f6f694c2a@2099-01-01T00:00:00Z")
    page = look(dashboard)
    open_rollout(page)

    expect(page.locator("#part-acts")).to_contain_text("pause of 3f6f694c2a is asked for and not taken up yet")
    page.get_by_role("button", name="Promote", exact=True).click()
    expect(page.locator(".toast[data-tone=bad]")).to_contain_text(
        "pause of 3f6f694c2a was asked for at 2099-01-01T00:00:00Z"
    )


def test_who_may_only_look_has_no_buttons(stranger: Site, look: Open) -> None:
    stranger.grant(LOOKS, PODS)
    stranger.deploy()
    with served(kubeconfig=stranger.folder / "stranger") as dashboard:
        page = look(dashboard)
        open_rollout(page)

        expect(page.locator("#rights")).to_have_text(
            f"For reading only: you may not patch modeldeployments.{GROUP} in namespace {stranger.namespace}."
        )
        assert page.locator("#part-acts button").count() == 0


def test_whatever_an_object_says_stays_text(site: Site, dashboard: Served, look: Open) -> None:
    row = {"name": HOSTILE[:80], "verdict": "pass", "message": HOSTILE}
    rollout = {**HOLDING["rollout"], "holdMessage": HOSTILE, "checks": [row]}
    fact = {**HOLDING["conditions"][0], "message": HOSTILE}
    site.deploy(status={**moved(40), "rollout": rollout, "conditions": [fact], "url": "javascript:window.hurt=1"})
    page = look(dashboard)

    expect(page.locator(".why")).to_contain_text(HOSTILE)
    open_rollout(page)
    expect(page.locator("#part-now")).to_contain_text(HOSTILE)
    expect(page.locator("#part-checks")).to_contain_text(HOSTILE)
    expect(page.locator("#part-facts")).to_contain_text(HOSTILE)
    assert page.evaluate("window.hurt") is None
    assert page.locator("#hurt").count() == 0
    assert page.locator("script").count() == 1
    assert page.locator("a[href^=javascript]").count() == 0


def test_the_browser_itself_would_refuse_html(site: Site, dashboard: Served, look: Open, seen: Seen) -> None:
    """Trusted Types: also a later mistake in the page's own code could not make HTML of a text."""
    seen.expected = ("TrustedHTML", "Content Security Policy")
    page = look(dashboard)

    assert "TrustedHTML" in page.evaluate(
        "try { document.body.innerHTML = '<b>x</b>' } catch (error) { String(error) }"
    )


def test_rollouts_are_found_by_words_groups_and_namespaces(site: Site, look: Open) -> None:
    other = Site(site.plane, site.plane.new_namespace(), site.folder)
    for name in ("fraud", "churn"):
        site.deploy(name)
    other.deploy("uplift", status={**HOLDING, "phase": "Serving", "candidate": None, "rollout": None})
    with served("-n", site.namespace, "-n", other.namespace, kubeconfig=site.folder / "kubeconfig") as dashboard:
        page = look(dashboard)
        names = page.locator(".name")
        expect(names).to_have_text(["churn", "fraud", "uplift"])

        page.locator("#search").fill("fra 1.5")
        expect(names).to_have_text(["fraud"])
        expect(page.locator("#count")).to_have_text("1 of 3 shown")
        page.locator("#search").fill("")
        page.get_by_role("button", name="Serving").click()
        expect(names).to_have_text(["uplift"])
        page.get_by_role("button", name="All").click()
        page.locator("#space").select_option(site.namespace)
        expect(names).to_have_text(["churn", "fraud"])


def test_all_of_it_can_be_done_by_the_keyboard(site: Site, dashboard: Served, look: Open) -> None:
    site.deploy()
    page = look(dashboard)
    expect(page.locator(".card")).to_be_visible()

    page.keyboard.press("Tab")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("fraud")
    page.keyboard.press("Tab")
    expect(page.locator(".card")).to_be_focused()
    site.says(moved(50))
    expect(page.locator(".percent")).to_have_text("50 %")
    expect(page.locator(".card")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#detail-title")).to_be_focused()
    expect(page.get_by_role("button", name="Promote", exact=True)).to_be_enabled()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Promote", exact=True)).to_be_focused()
    with operated(site, "promote", rollout=PROMOTED):
        page.keyboard.press("Enter")
        expect(page.locator(".toast", has_text="was taken up")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#list-title")).to_be_focused()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_rules_of_accessibility_find_nothing(site: Site, dashboard: Served, look: Open, colours: Any) -> None:
    site.deploy(
        status={
            **WAITING,
            "rejected": [{"key": "a", "class": "Content", "reason": "Bad", "at": "2026-01-01T00:00:00Z"}],
        }
    )
    site.deploy("churn")
    site.pod(WAITING["candidate"]["revision"], 1)
    page = look(dashboard)
    page.emulate_media(color_scheme=colours, reduced_motion="reduce")
    expect(page.locator(".card")).to_have_count(2)

    found = [found_in(page)]
    open_rollout(page)
    expect(page.get_by_role("button", name="Promote", exact=True)).to_be_enabled()
    found.append(found_in(page))
    page.get_by_role("button", name="Abort").click()
    found.append(found_in(page))
    assert found == [[], [], []]


def found_in(page: Page) -> list[tuple[str, list[str]]]:
    answer = Axe().run(page)
    return [(row["id"], [node["html"] for node in row["nodes"]]) for row in answer.response["violations"]]


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_small_screen_scrolls_one_way_only(site: Site, dashboard: Served, look: Open, width: int) -> None:
    site.deploy(status={**WAITING, "url": "http://" + "a-very-long-name." * 15})
    site.pod(WAITING["candidate"]["revision"], 1)
    page = look(dashboard)
    page.set_viewport_size({"width": width, "height": 700})
    expect(page.locator(".card")).to_be_visible()

    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(too_wide) <= 0
    open_rollout(page)
    expect(page.locator(".pod")).to_be_visible()
    assert page.evaluate(too_wide) <= 0


def test_colours_are_chosen_and_kept(site: Site, dashboard: Served, look: Open) -> None:
    page = look(dashboard)
    page.emulate_media(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)

    page.get_by_role("button", name="Colours: as the system").click()
    page.get_by_role("button", name="Colours: light").click()
    dark = page.evaluate(background)
    page.reload()

    assert dark != light
    assert page.evaluate(background) == dark
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
