from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidegate.cluster.logs import LINE_LIMIT, about, clean, configure

Lines = Callable[[], list[dict[str, Any]]]
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged so far, line by line; the log is as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = handlers, level


def test_a_line_is_one_json_object_with_time_and_level(lines: Lines) -> None:
    logging.getLogger("tidegate.cluster").info("two\nlines of %s", "text")

    [line] = lines()

    assert line["message"] == "two\nlines of text"
    assert (line["level"], line["logger"]) == ("info", "tidegate.cluster")
    assert line["at"].endswith("Z")


def test_a_line_says_whose_it_is(lines: Lines) -> None:
    log = logging.getLogger("anything")
    with about(namespace="ns", name="fraud"), about(revision="abc"):
        log.info("inside")
    log.info("outside")

    inside, outside = lines()

    assert (inside["namespace"], inside["name"], inside["revision"]) == ("ns", "fraud", "abc")
    assert "namespace" not in outside


def test_an_error_comes_with_its_traceback_in_the_same_line(lines: Lines) -> None:
    try:
        raise ValueError(f"refused: Bearer {TOKEN}")
    except ValueError:
        logging.getLogger("x").exception("it failed")

    [line] = lines()

    assert "ValueError" in line["error"]
    assert "eyJ" not in json.dumps(line)


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TOKEN}",
        f"bearer {TOKEN}",
        f"got {TOKEN} from the file",
        "Basic dXNlcjpodW50ZXIyaHVudGVyMg==",
        "https://user:hunter2hunter2@store.example/x",
        "GET https://s3.example/b?X-Amz-Signature=hunter2hunter2&a=1",
        "https://x.example/?access_token=hunter2hunter2",
    ],
)
def test_secrets_are_blotted_out(text: str) -> None:
    shown = clean(text)

    assert "***" in shown
    assert not any(secret in shown for secret in ("hunter2", "eyJ", "dXNl"))


def test_ordinary_text_stays_as_it_is() -> None:
    text = "create deployments team-a/fraud-abc123: basic checks passed, see https://example.org/a?b=c"

    assert clean(text) == text


def test_a_line_has_a_limit() -> None:
    assert len(clean("x" * 10 * LINE_LIMIT)) == LINE_LIMIT


def test_libraries_do_not_drown_us_out(lines: Lines) -> None:
    logging.getLogger("kopf.objects").info("Handler succeeded.")
    logging.getLogger("aiohttp.access").info("GET /livez")
    logging.getLogger("kopf.reactor").warning("heard")

    assert [line["message"] for line in lines()] == ["heard"]
