"""The HTML files that commands write, in a real Chromium: complete in themselves, readable in light and dark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from onnx import helper
from playwright.sync_api import Browser, Page
from tests.browser.conftest import Seen
from tests.bundle.test_catalog import family
from tests.unit.author.derive.conftest import bundle_of, model_of, weight
from tests.unit.bench.levels import findings
from tests.unit.bench.test_findings import measured
from tests.unit.report.told import rollback

from tidegate.author import DataSet, GoldenRequest
from tidegate.author.explain.explaining import ExplainRequest, explain
from tidegate.author.optimize.comparison import Comparison, Variant
from tidegate.author.optimize.quality import Estimate
from tidegate.author.optimize.timing import Latency
from tidegate.bundle.catalog import Held, catalog, lineage
from tidegate.bundle.push import push
from tidegate.bundle.source import Access
from tidegate.cli import bench_view, catalog_page, optimize_view
from tidegate.report import write_report

HOSTILE = "<img src=x onerror='window.hurt=1'><b id=hurt>bold</b>&amp;"


def a_report(folder: Path) -> str:
    rollback(folder / "fraud")
    write_report([folder / "fraud"], folder / "report.html")
    return (folder / "report.html").read_text()


def a_catalog(folder: Path) -> str:
    for number, made in enumerate(family(folder)):
        push(made, f"file://{folder}/store/digits/{number}")
    found = catalog(f"file://{folder}/store", Access())
    return catalog_page.render(HOSTILE, [*lineage(found), (0, Held(HOSTILE, None, HOSTILE))])


def an_explanation(folder: Path) -> str:
    wide = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = model_of(wide, [("x", ["batch", 4])], [("y", ["batch", 3])], {"w": weight(4, 3)})
    bundle = bundle_of(model, folder / "bundle", golden=GoldenRequest("none")).bundle.path
    rows = np.random.default_rng(5).standard_normal((30, 4)).astype(np.float32)
    columns = {name: rows[:, at] for at, name in enumerate([HOSTILE, "age", "height", "weight"])}
    explain(str(bundle), ExplainRequest(out=folder / "explained", data=DataSet("people", columns), rows=3))
    return (folder / "explained" / "explanation.html").read_text()


def a_comparison(folder: Path) -> str:
    latencies = (Latency(1, 40.0, 38.0, 45.0, 1.0), Latency(64, 600.0, 590.0, 630.0, 1.0))
    parent = Variant("parent", 653_000, Estimate(0.98, 0.97, 0.99), Estimate(0, 0, 0), latencies)
    small = replace(parent, name=HOSTILE, bytes=181_000, drop=Estimate(0.004, -0.001, 0.012))
    return optimize_view.page(Comparison("accuracy", 719, "test.npz", 0.01, (parent, small), (HOSTILE,)), "digits")


def a_measurement(folder: Path) -> str:
    return bench_view.page(replace(measured(findings()), model=HOSTILE))


PAGES: list[Callable[[Path], str]] = [a_report, a_catalog, an_explanation, a_comparison, a_measurement]


@pytest.fixture(params=PAGES, ids=lambda make: make.__name__)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    make: Callable[[Path], str] = request.param
    return make(tmp_path)


def shown(browser: Browser, seen: Seen, text: str, scheme: str, width: int = 1280) -> Page:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})  # type: ignore[arg-type]
    seen.watch(page)
    page.set_content(text)
    return page


def brightness(colour: str) -> float:
    """Of `rgb(1, 2, 3)`, from 0 to 255."""
    return fmean(float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_written_page_asks_for_nothing_runs_nothing_of_others_and_is_readable(
    browser: Browser, seen: Seen, written: str, scheme: str
) -> None:
    page = shown(browser, seen, written, scheme)

    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    inks = page.locator("h1, td, figure text, figure h4").evaluate_all(
        "all => all.map(one => getComputedStyle(one)[one.tagName == 'text' ? 'fill' : 'color'])"
    )
    dark = scheme == "dark"
    assert (brightness(paper) < 64) is dark
    assert {brightness(ink) > 125 for ink in inks} == {dark}
    assert page.locator("#hurt").count() == 0
    assert page.evaluate("window.hurt") is None
    assert seen.hosts == set()
    assert [row["id"] for row in Axe().run(page).response["violations"]] == []
    page.close()


def test_a_written_page_scrolls_one_way_only_on_a_small_screen(browser: Browser, seen: Seen, written: str) -> None:
    page = shown(browser, seen, written, "light", width=360)

    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    page.close()


@pytest.mark.parametrize("place", [0, 1], ids=["the weights", "the plot below"])
def test_a_pointer_over_a_plot_of_a_report_shows_each_versions_figures(
    browser: Browser, seen: Seen, tmp_path: Path, place: int
) -> None:
    page = shown(browser, seen, a_report(tmp_path), "light")
    figures = page.locator("output")
    assert set(figures.all_text_contents()) == {""}

    page.locator("figure > svg").nth(place).hover()

    assert any("%" in told for told in figures.all_text_contents())
    page.close()
