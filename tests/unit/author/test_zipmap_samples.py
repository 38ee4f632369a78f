"""Samples for a model that had a ZipMap: lists of dictionaries in the Zoo's test data, and a user's own tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.unit.author.zipped import INT64, ROWS, classifier, run

from tidegate.author import GoldenRequest
from tidegate.bundle.errors import GoldenInvalid


def sequence_file(path: Path, rows: Sequence[dict[Any, float]]) -> None:
    """As the Zoo keeps a list of dictionaries: a SequenceProto of maps."""
    kept = onnx.SequenceProto(elem_type=onnx.SequenceProto.MAP)
    for row in rows:
        one = kept.map_values.add(key_type=INT64)
        one.keys.extend(row)
        one.values.elem_type = onnx.SequenceProto.TENSOR
        one.values.tensor_values.extend(numpy_helper.from_array(np.array(value, np.float32)) for value in row.values())
    path.write_bytes(kept.SerializeToString())


@pytest.fixture
def zoo(saved: Any) -> Path:
    """The classifier with a request and its answers, a list of dictionaries among them."""
    source: Path = saved(classifier())
    place = source.parent / "test_data_set_0"
    place.mkdir()
    answer = run(source, ROWS)
    (place / "input_0.pb").write_bytes(numpy_helper.from_array(ROWS).SerializeToString())
    (place / "output_0.pb").write_bytes(numpy_helper.from_array(answer["label"]).SerializeToString())
    sequence_file(place / "output_1.pb", answer["chances"])
    return source.parent


def test_test_data_of_the_zoo_hold_for_the_tensor(packed: Any, zoo: Path) -> None:
    bundle = packed(zoo).bundle

    assert bundle.manifest.golden.source == "user"
    with np.load(bundle.path / bundle.manifest.golden.files[0]) as arrays:
        assert arrays["output:chances"].shape == (6, 3)


def test_other_chances_in_the_test_data_are_refused(packed: Any, zoo: Path) -> None:
    sequence_file(zoo / "test_data_set_0" / "output_1.pb", [{4: 0.2, 7: 0.3, 1: 0.5}] * 6)

    with pytest.raises(GoldenInvalid, match="the model does not answer what the samples expect: 'chances'"):
        packed(zoo)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xff", "it holds no list of dictionaries"),
        (b"", "it holds no list of dictionaries"),
        (numpy_helper.from_array(np.ones(3, np.float32)).SerializeToString(), "it holds no list of dictionaries"),
    ],
)
def test_damaged_lists_in_the_test_data_are_named(packed: Any, zoo: Path, content: bytes, message: str) -> None:
    (zoo / "test_data_set_0" / "output_1.pb").write_bytes(content)

    with pytest.raises(GoldenInvalid, match=rf"output_1\.pb: {message}"):
        packed(zoo)


def test_other_classes_in_the_test_data_are_named(packed: Any, zoo: Path) -> None:
    sequence_file(zoo / "test_data_set_0" / "output_1.pb", [{4: 0.2, 7: 0.3, 2: 0.5}] * 6)

    with pytest.raises(GoldenInvalid, match=r"row 1 has the classes 2, 4, 7, the model 1, 4, 7"):
        packed(zoo)


def test_expected_chances_of_the_user_are_given_as_the_tensor(packed: Any, saved: Any, tmp_path: Path) -> None:
    source = saved(classifier())
    chances = [[row[name] for name in (4, 7, 1)] for row in run(source, ROWS)["chances"]]
    np.savez(tmp_path / "real.npz", x=ROWS, chances=np.array(chances))

    assert packed(source, golden=GoldenRequest(str(tmp_path / "real.npz"))).bundle.manifest.golden.source == "user"
