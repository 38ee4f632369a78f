"""What can be refused of a model without running it: what is no ONNX, and what reaches outside of its bundle."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tidegate.bundle.errors import ModelInvalid, Refused, TooLarge, UnsafeFile
from tidegate.bundle.manifest import Model, read_bundle_dir
from tidegate.bundle.preflight import load_graph, preflight_manifest, preflight_model, supported

BundleMaker = Callable[..., Path]


def zipped() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return file.getvalue()


def test_a_sound_model_passes(bundle: BundleMaker) -> None:
    preflight_model(read_bundle_dir(bundle()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": 1}), "is a pickle"),
        (pickle.dumps({"a": 1}, protocol=2), "is a pickle"),
        (pickle.dumps({"a": 1}, protocol=0), "is a pickle"),
        (zipped(), "is a zip archive"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "is an HDF5 file"),
        (gzip.compress(b"model"), "is a gzip file"),
        (b"7z\xbc\xaf\x27\x1c" + b"\0" * 50, "is a 7z archive"),
        (b"\x7fELF\x02", "is a program"),
        (b"<html>", "is a text or HTML page"),
        (b"", "is empty"),
        (b"\x00\x01\x02garbage", "cut off or is no ONNX"),
    ],
)
def test_what_was_only_renamed_to_onnx_is_refused_by_its_content(
    bundle: BundleMaker, content: bytes, message: str
) -> None:
    with pytest.raises(ModelInvalid, match=message):
        preflight_model(read_bundle_dir(bundle(files={"model.onnx": content})))


def test_a_truncated_model_is_refused_wherever_it_was_cut(bundle: BundleMaker, identity: onnx.ModelProto) -> None:
    whole = identity.SerializeToString()

    for length in range(0, len(whole), 7):
        with pytest.raises(Refused):
            preflight_model(read_bundle_dir(bundle(f"cut-{length}", {"model.onnx": whole[:length]})))


def test_a_model_that_protobuf_cannot_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    with model.open("wb") as file:
        file.truncate(2**31)  # a hole: no disk and, unread, no memory

    with pytest.raises(TooLarge, match="put the weights into weights/"):
        load_graph(model)


def external(identity: onnx.ModelProto, location: str, **about: str) -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **about}.items():
        tensor.external_data.add(key=key, value=value)
    identity.graph.initializer.append(tensor)
    return bytes(identity.SerializeToString())


def test_external_data_in_a_listed_file_under_weights_passes(bundle: BundleMaker, identity: onnx.ModelProto) -> None:
    content = external(identity, "weights/w.bin", offset="0", length="16")

    preflight_model(read_bundle_dir(bundle(files={"model.onnx": content, "weights/w.bin": b"\0" * 16})))


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "/etc/passwd",
        "weights/../model.onnx",
        "weights/absent.bin",
        "w.bin",
        "",
        "weights",
        "weights//w.bin",
    ],
)
def test_external_data_anywhere_else_is_refused(bundle: BundleMaker, identity: onnx.ModelProto, location: str) -> None:
    files = {"model.onnx": external(identity, location), "weights/w.bin": b"\0" * 16, "w.bin": b"\0" * 16}

    with pytest.raises(UnsafeFile, match="must be a listed file weights/NAME"):
        preflight_model(read_bundle_dir(bundle(files=files)))


@pytest.mark.parametrize("about", [{"offset": "8"}, {"length": "99"}, {"offset": "-1"}, {"length": "x"}])
def test_external_data_beyond_the_file_or_of_another_size_is_refused(
    bundle: BundleMaker, identity: onnx.ModelProto, about: dict[str, str]
) -> None:
    files = {"model.onnx": external(identity, "weights/w.bin", **about), "weights/w.bin": b"\0" * 16}

    with pytest.raises(ModelInvalid, match="the tensor 'w'"):
        preflight_model(read_bundle_dir(bundle(files=files)))


@pytest.mark.parametrize(("domain", "operator"), [("com.example", "Evil"), ("com.microsoft", "EPContext")])
def test_operators_that_need_foreign_code_are_refused_in_inner_graphs_too(
    bundle: BundleMaker, identity: onnx.ModelProto, domain: str, operator: str
) -> None:
    inner = helper.make_graph([helper.make_node(operator, ["x"], ["z"], domain=domain)], "inner", [], [])
    identity.graph.node.append(
        helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=helper.make_graph([], "e", [], []))
    )

    with pytest.raises(ModelInvalid, match=operator):
        preflight_model(read_bundle_dir(bundle(files={"model.onnx": identity.SerializeToString()})))


def test_operators_that_the_model_defines_itself_are_fine(bundle: BundleMaker, identity: onnx.ModelProto) -> None:
    body = [helper.make_node("Identity", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 18)]
    identity.functions.append(helper.make_function("local", "Same", ["a"], ["b"], body, opsets))
    identity.opset_import.append(helper.make_opsetid("local", 1))
    identity.graph.node[0].op_type, identity.graph.node[0].domain = "Same", "local"

    preflight_model(read_bundle_dir(bundle(files={"model.onnx": identity.SerializeToString()})))


def test_a_tensor_of_absurd_size_is_refused(bundle: BundleMaker, identity: onnx.ModelProto) -> None:
    shape = helper.make_tensor("s", TensorProto.INT64, [1], [2**45])
    identity.graph.initializer.append(shape)
    identity.graph.node.append(helper.make_node("ConstantOfShape", ["s"], ["big"], name="big"))

    with pytest.raises(ModelInvalid, match="no machine here can hold"):
        preflight_model(read_bundle_dir(bundle(files={"model.onnx": identity.SerializeToString()})))


def test_a_tensor_whose_bytes_are_not_of_its_shape_is_refused(bundle: BundleMaker, identity: onnx.ModelProto) -> None:
    identity.graph.initializer.append(
        TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1000], raw_data=b"\0" * 8)
    )

    with pytest.raises(ModelInvalid, match="holds 8 bytes, expected 4000"):
        preflight_model(read_bundle_dir(bundle(files={"model.onnx": identity.SerializeToString()})))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model("model.onnx", {"": 99}, 9), "opset 99 of ai.onnx"),
        (Model("model.onnx", {"": 18, "ai.onnx.ml": 77}, 9), "opset 77 of ai.onnx.ml"),
        (Model("model.onnx", {"": 18}, 99), "IR version 99"),
        (Model("model.onnx", {"": 18}, 9, "99.1"), "needs ONNX Runtime 99.1"),
    ],
)
def test_what_this_runtime_is_too_old_for_is_known_from_the_manifest(
    bundle: BundleMaker, model: Model, message: str
) -> None:
    manifest = replace(read_bundle_dir(bundle()).manifest, model=model)

    with pytest.raises(ModelInvalid, match=message):
        preflight_manifest(manifest)


def test_a_model_newer_than_its_manifest_says_is_refused(bundle: BundleMaker, identity: onnx.ModelProto) -> None:
    identity.opset_import[0].version = 99

    with pytest.raises(ModelInvalid, match="opset 99"):
        preflight_model(read_bundle_dir(bundle(files={"model.onnx": identity.SerializeToString()})))


def test_the_runtime_itself_agrees_with_the_table() -> None:
    known = supported("1.31.0")

    assert supported("0.0.asked") == known


@pytest.mark.parametrize(
    ("number", "dims", "message"),
    [
        (TensorProto.FLOAT, ["batch", 5], "has the shape"),
        (TensorProto.DOUBLE, ["batch", 4], "is FP64, the manifest says FP32"),
        (TensorProto.FLOAT8E4M3FN, ["batch", 4], "no request can carry"),
    ],
)
def test_a_graph_that_its_manifest_does_not_describe_is_refused(
    bundle: BundleMaker, identity: onnx.ModelProto, number: int, dims: list[int | str], message: str
) -> None:
    identity.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", number, dims))

    with pytest.raises(ModelInvalid, match=message):
        preflight_model(read_bundle_dir(bundle(files={"model.onnx": identity.SerializeToString()})))


def test_sequences_and_maps_are_refused(bundle: BundleMaker, identity: onnx.ModelProto) -> None:
    identity.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["batch", 4]))

    with pytest.raises(ModelInvalid, match="no request can carry"):
        preflight_model(read_bundle_dir(bundle(files={"model.onnx": identity.SerializeToString()})))
