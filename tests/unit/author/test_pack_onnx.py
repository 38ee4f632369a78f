"""Packing ONNX files: weights split by content, bytes that repeat, and files that are no models."""

from __future__ import annotations

import errno
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tidegate.author import GoldenRequest
from tidegate.author.calibration import NotRepeatable
from tidegate.bundle.errors import DiskFull, GoldenInvalid, ModelInvalid
from tidegate.bundle.manifest import Lineage
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Failed, Invalid, TidegateError


def test_a_packed_model_is_a_bundle_that_verifies(packed: Any, linear: Any) -> None:
    result = packed(linear())

    assert verify_dir(result.bundle.path).digest == result.bundle.digest
    assert result.bundle.manifest.interface.inputs[0].shape == ("batch", 4)


def test_packing_twice_gives_the_same_digest(packed: Any, linear: Any) -> None:
    source = linear()

    assert packed(source).bundle.digest == packed(source).bundle.digest


def test_the_time_of_creation_comes_from_source_date_epoch_only(
    packed: Any, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = linear()
    assert packed(source).bundle.manifest.created_at == ""

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")

    assert packed(source).bundle.manifest.created_at == "1970-01-02T00:00:00Z"


def test_a_tensor_of_a_mebibyte_becomes_a_file_named_by_its_content(packed: Any, linear: Any) -> None:
    bundle = packed(linear(512, 512)).bundle

    (weights,) = [entry for entry in bundle.manifest.files if entry.path.startswith("weights/")]
    assert weights.path == f"weights/{weights.sha256[:16]}.bin"
    assert weights.bytes == 512 * 512 * 4


def test_equal_tensors_share_one_file(packed: Any, onnx_file: Any) -> None:
    weight = np.full((512, 512), 0.01, np.float32)
    weight[0] = 1
    source = onnx_file(
        [helper.make_node("MatMul", ["x", "A"], ["h"]), helper.make_node("MatMul", ["h", "B"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 512])],
        {"A": weight, "B": weight},
    )

    files = [entry.path for entry in packed(source).bundle.manifest.files]

    assert len([path for path in files if path.startswith("weights/")]) == 1


def test_external_data_of_the_exporter_is_split_the_same_way(packed: Any, linear: Any) -> None:
    inside = linear(512, 512)
    model = onnx.load(inside)
    outside = inside.parent / "external.onnx"
    onnx.save(model, outside, save_as_external_data=True, location="all.data", size_threshold=0)

    names = [{e.path for e in packed(path).bundle.manifest.files} for path in (inside, outside)]

    assert names[0] == names[1]


def test_a_model_packed_from_external_data_answers_like_the_original(packed: Any, linear: Any) -> None:
    source = linear(512, 512)
    x = np.random.default_rng(3).standard_normal((2, 512)).astype(np.float32)

    bundle = packed(source).bundle

    answers = [_run(path, x) for path in (source, bundle.path / "model.onnx")]
    np.testing.assert_array_equal(*answers)


def _run(path: Path, x: Any) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_cut_off_external_data_is_named(packed: Any, linear: Any) -> None:
    source = linear(512, 512)
    onnx.save(onnx.load(source), source, save_as_external_data=True, location="all.data", size_threshold=0)
    data = source.parent / "all.data"
    data.write_bytes(data.read_bytes()[:-1])

    with pytest.raises(Invalid, match=r"all\.data: tensor W needs 1048576 bytes"):
        packed(source)


def test_external_data_outside_the_folder_is_refused(packed: Any, linear: Any) -> None:
    source = linear()
    model = onnx.load(source)
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    source.write_bytes(model.SerializeToString())

    with pytest.raises(Invalid, match="outside the model's folder"):
        packed(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ONNX model"),
        (b"garbage that is no model at all", "not an ONNX model"),
        (b"PK\x03\x04" + bytes(64), "zip archive"),
    ],
)
def test_other_formats_are_told_by_their_content(packed: Any, tmp_path: Path, content: bytes, message: str) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(content)

    with pytest.raises(TidegateError, match=message):
        packed(source)


def test_a_truncated_model_leaves_nothing_behind(packed: Any, linear: Any, tmp_path: Path) -> None:
    source = linear(64, 64)
    source.write_bytes(source.read_bytes()[:-200])

    with pytest.raises(TidegateError):
        packed(source)

    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_with_something_in_it_is_never_overwritten(packed: Any, linear: Any, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("x")

    with pytest.raises(Invalid, match="exists already"):
        packed(linear(), out=tmp_path / "there")


@pytest.mark.parametrize("fields", [{"name": "../x"}, {"version": ""}, {"version": "1 0"}])
def test_names_and_versions_that_no_bundle_can_have_are_refused(packed: Any, linear: Any, fields: Any) -> None:
    with pytest.raises(Invalid, match="cannot be a"):
        packed(linear(), **fields)


def test_a_model_that_draws_lots_is_refused(packed: Any, onnx_file: Any) -> None:
    source = _random_model(onnx_file)

    with pytest.raises(NotRepeatable, match="another 'y'"):
        packed(source)


def test_a_model_that_draws_lots_packs_without_golden_samples(packed: Any, onnx_file: Any) -> None:
    result = packed(_random_model(onnx_file), golden=GoldenRequest("none"))

    assert result.bundle.manifest.golden is None
    assert "no golden samples" in result.warnings[0]


def _random_model(onnx_file: Callable[..., Path]) -> Path:
    return onnx_file(
        [helper.make_node("RandomNormalLike", ["x"], ["n"]), helper.make_node("Add", ["x", "n"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )


def test_an_answer_that_depends_on_the_other_rows_of_a_batch_is_refused(packed: Any, onnx_file: Any) -> None:
    source = onnx_file(
        [
            helper.make_node("ReduceMax", ["x", "axes"], ["m"], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        {"axes": np.array([0], np.int64)},
    )

    with pytest.raises(NotRepeatable, match="one row at a time"):
        packed(source)


def test_a_fixed_batch_of_one_is_proved_one_request_at_a_time(packed: Any, onnx_file: Any) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    source = onnx_file(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        {"W": weight},
    )

    damage = packed(source).bundle.manifest.parity["goldenDamage"]

    assert damage["noticed"] == damage["tried"] == 3


def test_types_that_no_request_can_carry_are_refused(packed: Any, onnx_file: Any) -> None:
    source = onnx_file(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )

    with pytest.raises(ModelInvalid, match="'y' is a sequence"):
        packed(source)


@pytest.mark.parametrize("written", ["?", "", "-1"])
def test_dynamic_dimensions_without_a_name_need_not_agree(packed: Any, onnx_file: Any, written: str) -> None:
    source = onnx_file(
        [helper.make_node("Relu", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", written, written])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", written, written])],
    )

    (tensor,) = packed(source).bundle.manifest.interface.inputs

    assert tensor.shape == ("batch", "x_1", "x_2")


def test_integer_inputs_that_index_a_small_table_are_found(packed: Any, onnx_file: Any) -> None:
    table = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    source = onnx_file(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        {"table": table},
    )

    assert packed(source).bundle.manifest.golden is not None


def test_golden_samples_of_the_user_are_published_and_said_so(packed: Any, linear: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "real.npz", x=np.eye(4))

    result = packed(linear(), golden=GoldenRequest(str(tmp_path / "real.npz")))

    assert result.bundle.manifest.golden.source == "user"
    assert "real rows are published" in result.notes[0]


def test_expected_outputs_of_the_user_must_be_what_the_model_answers(packed: Any, linear: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", x=np.eye(4), y=np.zeros((4, 3)))

    with pytest.raises(GoldenInvalid, match="does not answer what the samples expect"):
        packed(linear(), golden=GoldenRequest(str(tmp_path / "wrong.npz")))


def test_expected_outputs_may_be_rounded_as_far_as_the_tolerance_says(
    packed: Any, onnx_file: Any, tmp_path: Path
) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    double = helper.make_node("Mul", ["x", "two"], ["y"])
    source = onnx_file([double], ends[:1], ends[1:], {"two": np.full(3, 2, np.float32)})
    numbers = np.arange(2**24 - 6, 2**24).reshape(2, 3)
    np.savez(tmp_path / "real.npz", x=numbers, y=2 * numbers + 1)

    assert packed(source, golden=GoldenRequest(str(tmp_path / "real.npz"))).bundle.manifest.golden.source == "user"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([[0, 0, 0, 0], [0, 1e39, 0, 0]], r"real\.npz: 'x': 1e\+39 \(row 2\) is no FP32: .* numbers up to 3\.4e\+38"),
        ([[0, 0, 2**24 + 1, 0]], r"16777217 \(row 1\) is no FP32, 16777216 is"),
        ([["0", "1", "2", "3"]], "it holds texts, and the model has FP32 there"),
        ([[1j, 0, 0, 0]], "it holds complex128, and the model has FP32 there"),
    ],
)
def test_golden_samples_that_a_cast_would_change_are_refused(
    packed: Any, linear: Any, tmp_path: Path, array: Any, message: str
) -> None:
    np.savez(tmp_path / "real.npz", x=np.array(array))

    with pytest.raises(GoldenInvalid, match=message):
        packed(linear(), golden=GoldenRequest(str(tmp_path / "real.npz")))


@pytest.mark.parametrize("array", [np.full((2, 4), 0.1), np.full((2, 4), 2**24, np.int64), np.eye(4, dtype=bool)])
def test_golden_samples_that_a_cast_only_rounds_are_taken(packed: Any, linear: Any, tmp_path: Path, array: Any) -> None:
    np.savez(tmp_path / "real.npz", x=array)

    bundle = packed(linear(), golden=GoldenRequest(str(tmp_path / "real.npz"))).bundle

    with np.load(bundle.path / bundle.manifest.golden.files[0]) as arrays:
        assert arrays["input:x"].tolist() == array.astype(np.float32).tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [({"z": np.eye(4)}, "'z' is no input or output"), ({"y": np.eye(3)}, "nothing for the input 'x'")],
)
def test_golden_files_with_other_names_are_refused(
    packed: Any, linear: Any, tmp_path: Path, arrays: Any, message: str
) -> None:
    np.savez(tmp_path / "names.npz", **arrays)

    with pytest.raises(GoldenInvalid, match=message):
        packed(linear(), golden=GoldenRequest(str(tmp_path / "names.npz")))


def test_a_golden_file_that_unpacks_to_too_much_is_refused(packed: Any, linear: Any, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "large.npz", x=np.zeros((3_000_000, 4), np.float64))

    with pytest.raises(GoldenInvalid, match="cannot be read as npz: it unpacks to 96,000,"):
        packed(linear(), golden=GoldenRequest(str(tmp_path / "large.npz")))


def test_a_golden_file_that_promises_more_than_it_holds_is_refused(packed: Any, linear: Any, tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (1 << 46,)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "more.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())

    with pytest.raises(GoldenInvalid, match="cannot be read as npz: its arrays do not fit into memory"):
        packed(linear(), golden=GoldenRequest(str(tmp_path / "more.npz")))


def test_folders_made_for_a_bundle_go_with_it_when_it_is_refused(packed: Any, linear: Any, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    out = tmp_path / "before" / "first" / "second" / "bundle"

    with pytest.raises(Invalid, match="no such file"):
        packed(linear(), out=out, golden=GoldenRequest("absent.npz"))
    assert list((tmp_path / "before").iterdir()) == []

    assert packed(linear(), out=out).bundle.path == out
    with pytest.raises(Invalid, match="no such file"):
        packed(linear(), out=out.with_name("other"), golden=GoldenRequest("absent.npz"))
    assert list(out.parent.iterdir()) == [out]


def test_files_beside_the_model_are_listed(packed: Any, linear: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")

    bundle = packed(linear(), files=(tmp_path / "labels.txt",)).bundle

    assert bundle.manifest.entry("labels.txt").bytes == 6


def test_a_folder_that_cannot_be_made_ends_in_one_sentence(packed: Any, linear: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Failed, match="file: File exists"):
        packed(linear(), out=tmp_path / "file" / "bundle")


def test_a_full_disk_ends_in_one_sentence_and_leaves_nothing(
    packed: Any, linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = linear()
    monkeypatch.setattr("tidegate.author.proof.write_sample", full)

    with pytest.raises(DiskFull):
        packed(source)

    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_parents_and_further_proofs_stand_in_the_manifest(packed: Any, linear: Any) -> None:
    lineage = Lineage(("sha256:" + "0" * 64,), "quantized")

    manifest = packed(linear(), lineage=lineage, reports={"against": {"accuracy": 0.5}}).bundle.manifest

    assert manifest.lineage == lineage
    assert manifest.parity["against"] == {"accuracy": "0.5"}


def test_dimensions_are_called_what_the_user_calls_them(packed: Any, linear: Any) -> None:
    interface = packed(linear(), interface={"x": ("rows", 4)}).bundle.manifest.interface

    assert (interface.inputs[0].shape, interface.outputs[0].shape) == (("rows", 4), ("rows", 3))


def test_each_long_step_is_told(packed: Any, linear: Any) -> None:
    told: list[str] = []

    packed(linear(), told=told.append)

    assert told == [
        "converting",
        "writing the weights",
        "comparing with the original, and measuring",
        "choosing and proving golden samples",
    ]


@pytest.mark.parametrize("step", ["writing", "comparing", "proving"])
def test_ctrl_c_at_any_step_leaves_no_half_bundle(packed: Any, linear: Any, tmp_path: Path, step: str) -> None:
    def interrupt(told: str) -> None:
        if step in told:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(linear(), told=interrupt)

    assert [path.name for path in tmp_path.iterdir()] == ["source"]
