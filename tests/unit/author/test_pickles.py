"""Pickles and skops files: no code runs without trust, and what another version wrote is not believed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn import __version__
from sklearn.linear_model import LinearRegression

from tidegate.author.extras import MissingExtra
from tidegate.author.pickles import PickleRefused
from tidegate.errors import Failed, Invalid

MODEL = LinearRegression().fit(np.eye(4), np.arange(4))


class Bomb:
    """Makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Odd:
    """A class that nobody trusts."""


@pytest.fixture
def pickled(tmp_path: Path) -> Any:
    def write(content: bytes) -> Path:
        (tmp_path / "model").write_bytes(content)
        return tmp_path / "model"

    return write


def test_a_bomb_does_not_run_without_trust(packed: Any, pickled: Any, tmp_path: Path) -> None:
    with pytest.raises(PickleRefused, match="--trust-pickle"):
        packed(pickled(pickle.dumps(Bomb(tmp_path / "boom"))))

    assert not (tmp_path / "boom").exists()


def test_an_estimator_that_another_scikit_learn_wrote_is_refused(packed: Any, pickled: Any) -> None:
    old = pickle.dumps(MODEL, protocol=4).replace(__version__.encode(), b"1.0.0")

    with pytest.raises(Failed, match=r"saved by scikit-learn 1\.0\.0, here is .*: pip install scikit-learn==1\.0\.0"):
        packed(pickled(old), trust_pickle=True)


def test_a_fix_release_is_no_other_version(packed: Any, pickled: Any) -> None:
    near = f"{__version__.rpartition('.')[0]}.9".encode()
    same = pickle.dumps(MODEL, protocol=4).replace(__version__.encode(), near)

    assert packed(pickled(same), trust_pickle=True).bundle.digest


@pytest.mark.parametrize(
    ("module", "message"),
    [(b"xgboost_ghost1", "it needs the package xgboost_ghost1"), (b"catboost.model", "'tidegate.catboost.'")],
)
def test_a_package_that_is_missing_is_named(
    packed: Any, pickled: Any, monkeypatch: pytest.MonkeyPatch, module: bytes, message: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "catboost", None)
    content = b"\x80\x02c" + module + b"\nModel\n."

    with pytest.raises((Failed, MissingExtra), match=message):
        packed(pickled(content), trust_pickle=True)


@pytest.mark.parametrize(
    "content", [b"\x80\x04", b"\x80\x04\x95\xff\xff", b"\x1f\x8b\x08\x00", pickle.dumps(MODEL)[:-30]]
)
def test_a_pickle_that_is_cut_off_is_refused(packed: Any, pickled: Any, content: bytes) -> None:
    with pytest.raises(Invalid, match="it cannot be read"):
        packed(pickled(content), trust_pickle=True)


def test_a_skops_file_needs_no_trust(packed: Any, pickled: Any) -> None:
    assert packed(pickled(skops.io.dumps(MODEL))).bundle.manifest.parity["original"]["mismatchedRows"] == 0


def test_types_in_a_skops_file_that_nobody_knows_are_named(packed: Any, pickled: Any) -> None:
    with pytest.raises(PickleRefused, match=r"types that are not trusted: .*Odd"):
        packed(pickled(skops.io.dumps(Odd())))


def test_a_skops_file_that_is_cut_off_is_refused(packed: Any, pickled: Any) -> None:
    with pytest.raises(Failed, match="a damaged zip archive"):
        packed(pickled(skops.io.dumps(MODEL)[:-100]))
