"""What follows from a measurement: the knee, the autoscaler's target, and how all of it is shown."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import yaml
from tests.unit.bench.levels import LIMIT, findings, level

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.bench.plot import plot
from tidegate.bench.record import Verdict
from tidegate.bench.scaling import scaling_target
from tidegate.bench.sweep import Findings
from tidegate.cli.bench_view import Measured, conclusions, document, page, print_measured


def measured(found: Findings, *, limit_given: bool = True) -> Measured:
    return Measured(found, "fraud", "http://x:1", "binary", "golden samples", limit_given, cores=1)


def test_the_knee_is_the_highest_level_below_the_first_that_does_not_hold() -> None:
    found = findings()

    assert found.knee is not None
    assert found.beyond is not None
    assert (found.knee.rate, found.beyond.rate) == (70.0, 75.0)
    assert found.holds


def test_a_level_that_is_undecided_counts_by_what_was_seen() -> None:
    assert level(50.0, 0.029, Verdict.UNDECIDED).holds(LIMIT)
    assert not level(50.0, 0.031, Verdict.UNDECIDED).holds(LIMIT)


def test_the_snippet_is_a_part_of_a_manifest() -> None:
    lines = scaling_target(level(49.04, 0.015, Verdict.HOLDS), 2).snippet().splitlines()

    targets = []
    for line in lines[3:]:  # one of them at a time
        written = yaml.safe_load("\n".join([*lines[:3], line.replace("# ", "", 1)]))["spec"]
        spec = ModelDeploymentSpec.model_validate({"bundle": {"uri": "s3://models/fraud/1.0.0"}, **written})
        targets.append(spec.scaling.target.model_dump(exclude_none=True))

    assert targets == [
        {"requests_per_second": 49.0},
        {"concurrency": 0.245},  # 49/s, each for 5 ms
        {"cpu_utilization": 25},  # half a core of two
    ]
    assert yaml.safe_load("\n".join(lines))["spec"]["scaling"]["target"] == {"requestsPerSecond": 49.0}


def test_the_cpu_is_no_target_where_nobody_knows_it() -> None:
    assert "cpuUtilization" not in scaling_target(level(49.0, 0.015, Verdict.HOLDS), 0).snippet()


def test_a_load_generator_that_was_late_itself_is_told() -> None:
    honest, late = measured(findings()), measured(findings(lag=0.02))

    assert not document(honest)["loadGeneratorBound"]
    assert document(late)["loadGeneratorBound"]
    assert any("the load generator itself was late by 20 ms at 75/s" in line for line in conclusions(late))
    assert not any("late" in line for line in conclusions(honest))


def test_a_target_that_does_not_hold_is_told() -> None:
    found = replace(findings(), target=level(49.0, 0.2, Verdict.EXCEEDS))

    assert any("something disturbs this machine" in line for line in conclusions(measured(found)))
    assert not any("disturbs" in line for line in conclusions(measured(findings())))


def test_nothing_that_holds_is_told_with_the_lowest_level_that_was_tried() -> None:
    found = Findings(limit=LIMIT, steps=[level(rate, 0.5, Verdict.EXCEEDS) for rate in (10.0, 10.0, 5.0, 5.0)])

    assert not found.holds
    assert any(line.startswith("knee    none: even 5/s are above p99 30 ms") for line in conclusions(measured(found)))


def test_a_measurement_that_was_too_short_names_no_knee_but_a_time_that_would_do() -> None:
    found = measured(replace(findings(), steps=findings().steps[:2], target=None, too_short=48.0))

    assert conclusions(found) == ["knee    not known: too short for this model: --duration 48s"]
    assert document(found)["durationNeeded"] == 48
    assert document(found)["knee"] is None
    assert not found.found.holds


def test_a_limit_that_one_request_alone_exceeds_is_told_as_such() -> None:
    found = Findings(limit=LIMIT, alone=level(0.0, 0.4, Verdict.UNDECIDED), finished=True)

    assert conclusions(measured(found)) == ["knee    none: one request alone takes 100 ms, above p99 30 ms"]


def test_failures_are_told_where_there_is_no_limit() -> None:
    found = Findings(steps=[level(50.0, math.inf, Verdict.EXCEEDS)], finished=True)

    assert conclusions(measured(found)) == ["failed  more than 1 % of the requests: no p99 at all"]


def test_what_was_measured_before_an_interruption_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = replace(findings(), target=None, finished=False)

    print_measured(measured(found))

    said = capsys.readouterr().out
    assert "70/s" in said
    assert "interrupted: this is what was measured until then" in said


def test_the_limit_that_nobody_gave_is_explained() -> None:
    assert any(
        "ten times what a request takes alone" in line for line in conclusions(measured(findings(), limit_given=False))
    )


def test_numbers_as_data_stay_json_where_answers_never_came() -> None:
    found = findings()
    found.steps.append(replace(level(200.0, math.inf, Verdict.EXCEEDS), failures={0: 3, 429: 2}))

    told = json.loads(json.dumps(document(measured(found)), allow_nan=False))

    assert told["knee"]["requestsPerSecond"] == 70.0
    assert told["scaling"] == {"requestsPerSecond": 49.0, "concurrency": 0.245, "cpuUtilization": 49, "cores": 1}
    assert told["levels"][-1]["p99Ms"] is None
    assert told["levels"][-1]["failures"] == {"unanswered": 3, "429": 2}


@pytest.mark.parametrize("worst", [0.05, 2.0, math.inf])
def test_the_plot_is_one_svg_with_every_level(worst: float) -> None:
    found = findings()
    found.steps.append(replace(level(120.0, worst, Verdict.EXCEEDS), p50=worst, p90=worst))

    drawn = plot(found, "fraud <1> & more")

    root = ElementTree.fromstring(drawn)
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [5, 5, 5]
    assert "limit of the p99: 30 ms" in drawn
    assert "knee 70/s" in drawn
    assert "nan" not in drawn
    assert "inf" not in drawn.replace("line", "")


def test_where_the_p99_may_be_anywhere_above_nothing_is_drawn_above_it() -> None:
    found = findings()
    step = level(50.0, 0.02, Verdict.UNDECIDED)
    found.steps.append(replace(step, p99_interval=(0.02, math.inf)))

    lengths = [
        abs(float(line.attrib["y1"]) - float(line.attrib["y2"]))
        for line in ElementTree.fromstring(plot(found, "x")).iter("{http://www.w3.org/2000/svg}line")
        if line.attrib["class"] == "spread p99"
    ]

    assert sorted(lengths)[0] == 0
    assert all(length < 100 for length in lengths)


def test_the_page_holds_plot_and_figures_and_fetches_nothing() -> None:
    text = page(measured(findings()))

    assert "<svg" in text
    assert "requestsPerSecond: 49" in text
    assert "default-src 'none'" in text
    assert "http://www.w3.org/2000/svg" in text
    assert text.count("http") == 3  # the namespace, the policy's header name, the server that was measured
