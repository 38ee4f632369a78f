"""Golden samples: kept exactly, bounded, and compared by rules that a person can follow."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tidegate.bundle.errors import GoldenInvalid, GoldenMismatch, TooLarge
from tidegate.bundle.golden import (
    GoldenSample,
    compare,
    compare_outputs,
    read_sample_files,
    require_match,
    tolerance_for,
    write_sample,
)
from tidegate.bundle.manifest import Interface, TensorSpec, Tolerance

INTERFACE = Interface(
    (TensorSpec("x", "FP32", ("batch", 2)), TensorSpec("note", "BYTES", ("batch",))),
    (TensorSpec("label", "INT64", ("batch",)), TensorSpec("p", "FP32", ("batch", 3)), TensorSpec("b", "BF16", (2,))),
)
SAMPLE = GoldenSample(
    {"x": np.array([[1.5, -2.0]], np.float32), "note": np.array(["wörter"], dtype=object)},
    {
        "label": np.array([1], np.int64),
        "p": np.array([[0.1, 0.7, 0.2]], np.float32),
        "b": np.array([0x3F80, 0x4000], np.uint16),
    },
)


def test_a_sample_is_read_as_it_was_written_and_its_bytes_are_always_the_same(tmp_path: Path) -> None:
    write_sample(SAMPLE, tmp_path / "0.npz")
    write_sample(SAMPLE, tmp_path / "1.npz")

    (found,) = read_sample_files([tmp_path / "0.npz"], INTERFACE)

    assert found.inputs["note"].tolist() == ["wörter"]
    assert all(np.array_equal(found.outputs[name], SAMPLE.outputs[name]) for name in SAMPLE.outputs)
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()


def test_a_scalar_stays_a_scalar(tmp_path: Path) -> None:
    interface = Interface((), (TensorSpec("y", "FP32", ()), TensorSpec("t", "BYTES", ())))
    outputs = {"y": np.array(1.5, np.float32), "t": np.array("one", dtype=object)}
    write_sample(GoldenSample({}, outputs), tmp_path / "0.npz")

    (found,) = read_sample_files([tmp_path / "0.npz"], interface)

    assert found.outputs["y"].shape == ()
    assert found.outputs["t"].item() == "one"
    assert all(row.ok for row in compare_outputs(found, outputs, interface))


def test_a_file_that_says_it_is_larger_than_allowed_is_refused_unread(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "0.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input:x.npy", b"\0" * (17 * 2**20))

    with pytest.raises(TooLarge, match="16777216"):
        read_sample_files([tmp_path / "0.npz"], INTERFACE)


def test_an_array_that_claims_more_than_its_bytes_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (35184372088832,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "0.npz", "w") as archive:
        archive.writestr("input:x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)

    with pytest.raises(GoldenInvalid, match="does not hold what its header says"):
        read_sample_files([tmp_path / "0.npz"], INTERFACE)


def test_pickled_objects_in_a_sample_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", np.array([{"a": 1}], dtype=object))

    with pytest.raises(GoldenInvalid, match="not plain numbers"):
        read_sample_files([tmp_path / "0.npz"], INTERFACE)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"\x80\x04pickle"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.npz").write_bytes(content)

    with pytest.raises(GoldenInvalid, match="not a golden sample"):
        read_sample_files([tmp_path / "0.npz"], INTERFACE)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": np.zeros((1, 2), np.float32)}, "'note' is not in the sample"),
        ({**SAMPLE.inputs, "x": np.zeros((1, 2))}, "is float64, expected"),
        ({**SAMPLE.inputs, "x": np.zeros((1, 3), np.float32)}, "has the shape"),
        ({**SAMPLE.inputs, "z": np.zeros(1, np.float32)}, "not one of the model's"),
    ],
)
def test_a_sample_that_does_not_fit_the_interface_is_refused(
    tmp_path: Path, inputs: dict[str, np.ndarray], message: str
) -> None:
    write_sample(GoldenSample(inputs, SAMPLE.outputs), tmp_path / "0.npz")

    with pytest.raises(GoldenInvalid, match=message):
        read_sample_files([tmp_path / "0.npz"], INTERFACE)


def test_answers_within_the_tolerance_match_and_the_worst_error_is_told() -> None:
    actual = {**SAMPLE.outputs, "p": SAMPLE.outputs["p"] + np.float32(5e-5)}

    found = {row.output: row for row in compare_outputs(SAMPLE, actual, INTERFACE)}

    assert all(row.ok for row in found.values())
    assert found["p"].worst == pytest.approx(5e-5, rel=0.01)


@pytest.mark.parametrize("value", [0.7 + 1e-2, float("nan"), float("inf")])
def test_an_answer_beyond_the_tolerance_is_a_mismatch_with_its_place(value: float) -> None:
    actual = {**SAMPLE.outputs, "p": np.array([[0.1, value, 0.2]], np.float32)}

    with pytest.raises(GoldenMismatch, match=r"first at \[0, 1\]"):
        require_match("golden/0.npz", compare_outputs(SAMPLE, actual, INTERFACE))


def test_raw_bfloat16_is_compared_as_numbers_not_as_bits() -> None:
    actual = {**SAMPLE.outputs, "b": np.array([0x3F81, 0x4000], np.uint16)}

    assert all(row.ok for row in compare_outputs(SAMPLE, actual, INTERFACE))


def test_a_label_may_differ_only_where_its_scores_are_tied() -> None:
    rules = (Tolerance("label", 0, 0, label_of="p"),)
    tied = GoldenSample(SAMPLE.inputs, {**SAMPLE.outputs, "p": np.array([[0.1, 0.45, 0.45]], np.float32)})
    other = {"label": np.array([2], np.int64)}

    at_a_tie = compare_outputs(tied, {**tied.outputs, **other}, INTERFACE, rules)
    with_a_lead = compare_outputs(SAMPLE, {**SAMPLE.outputs, **other}, INTERFACE, rules)

    assert at_a_tie[0].ok
    assert not with_a_lead[0].ok


def test_a_mismatch_of_scores_tells_how_many_rows_have_another_winner() -> None:
    spec = TensorSpec("p", "FP32", ("n", 2))
    expected, actual = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.1, 0.9], [0.2, 0.8]])

    found = compare(spec, expected, actual, Tolerance("p", 1e-4, 1e-3, top1=True))

    assert "another class leads in 1 of 2 rows" in found.message


def test_another_shape_is_a_mismatch() -> None:
    actual = {**SAMPLE.outputs, "label": np.array([1, 1], np.int64)}

    with pytest.raises(GoldenMismatch, match=r"shape \[2\], expected \[1\]"):
        require_match("golden/0.npz", compare_outputs(SAMPLE, actual, INTERFACE))


def test_the_manifests_tolerance_for_a_device_comes_before_the_general_one() -> None:
    rows = (Tolerance("p", 1, 1), Tolerance("p", 2, 2, "cuda"))
    spec = INTERFACE.outputs[1]

    assert tolerance_for(spec, rows, "cuda").atol == 2
    assert tolerance_for(spec, rows, "cpu").atol == 1
    assert tolerance_for(spec, (), "cuda").atol == 1e-3
