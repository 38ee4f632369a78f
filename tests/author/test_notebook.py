"""`import tidegate` as a notebook uses it: the page's examples, what is shown, and how errors end."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import tidegate as api
from tidegate.bundle.encryption import encrypt, generate_identity

PAGE = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text()
CELLS = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", PAGE, re.DOTALL)
MARK = "\n---\n"


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("uv")
def test_every_example_of_the_page_gives_its_answer(tmp_path: Path) -> None:
    program = f"print({MARK!r}, end='')\n".join(cell for cell, _ in CELLS)

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=380, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split(MARK) == [answer for _, answer in CELLS]
    assert PAGE.count("```python") == len(CELLS)


def test_importing_tidegate_imports_nothing_heavy() -> None:
    heavy = "numpy onnx onnxruntime boto3 pydantic yaml click rich"
    program = f"import sys, tidegate; tidegate.TidegateError; print([m for m in {heavy.split()} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=110, check=True)

    assert done.stdout.strip() == "[]"


def test_every_name_of_the_package_is_there_and_listed() -> None:
    assert all(callable(getattr(api, name)) for name in api.__all__)
    assert set(api.__all__) < set(dir(api))
    with pytest.raises(AttributeError, match="no attribute 'optimise'"):
        api.optimise  # noqa: B018


@pytest.fixture(scope="module")
def model() -> Any:
    return LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])


@pytest.fixture
def packed(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> api.Bundle:
    monkeypatch.chdir(tmp_path)
    return api.pack(model, name="m", version="1", description="<b>it & more</b>", data=np.eye(4), labels=[0, 1, 0, 1])


def test_a_bundle_is_shown_as_a_table_that_holds_no_html_of_its_maker(packed: Any) -> None:
    shown = packed._repr_html_()

    assert "&lt;b&gt;it &amp; more&lt;/b&gt;" in shown
    assert "<td style='text-align:left'>1.0000 (4 rows of data)</td>" in shown
    assert repr(packed).startswith("<bundle m 1 in m-1: sha256:")


def test_checks_differences_and_pushes_are_shown_as_tables(packed: Any, model: Any) -> None:
    other = api.pack(model, name="m", version="2", metrics={"auc": 0.5})

    assert "probabilities" in api.check(packed)._repr_html_()
    assert "<td style='text-align:left'>auc" not in api.diff(packed, packed)._repr_html_()
    assert "metric auc" in api.diff(packed, other)._repr_html_()
    assert "files" in api.push(packed, "store/m/1")._repr_html_()
    assert "already there" in api.push(packed, "store/m/1")._repr_html_()


def test_the_function_makes_the_same_bundle_as_the_command(tidegate: Any, pickled: Path) -> None:
    ended = tidegate("pack", str(pickled), "--trust-pickle", "-o", "one", "--name", "m", "--version", "1", "-q")

    made = api.pack(pickled, name="m", version="1", out="two", trust_pickle=True)

    assert ended.out.strip() == made.digest


def test_a_variant_is_made_and_shown_beside_its_parent(packed: Any) -> None:
    rows = np.tile(np.eye(4), (10, 1))

    made = api.optimize(packed, out="small", version="2", data=rows, labels=[0, 1, 0, 1] * 10, graph=True, seconds=0.01)

    assert f"`{packed.digest}`" in made.bundle.card
    assert "<td style='text-align:left'>1.0000</td>" in made._repr_html_()


def test_a_part_of_a_bundle_becomes_a_bundle(packed: Any) -> None:
    made = api.derive(packed, api.Extract(("label",)), out="part", version="2")

    assert [output.name for output in made.interface.outputs] == ["label"]
    assert f"- extracted from `{packed.digest}`" in made.card
    with pytest.raises(api.TidegateError, match="absent"):
        api.derive(packed, api.Extract(("absent",)), out="none", version="2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": [0, 1]}, "labels of what?"),
        ({"data": np.eye(4), "labels": [0, 1]}, "data: 2 labels for 4 rows"),
        ({"data": np.eye(4), "labels": "y"}, "there are no labels 'y'"),
        ({"data": np.eye(4), "labels": [0, 1, np.nan, 0]}, "1 labels are missing, the first in row 3"),
        ({"data": {"a": np.eye(4), "b": 7}}, "'b' is a single value"),
        ({"data": {"a": np.array(["x", None], dtype=object)}}, "the column 'a' holds texts beside something else"),
        ({"data": {"a": np.array(["2026-01-01"], dtype="datetime64[D]")}}, "column 'a': values of the type datetime64"),
        ({"data": np.eye(3)}, "3 columns, the model was fitted on 4"),
        ({"data": "absent.csv"}, "absent.csv: no such file"),
        ({"golden": "absent.npz"}, "absent.npz: no such file"),
        ({"name": "a/b"}, "cannot be a name"),
    ],
)
def test_what_cannot_be_packed_is_the_error_of_the_command(
    model: Any, given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(api.TidegateError, match=re.escape(message)):
        api.pack(model, **{"name": "m", "version": "1", **given})

    assert list(tmp_path.iterdir()) == []


class Frame:
    """As much of a DataFrame as is used: columns by name."""

    def __init__(self, **columns: Any) -> None:
        self._columns = columns

    def keys(self) -> Any:
        return self._columns.keys()

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]


def test_a_frame_gives_columns_and_what_is_dropped_may_hold_anything(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    columns = {name: np.eye(4)[:, at] for at, name in enumerate("abcd")}
    frame = Frame(**columns, late=[0, 1, 0, 1], when=np.array(["2026-01-01"] * 4, dtype="datetime64[D]"))

    bundle = api.pack(model, name="m", version="1", data=frame, labels="late", drop_columns=["when"])

    assert bundle.metrics["accuracy"] == 1


def test_an_option_that_there_is_not_is_a_type_error(model: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'verison'"):
        api.pack(model, name="m", version="1", verison="2")  # type: ignore[call-arg]


def test_a_bundle_by_another_key_is_refused(packed: Any, tmp_path: Path) -> None:
    with pytest.raises(api.TidegateError, match=r"absent\.pub: no such file"):
        api.verify(packed, public_key="absent.pub")


def test_an_encrypted_bundle_is_checked_and_pulled_by_its_age_key(packed: Any, tmp_path: Path) -> None:
    generate_identity(tmp_path / "age.key", tmp_path / "age.pub")
    encrypt(packed.path, tmp_path / "sealed", [(tmp_path / "age.pub").read_text().strip()])
    sent = api.push("sealed", "store/m/1")

    checked = api.check("sealed", identity="age.key")
    plain = api.pull("store/m/1", "plain", identity=tmp_path / "age.key")
    sealed = api.pull("store/m/1", "again")

    assert checked.document["samples"] == 8
    assert (plain.digest, api.verify("plain").digest) == (packed.digest, packed.digest)
    assert sealed.digest == api.verify(f"file://{tmp_path}/store/m/1", deep=True).digest == sent.digest
    with pytest.raises(api.TidegateError, match=r"is encrypted: name the age key"):
        api.check("sealed")
    with pytest.raises(api.TidegateError, match=r"absent\.key: no such file"):
        api.pull("store/m/1", "other", identity="absent.key")
    assert not (tmp_path / "other").exists()


def test_a_repository_to_mount_from_where_there_is_none_is_the_error_of_the_command(packed: Any) -> None:
    with pytest.raises(api.TidegateError, match="nothing can be mounted"):
        api.push(packed, "store/m/1", mount_from="models/digits")
