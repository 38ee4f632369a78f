"""Models that are not one matrix in and one out: several inputs, scalars, texts, nothing at all; and what is refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running

from tidegate.author.describe import interface_of
from tidegate.bundle.errors import ManifestInvalid, ModelInvalid
from tidegate.bundle.manifest import Interface, TensorSpec, read_bundle_dir
from tidegate.bundle.write import write_manifest
from tidegate_runtime import session
from tidegate_runtime.settings import parse
from tidegate_runtime.watchdog import Watchdog

Bundles = Callable[..., Path]
Serve = Callable[..., Running]
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def tensor(name: str, datatype: str, shape: Sequence[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": data}


def outputs(server: Running, *inputs: dict[str, Any]) -> dict[str, Any]:
    """Shape and data of every output, by name."""
    answer = server.infer({"inputs": list(inputs)})
    assert answer.status == 200, answer.body
    return {found["name"]: (found["shape"], found["data"]) for found in answer.json["outputs"]}


def bundle_of(
    bundles: Bundles, graph: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Path:
    """A bundle of `graph` whose manifest says this of it, true or not."""
    folder = bundles(small.linear())
    onnx.save(graph, folder / "model.onnx")
    manifest = read_bundle_dir(folder).manifest
    (folder / "bundle.yaml").unlink()
    interface = Interface(tuple(inputs), tuple(outputs))
    write_manifest(replace(manifest, interface=interface, files=(small.entry(folder, "model.onnx"),)), folder)
    return folder


@pytest.fixture(scope="module")
def joined(bundles: Bundles, serve: Serve) -> Running:
    """Two inputs that are put side by side."""
    inputs = [small.value("a", FLOAT, ["N", 2]), small.value("b", FLOAT, ["N", "width"])]
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], axis=1)]
    return serve(bundles(small.model(nodes, inputs, [small.value("y", FLOAT, ["N", "both"])], {})))


def test_inputs_may_come_in_any_order_and_dynamic_dimensions_may_differ_from_request_to_request(
    joined: Running,
) -> None:
    a, b = tensor("a", "FP32", [1, 2], [1, 2]), tensor("b", "FP32", [1, 1], [3])
    assert outputs(joined, a, b) == outputs(joined, b, a) == {"y": ([1, 3], [1.0, 2.0, 3.0])}
    wide = tensor("b", "FP32", [1, 3], [[3, 4, 5]])
    assert outputs(joined, a, wide) == {"y": ([1, 5], [1.0, 2.0, 3.0, 4.0, 5.0])}


def test_inputs_that_do_not_fit_together_are_refused(joined: Running) -> None:
    a, b = tensor("a", "FP32", [1, 2], [1, 2]), tensor("b", "FP32", [2, 1], [3, 4])
    assert joined.infer({"inputs": [a]}).error == "input 'b' is missing"
    assert joined.infer({"inputs": [a, b]}).error == "inputs 'a' and 'b' must agree in dimension 'N': found [1, 2]"


@pytest.mark.parametrize(("a", "b", "shape"), [([0, 2], [0, 3], [0, 5]), ([2, 2], [2, 0], [2, 2])])
def test_tensors_without_elements_go_through_in_json_and_binary(
    joined: Running, a: list[int], b: list[int], shape: list[int]
) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{joined.http}")
    try:
        for binary in (True, False):
            inputs = [triton.InferInput(name, size, "FP32") for name, size in (("a", a), ("b", b))]
            for given, size in zip(inputs, (a, b), strict=True):
                given.set_data_from_numpy(np.ones(size, np.float32), binary_data=binary)
            wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
            found = client.infer("fraud", inputs, outputs=wanted).as_numpy("y")
            assert list(found.shape) == shape
    finally:
        client.close()


def test_a_dimension_beyond_all_bounds_is_refused_beside_a_0_too(joined: Running) -> None:
    refused = joined.infer({"inputs": [tensor("a", "FP32", [0, 2], []), tensor("b", "FP32", [0, 2**62], [])]})
    assert refused.status == 400
    assert refused.error == f"input 'b': shape [0, {2**62}] has too many elements"
    assert (
        joined.infer({"inputs": [tensor("a", "FP32", [0, 2], []), tensor("b", "FP32", [0, 2**70], [])]}).status == 400
    )


def test_scalars_have_the_shape_of_nothing(bundles: Bundles, serve: Serve) -> None:
    nodes = [helper.make_node("Mul", ["x", "x"], ["y"])]
    server = serve(bundles(small.model(nodes, [small.value("x", FLOAT, [])], [small.value("y", FLOAT, [])], {})))
    assert server.get("/v2/models/fraud").json["inputs"] == [{"name": "x", "datatype": "FP32", "shape": []}]
    assert outputs(server, tensor("x", "FP32", [], [3])) == {"y": ([], [9.0])}
    head = {"name": "x", "datatype": "FP32", "shape": [], "parameters": {"binary_data_size": 4}}
    text = json.dumps({"inputs": [head]}).encode()
    answer = server.infer(text + struct.pack("<f", 4), headers={"inference-header-content-length": str(len(text))})
    assert answer.json["outputs"][0]["data"] == [16.0]
    refused = server.infer({"inputs": [tensor("x", "FP32", [1], [3])]})
    assert refused.error == "input 'x': shape [1] does not fit []"
    assert "needs 1 values but data has 2" in server.infer({"inputs": [tensor("x", "FP32", [], [3, 4])]}).error


def test_texts_become_numbers_and_numbers_texts(bundles: Bundles, serve: Serve) -> None:
    words = ["", "naïve ☃", "dog"]
    there = helper.make_node("LabelEncoder", ["text"], ["number"], domain="ai.onnx.ml", keys_strings=words,
                             values_int64s=[0, 1, 2], default_int64=-1)  # fmt: skip
    back = helper.make_node("LabelEncoder", ["number"], ["word"], domain="ai.onnx.ml", keys_int64s=[0, 1, 2],
                            values_strings=words, default_string="?")  # fmt: skip
    found = [small.value("number", INT64, ["N"]), small.value("word", STRING, ["N"])]
    graph = small.model([there, back], [small.value("text", STRING, ["N"])], found, {})
    graph.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    server = serve(bundles(graph))
    answer = outputs(server, tensor("text", "BYTES", [4], ["dog", "cat", "naïve ☃", ""]))
    assert answer == {"number": ([4], [2, -1, 1, 0]), "word": ([4], ["dog", "?", "naïve ☃", ""])}


@pytest.mark.parametrize("filler", [0, 4096], ids=["small", "large"])
def test_half_of_a_surrogate_pair_is_no_text(bundles: Bundles, serve: Serve, filler: int) -> None:
    server = serve(bundles(small.cast(STRING)))
    body = json.dumps(
        {"parameters": {"filler": "x" * filler}, "inputs": [tensor("x", "BYTES", [1, 2], ["\ud800", ""])]}
    )
    assert server.infer(body.encode()).status == 400


def test_a_text_pipeline_of_scikit_learn_is_served(bundles: Bundles, serve: Serve) -> None:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["good day", "bad day", "good night", "bad night"]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["yes", "no", "yes", "no"])
    options = {id(pipeline[0]): {"locale": "C"}, id(pipeline[1]): {"zipmap": False}}  # as `pack` does it
    graph = to_onnx(pipeline, initial_types=[("text", StringTensorType([None]))], options=options, target_opset=18)
    found = [TensorSpec("label", "BYTES", ("N",)), TensorSpec("probabilities", "FP32", ("N", 2))]
    server = serve(bundle_of(bundles, graph, [TensorSpec("text", "BYTES", ("N",))], found))
    answer = outputs(server, tensor("text", "BYTES", [2], ["good afternoon", "bad day"]))
    assert answer["label"] == ([2], ["yes", "no"])
    expected = pipeline.predict_proba(["good afternoon", "bad day"])
    np.testing.assert_allclose(answer["probabilities"][1], expected.ravel(), rtol=1e-5)


def test_an_input_with_a_default_may_be_left_out(bundles: Bundles, serve: Serve) -> None:
    x, scale = small.value("x", FLOAT, ["N"]), small.value("scale", FLOAT, [1])
    nodes = [helper.make_node("Mul", ["x", "scale"], ["y"])]
    graph = small.model(nodes, [x, scale], [small.value("y", FLOAT, ["N"])], {"scale": np.array([10], np.float32)})
    inputs = [TensorSpec("x", "FP32", ("N",)), TensorSpec("scale", "FP32", (1,), optional=True)]
    server = serve(bundle_of(bundles, graph, inputs, [TensorSpec("y", "FP32", ("N",))]))
    given = tensor("x", "FP32", [2], [1, 2])
    assert outputs(server, given) == {"y": ([2], [10.0, 20.0])}
    assert outputs(server, tensor("scale", "FP32", [1], [2]), given) == {"y": ([2], [2.0, 4.0])}


def optional(name: str) -> onnx.ValueInfoProto:
    """A value of ONNX's own optional type."""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, ["N"]))
    return helper.make_value_info(name, kind)


def test_an_input_of_the_optional_type_may_be_left_out_even_when_it_is_the_only_one(
    bundles: Bundles, serve: Serve
) -> None:
    nodes = [helper.make_node("OptionalHasElement", ["x"], ["there"])]
    graph = small.model(nodes, [optional("x")], [small.value("there", TensorProto.BOOL, [])], {})
    inputs = [TensorSpec("x", "FP32", ("N",), optional=True)]
    server = serve(bundle_of(bundles, graph, inputs, [TensorSpec("there", "BOOL", ())]))
    assert outputs(server) == {"there": ([], [False])}
    assert outputs(server, tensor("x", "FP32", [1], [1])) == {"there": ([], [True])}


def test_a_model_without_inputs_is_asked_with_none(bundles: Bundles, serve: Serve) -> None:
    nodes = [helper.make_node("Identity", ["w"], ["y"])]
    graph = small.model(nodes, [], [small.value("y", FLOAT, [2])], {"w": np.array([1, 2], np.float32)})
    server = serve(bundles(graph))
    assert outputs(server) == {"y": ([2], [1.0, 2.0])}
    assert server.infer({"inputs": [tensor("w", "FP32", [2], [3, 4])]}).status == 400


def zipped() -> onnx.ModelProto:
    """What scikit-learn's converter makes unless it is told not to: probabilities as a list of dictionaries."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["label"], axis=-1, keepdims=0),
        helper.make_node("ZipMap", ["x"], ["chances"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
    ]
    chances = helper.make_value_info(
        "chances", helper.make_sequence_type_proto(helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, [])))
    )  # fmt: skip
    graph = small.model(nodes, [small.value("x", FLOAT, ["N", 2])], [small.value("label", INT64, ["N"]), chances], {})
    graph.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return graph


PAIRS = [TensorSpec("x", "FP32", ("N", 2))]


def test_an_output_that_is_a_list_of_dictionaries_is_left_out_of_the_manifest_and_the_rest_is_served(
    bundles: Bundles, serve: Serve
) -> None:
    server = serve(bundle_of(bundles, zipped(), PAIRS, [TensorSpec("label", "INT64", ("N",))]))
    assert outputs(server, tensor("x", "FP32", [2, 2], [1, 2, 4, 3])) == {"label": ([2], [1, 0])}


def load(folder: Path) -> None:
    watchdog = Watchdog()
    watchdog.start()
    try:
        session.load(parse(["--bundle", str(folder)], {}), watchdog.lane())
    finally:
        watchdog.stop()


def test_a_list_of_dictionaries_in_the_manifest_is_refused(bundles: Bundles) -> None:
    folder = bundle_of(bundles, zipped(), PAIRS, [TensorSpec("chances", "FP32", ("N", 2))])
    with pytest.raises(ModelInvalid, match=r"the output 'chances' is seq\(map\(.*, the manifest says FP32"):
        load(folder)
    with pytest.raises(ModelInvalid, match="the output 'chances' is a sequence, which no request can carry") as refused:
        interface_of(zipped())
    assert "zipmap off" in str(refused.value)


def test_an_output_that_may_be_absent_is_refused(bundles: Bundles) -> None:
    nodes = [helper.make_node("Optional", ["x"], ["y"])]
    graph = small.model(nodes, [small.value("x", FLOAT, ["N"])], [optional("y")], {})
    found = [TensorSpec("y", "FP32", ("N",), optional=True)]
    folder = bundle_of(bundles, graph, [TensorSpec("x", "FP32", ("N",))], found)
    with pytest.raises(ModelInvalid, match="the output 'y' may be absent, and no answer may leave one out"):
        load(folder)


NOT_CARRIED = ("INT4", "UINT4", "FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT4E2M1", "COMPLEX64", "COMPLEX128")


@pytest.mark.parametrize("name", NOT_CARRIED)
def test_a_type_that_the_protocol_does_not_have_is_refused_when_it_is_packed_and_when_it_is_served(
    bundles: Bundles, name: str
) -> None:
    number = TensorProto.DataType.Value(name)
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=number)]
    graph = small.model(nodes, [small.value("x", FLOAT, ["N", 2])], [small.value("y", number, ["N", 2])], {})
    graph.opset_import[0].version = 23
    graph.ir_version = 11
    with pytest.raises(ModelInvalid, match=f"the output 'y' is a {name}, which no request can carry"):
        interface_of(graph)
    folder = bundle_of(bundles, graph, PAIRS, [TensorSpec("y", "UINT8", ("N", 2))])
    with pytest.raises(ModelInvalid, match=r"the output 'y' is tensor\(|ONNX Runtime cannot load it: "):
        load(folder)
    text = (folder / "bundle.yaml").read_text()
    (folder / "bundle.yaml").write_text(text.replace("UINT8", name))
    with pytest.raises(ManifestInvalid, match=f"is '{name}', not one of FP32 "):
        load(folder)


def test_texts_beside_bf16_are_refused(bundles: Bundles) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["text"], ["z"])]
    inputs = [small.value("x", TensorProto.BFLOAT16, ["N"]), small.value("text", STRING, ["N"])]
    found = [small.value("y", TensorProto.BFLOAT16, ["N"]), small.value("z", STRING, ["N"])]
    with pytest.raises(ModelInvalid, match="cannot be given BF16 and texts in one run"):
        load(bundles(small.model(nodes, inputs, found, {})))
