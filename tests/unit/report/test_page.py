"""The page: complete in itself, true to what was recorded, safe with text from outside, readable without colours."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tidegate.report import report_data, write_report
from tidegate.report.course import NothingToReport

from .told import Told, event, rollback

VOID = {"meta", "br", "line", "circle", "polyline", "path", "rect"}


class Outline(HTMLParser):
    """Elements in order, and whether every one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    parsed.close()
    return parsed


@pytest.fixture
def page(tmp_path: Path) -> str:
    rollback(tmp_path / "fraud")
    write_report([tmp_path / "fraud"], tmp_path / "out" / "report.html")
    return (tmp_path / "out" / "report.html").read_text()


def test_the_page_is_whole_and_fetches_nothing(page: str) -> None:
    parsed = outline(page)
    assert parsed.open == []
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"// The page reads.*", "", page))
    assert not [a for tag, a in parsed.seen if "src" in a or tag in ("link", "iframe", "object", "img")]
    policy = parsed.all("meta")[2]["content"] or ""
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert len(page) < 200_000


def test_every_version_has_a_card_with_its_ending_and_its_figures(page: str) -> None:
    cards = page.split('<li class="card')[1:]
    assert len(cards) == 3
    assert all(part in cards[0] for part in (">1.a<", "Serving", "11,500", "100 %"))
    assert all(part in cards[1] for part in (">1.b<", "Rolled back", "LatencyExceeded", "84 ms", "900 ms", "sha256:bb"))
    assert all(part in cards[2] for part in (">c<", "Refused", "GoldenMismatch", "output differs"))


def test_the_head_says_how_it_stands_and_how_much_was_served(page: str) -> None:
    assert "version 1.a serves, Serving · 2026-01-01 12:00:00 UTC, 11 s" in page
    assert "12,000 requests, 5 errors · versions: 1 serving, 1 rolled back, 1 refused" in page


def test_each_plot_has_a_name_that_can_be_read_aloud_and_lines_of_both_versions(page: str) -> None:
    plots = [a["aria-label"] for a in outline(page).all("svg") if a.get("role") in ("group", "img")]
    assert plots == [
        "Share of the requests by version over time",
        "Requests per second by version over time",
        "Errors by version over time",
        "Latency by version over time",
    ]
    assert page.count('class="line v0"') >= 3
    assert page.count('class="line v1"') >= 3
    assert page.count('class="line v2"') == 0  # c never answered anything


def test_verdicts_are_marked_with_their_reasons_and_listed(page: str) -> None:
    parsed = outline(page)
    marks = [a for a in parsed.all("a") if str(a.get("class")).startswith("mark")]
    assert [str(a["class"]).split()[1] for a in marks] == ["good", "start", "step", "bad", "bad", "bad", "note"]
    targets = {str(a["href"])[1:] for a in marks}
    assert targets == {str(a["id"]) for a in parsed.all("tr") if "id" in a}
    assert "12:00:10 RolledBack: LatencyExceeded: p99 of 84 ms" in page


def test_limits_are_drawn_where_they_were_written(page: str) -> None:
    assert ">limit 84 ms</text>" in page
    assert ">limit 5 %</text>" in page


def test_the_numbers_stand_in_a_table_too(page: str) -> None:
    table = page.split("<details>")[1]
    assert '<td class="number">900</td>' in table


def test_checks_of_a_running_rollout_are_shown(page: str) -> None:
    assert "error rate 0 % (limit 5 %)" in page


def test_text_from_outside_is_only_text(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><b onmouseover='x'>\"&"
    told = Told(tmp_path / "x")
    for at in range(3):
        told.row(at, {"a": 50, evil: 50}, [event("RolledBack", f"{evil}: {evil}", evil, warning=True)])
    told.keeps(status={"rollout": {"checks": [{"name": evil, "verdict": evil, "message": evil}]}, "phase": evil})
    write_report([tmp_path / "x"], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    parsed = outline(page)
    assert page.count("<script") == 2
    assert page.count("</script") == 2
    assert not parsed.all("b")
    assert not [a for _, a in parsed.seen for name in a if name.startswith("on")]


def test_several_deployments_stand_one_after_the_other_and_silent_ones_are_left_out(tmp_path: Path) -> None:
    rollback(tmp_path / "one")
    rollback(tmp_path / "two")
    (tmp_path / "three").mkdir()
    write_report([tmp_path / name for name in ("one", "two", "three")], tmp_path / "r.html")
    assert re.findall("<h1>(.*)</h1>", (tmp_path / "r.html").read_text()) == ["one", "two"]


def test_without_a_recording_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(NothingToReport, match="nothing was recorded yet"):
        write_report([tmp_path], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_the_data_say_the_same_as_the_page(tmp_path: Path) -> None:
    rollback(tmp_path / "fraud")
    data = json.loads(json.dumps(report_data([tmp_path / "fraud"])))
    (course,) = data["deployments"]
    assert (course["name"], course["stable"], course["limits"]) == ("fraud", "a", {"p99": 84.0, "errors": 0.05})
    slow = course["versions"][1]
    assert (slow["outcome"], slow["reason"], slow["p99Ms"], slow["highestWeight"]) == (
        "Rolled back", "LatencyExceeded", 900.0, 10.0,
    )  # fmt: skip
    assert course["points"][5]["versions"]["b"]["requests"] == 100
    assert course["points"][0]["at"] == "2026-01-01T12:00:00.000Z"
    assert [e["reason"] for e in course["events"]][3:5] == ["RolledBack", "RolloutEnded"]
    assert course["checks"][0]["verdict"] == "pass"


def test_one_row_is_enough_for_a_page(tmp_path: Path) -> None:
    Told(tmp_path / "new").row(0, {"a": 100})
    write_report([tmp_path / "new"], tmp_path / "r.html")
    assert "In a rollout" in (tmp_path / "r.html").read_text()


def test_a_page_about_nothing_but_waiting_has_no_plots(tmp_path: Path) -> None:
    told = Told(tmp_path / "idle")
    for at in range(3):
        told.row(at, {}, [event("Unreachable", "the store does not answer", warning=True)])
    write_report([tmp_path / "idle"], tmp_path / "r.html")
    assert "the store does not answer" in (tmp_path / "r.html").read_text()
