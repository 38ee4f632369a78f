"""explain as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def base(tidegate: Any, script: Path, tmp_path: Path) -> str:
    """A bundle of four classes, and rows of it as a CSV with names."""
    assert tidegate("pack", "train.py:model", "-o", "base", "--name", "shapes", "--version", "1").code == 0
    lines = ["a,b,c,d,kind", *(",".join(map(str, [*row, at])) for at, row in enumerate(np.eye(4).tolist()))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    return "base"


def test_explain_quietly_prints_the_page(tidegate: Any, base: str) -> None:
    ended = tidegate("explain", base, "--data", "rows.csv", "--labels", "kind", "-o", "explained", "--quiet")

    assert (ended.code, ended.err, ended.out.strip()) == (0, "", "explained/explanation.html")
    assert "<title>shapes 1 · Tidegate explanation</title>" in Path("explained/explanation.html").read_text()


def test_columns_are_called_as_in_the_file(tidegate: Any, base: str) -> None:
    ended = tidegate("explain", base, "--data", "rows.csv", "--labels", "kind", "-o", "explained", "--output", "json")

    document = json.loads(ended.out)
    assert {row["part"] for row in document["largest"]} == {"a", "b", "c", "d"}
    assert document["outputs"] == ["probabilities"]
    assert document["unexplained"] < 1e-5
    with np.load(document["attributions"]) as arrays:
        assert arrays["attribution:probabilities:input"].shape == (4, 4, 4)
        assert arrays["attribution:probabilities:input"][0, 0].argmax() == 0


def test_the_table_names_the_largest_parts(tidegate: Any, base: str) -> None:
    ended = tidegate("explain", base, "--data", "rows.csv", "--labels", "kind", "-o", "explained")

    assert ended.out.splitlines()[0].split() == ["PART", "MEAN", "SIZE"]
    assert "4 rows by shapley" in ended.out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "there are no rows to explain"),
        (("--data", "absent.csv"), 1, "no such file"),
        (("--data", "rows.csv"), 1, "it takes rows of [4], the data have [5]"),
        (("--data", "rows.csv", "--labels", "sort"), 1, "there are no labels 'sort'"),
        (("--data", "rows.csv", "--labels", "kind", "--picture", "2"), 2, "'2' is not HEIGHTxWIDTH"),
        (("--data", "rows.csv", "--labels", "kind", "--picture", "3x3"), 1, "a picture of 3x3 has 9"),
        (("--data", "rows.csv", "--labels", "kind", "--explain-output", "label"), 1, "there is no output 'label'"),
    ],
)
def test_each_fault_ends_in_one_sentence_and_leaves_nothing(
    tidegate: Any, base: str, *, options: tuple[str, ...], code: int, message: str
) -> None:
    ended = tidegate("explain", base, "-o", "explained", *options)

    assert ended.code == code
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["base", "rows.csv", "train.py"]


def test_a_folder_that_is_there_already_is_refused(tidegate: Any, base: str) -> None:
    ended = tidegate("explain", base, "--data", "rows.csv", "--labels", "kind", "-o", base)

    assert ended.code == 1
    assert "it exists already" in ended.err
