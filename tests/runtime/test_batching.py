"""Real models whose rows may share a run, and those whose answers would change by it: found out before ready."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Answer, Running

from tidegate.bundle.golden import GoldenSample
from tidegate.bundle.manifest import Interface, TensorSpec, Tolerance, read_bundle_dir
from tidegate.bundle.write import write_manifest
from tidegate_runtime import session, warmup
from tidegate_runtime.batching import decide
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import parse
from tidegate_runtime.watchdog import Watchdog

FLOAT, INT64, STRING, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL
BF16, INT32 = TensorProto.BFLOAT16, TensorProto.INT32
ROW: list[int | str] = ["N", 4]
FIRST_AXIS = np.array([0])
Load = Callable[..., OrtModel]
Bundles = Callable[..., Path]
Serve = Callable[..., Running]


def graph(
    *nodes: onnx.NodeProto, of: int = FLOAT, to: int = FLOAT, shape: Sequence[int | str] = ROW, **weights: Any
) -> onnx.ModelProto:
    """A graph from x to y, both of one shape."""
    inputs, outputs = [small.value("x", of, ROW)], [small.value("y", to, shape)]
    return small.model(nodes, inputs, outputs, {name: np.asarray(array) for name, array in weights.items()})


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def batch_norm() -> onnx.ModelProto:
    """Batch norm as it is in training: with the mean and the variance of the batch."""
    return graph(
        node("ReduceMean", "x axes", "mean"),
        node("Sub", "x mean", "centred"),
        node("Mul", "centred centred", "squares"),
        node("ReduceMean", "squares axes", "variance"),
        node("Add", "variance epsilon", "more"),
        node("Sqrt", "more", "deviation"),
        node("Div", "centred deviation", "y"),
        axes=FIRST_AXIS, epsilon=np.float32(1e-5),
    )  # fmt: skip


def quantized_dynamically() -> onnx.ModelProto:
    """What `quantize_dynamic` makes: the scale comes from the whole tensor."""
    return graph(
        node("DynamicQuantizeLinear", "x", "q scale zero"),
        node("DequantizeLinear", "q scale zero", "y"),
    )  # fmt: skip


def mean_of_indices() -> onnx.ModelProto:
    table = np.arange(12, dtype=np.float32)
    return graph(
        node("Gather", "table x", "found"),
        node("ReduceMean", "found axes", "mean"),
        node("Add", "found mean", "y"),
        of=INT64, table=table, axes=FIRST_AXIS,
    )  # fmt: skip


DEPENDING = {
    "softmax over the batch": small.mixing_rows(),
    "batch norm in training mode": batch_norm(),
    "quantized dynamically": quantized_dynamically(),
    "indices, and the mean of all": mean_of_indices(),
    "largest of the batch": graph(node("ReduceMax", "x axes", "top"), node("Div", "x top", "y"), axes=FIRST_AXIS),
    "running sum": graph(node("CumSum", "x axis", "y"), axis=np.array(0)),
    "sorted": graph(node("Shape", "x", "s"), node("Slice", "s zero one", "k"),
                    node("TopK", "x k", "y order", axis=0), zero=[0], one=[1]),
    "the first row for all": graph(node("Gather", "x zero", "first"), node("Sub", "x first", "y"), zero=[0]),
    "the number of rows": graph(node("Shape", "x", "s"), node("Slice", "s zero one", "rows"),
                                node("Cast", "rows", "n", to=FLOAT), node("Mul", "x n", "y"), zero=[0], one=[1]),
    "true for anybody": graph(node("Cast", "x", "n", to=INT32), node("ReduceMax", "n axes", "m"),
                              node("Cast", "m", "b", to=BOOL), node("Or", "x b", "y"), of=BOOL, to=BOOL,
                              axes=FIRST_AXIS),
    "BF16, less the first row": graph(node("Cast", "x", "f", to=FLOAT), node("ReduceMax", "f axes", "m"),
                                      node("Sub", "f m", "y"), of=BF16, axes=FIRST_AXIS),
}  # fmt: skip
words = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["", "a"],
                         values_int64s=[1, 2], default_int64=0)  # fmt: skip
encoder = graph(words, of=STRING, to=INT64)
encoder.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
ONE_ROW_AT_A_TIME = {
    "linear, with the class": small.linear(),
    "zeros, all classes alike": small.linear(np.zeros((4, 3), np.float32)),
    "softmax over a row": graph(node("Softmax", "x", "y", axis=1)),
    "indices": graph(node("Gather", "table x", "y"), of=INT64, table=np.arange(3, dtype=np.float32)),
    "texts": encoder,
    "booleans": graph(node("Not", "x", "y"), of=BOOL, to=BOOL),
    "BF16": small.cast(BF16),
    "NaN for what is below zero": graph(node("Sqrt", "x", "y")),
}


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    watchdog = Watchdog()
    watchdog.start()

    def load_it(model: onnx.ModelProto, samples: Sequence[GoldenSample] = (), **more: Any) -> OrtModel:
        folder = small.write_bundle(tmp_path / "bundle", model, samples, **more)
        return session.load(parse(["--bundle", str(folder)], {}), watchdog.lane())

    yield load_it
    watchdog.stop()


@pytest.mark.parametrize("name", DEPENDING)
def test_a_model_whose_answer_changes_with_its_neighbours_is_found_out(load: Load, name: str) -> None:
    found = load(DEPENDING[name]).objection
    assert found is not None
    assert found.code == "RowsDepend"
    assert found.sentence.startswith("output 'y' of a row changes with the rows beside it: ")


@pytest.mark.parametrize("name", ONE_ROW_AT_A_TIME)
def test_a_model_that_takes_each_row_for_itself_may_be_given_several(load: Load, name: str) -> None:
    assert load(ONE_ROW_AT_A_TIME[name]).objection is None


@pytest.mark.parametrize(("atol", "joined"), [(0.01, False), (2.0, True)])
def test_the_bundles_own_tolerance_says_how_much_an_answer_may_change(load: Load, atol: float, joined: bool) -> None:
    x = np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32)
    slightly = graph(node("ReduceMean", "x axes", "mean"), node("Mul", "mean little", "shift"),
                     node("Add", "x shift", "y"), axes=FIRST_AXIS, little=np.float32(0.01))  # fmt: skip
    samples = [GoldenSample({"x": x}, {"y": x + x.mean(0) / 100})]
    assert load(slightly, samples, tolerance=[Tolerance("y", atol, 0.0)]).batchable is joined


def test_rows_without_a_dimension_of_their_own_are_not_joined(load: Load) -> None:
    fixed = small.cast(FLOAT, (1, 4))
    found = load(fixed).objection
    assert found is not None
    assert found.code == "NoRows"


def test_an_output_whose_size_the_values_decide_is_never_cut_up(load: Load) -> None:
    places = graph(node("NonZero", "x", "found"), node("Transpose", "found", "y"), to=INT64, shape=["N", 2])
    found = load(places).objection
    assert found is not None
    assert found.sentence == "output 'y' has not one row of one size for each row"


def test_where_no_second_row_is_known_nothing_is_proved(load: Load) -> None:
    found = load(graph(node("Gather", "table x", "y"), of=INT64, table=np.ones(1, np.float32))).objection
    assert found is not None
    assert found.code == "NotProved"


def test_a_row_of_the_golden_samples_is_tried_before_one_is_made_up(load: Load) -> None:
    table = np.arange(1000, dtype=np.float32)
    graph_of_indices = graph(node("Gather", "table x", "f"), node("ReduceMax", "f axes", "m"), node("Sub", "f m", "y"),
                             of=INT64, table=table, axes=FIRST_AXIS)  # fmt: skip
    x = np.array([[999] * 4, [3] * 4])  # one further on there is nothing
    found = load(graph_of_indices, [GoldenSample({"x": x}, {"y": (x - 999).astype(np.float32)})]).objection
    assert found is not None
    assert found.code == "RowsDepend"


def test_a_model_that_gains_nothing_is_not_batched(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", time.thread_time)  # what others do on this machine is not its cost
    monkeypatch.setattr(warmup, "ROUNDS", 300)  # nor what one on the same core does: five runs are over in its one
    monkeypatch.setitem(warmup.BUDGET, "cpu", 5.0)
    wide: list[int | str] = ["N", 60_000]
    names = ["x", *(f"n{index}" for index in range(15)), "y"]
    chain = [node("Erf", before, after) for before, after in pairwise(names)]
    heavy = small.model(chain, [small.value("x", FLOAT, wide)], [small.value("y", FLOAT, wide)], {})
    model = load(heavy)
    assert model.objection is None
    assert decide(model, 32).code == "NoGain", f"cost by rows, s: {model.costs}"


@pytest.mark.parametrize("name", DEPENDING)
def test_a_model_too_slow_to_be_measured_is_tried_with_two_rows(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(warmup.BUDGET, "cpu", 0.0)
    model = load(DEPENDING[name])
    assert not model.batchable
    assert [rows for rows, _ in model.costs] == [1, 2]


@pytest.fixture
def costing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], float]], None]:
    """Makes a run of so many rows cost what a function says, in µs."""

    def make(cost: Callable[[int], float]) -> None:
        now, run = [0.0], OrtModel.run

        def timed(model: OrtModel, feeds: dict[str, Any], lane: Any) -> Any:
            now[0] += cost(len(feeds["x"])) / 1e6
            return run(model, feeds, lane)

        monkeypatch.setattr(OrtModel, "run", timed)
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    return make


def at_most_eight() -> onnx.ModelProto:
    """A graph that cannot do more than eight rows."""
    return graph(
        node("Shape", "x", "s"), node("Slice", "s zero one", "rows"), node("Sub", "rows one", "last"),
        node("Gather", "table last", "nothing"), node("Add", "x nothing", "y"),
        zero=[0], one=[1], table=np.zeros(8, np.float32),
    )  # fmt: skip


def test_requests_are_never_joined_to_more_rows_than_the_model_could_run(
    load: Load, costing: Callable[[Callable[[int], float]], None]
) -> None:
    costing(lambda rows: 10)
    model = load(at_most_eight())
    assert [rows for rows, _ in model.costs] == [1, 2, 4, 8]
    assert (decide(model, 32).code, decide(model, 32).rows) == ("Gain", 8)


def test_the_run_that_proves_rows_independent_is_no_measurement(
    load: Load, costing: Callable[[Callable[[int], float]], None]
) -> None:
    costing(lambda rows: {1: 100, 2: 200, 4: 330}[rows])
    model = load(small.linear())
    assert [rows for rows, _ in model.costs] == [1, 2]
    assert decide(model, 32).code == "NoGain", f"cost by rows, s: {model.costs}"


def batching_line(server: Running) -> dict[str, Any]:
    (line,) = [line for line in server.lines if '"event": "batching"' in line]
    return dict(json.loads(line))


def test_the_metric_and_one_line_of_the_log_say_why_requests_are_joined_or_not(bundles: Bundles, serve: Serve) -> None:
    apart, together = serve(bundles(small.mixing_rows())), serve(bundles(small.linear()))

    assert batching_line(apart)["rows"] == 1
    assert batching_line(apart)["reason"] == "RowsDepend"
    assert "changes with the rows beside it" in batching_line(apart)["why"]
    assert b'reason="RowsDepend"} 0\n' in apart.probe("/metrics").body
    assert batching_line(together)["rows"] == 32
    assert batching_line(together)["why"].startswith("a row costs ")
    assert b'reason="Gain"} 1\n' in together.probe("/metrics").body


def at_once(server: Running, *documents: Any) -> list[Answer]:
    """The answers to requests that are sent at the same time, in their order."""
    answers: dict[int, Answer] = {}

    def ask(index: int) -> None:
        answers[index] = server.infer(documents[index])

    threads = [threading.Thread(target=ask, args=[index]) for index in range(len(documents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[index] for index in range(len(documents))]


def runs(server: Running) -> list[tuple[int, int]]:
    """How many runs there were of each batch size."""
    (entry,) = server.get("/v2/models/fraud/stats").json["model_stats"]
    return [(size["batch_size"], size["compute_infer"]["count"]) for size in entry["batch_stats"]]


def asking(data: Sequence[float], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, len(data)], "data": data}], **more}


def test_requests_that_share_a_run_keep_their_own_parameters(bundles: Bundles, serve: Serve) -> None:
    server = serve(bundles(small.linear()), "--max-batch-delay", "10s", "--max-batch-size", "4")
    too_much = [3e38] * 4
    lenient, strict, best, plain = at_once(
        server,
        asking(too_much, id="a", parameters={"nonfinite": "null"}),
        asking(too_much, id="b"),
        asking([1, 2, 3, 4], outputs=[{"name": "scores", "parameters": {"classification": 1}}]),
        asking([1, 1, 1, 1], id="d", parameters={"timeout": 9_000_000, "tenant": "d"}, outputs=[{"name": "label"}]),
    )
    assert runs(server) == [(4, 1)]
    assert lenient.json["outputs"][0]["data"] == [None, None, None]
    assert (strict.status, "NonFiniteOutput" in strict.error) == (500, True)
    assert [found["data"] for found in best.json["outputs"]] == [["8.0:2"]]
    assert (plain.json["id"], plain.json["outputs"]) == (
        "d", [{"name": "label", "datatype": "INT64", "shape": [1], "data": [2]}],
    )  # fmt: skip


def scaled_bundle(bundles: Bundles) -> Path:
    """y = x times `scale`, which is 1 unless a request says otherwise; two of them joined would be one for each column."""
    pair: list[int | str] = ["N", 2]
    inputs = [small.value("x", FLOAT, pair), small.value("scale", FLOAT, ["parts"])]
    outputs = [small.value("y", FLOAT, pair)]
    folder = bundles(small.model([node("Mul", "x scale", "y")], inputs, outputs, {"scale": np.ones(1, np.float32)}))
    manifest = read_bundle_dir(folder).manifest
    (folder / "bundle.yaml").unlink()
    ports = (TensorSpec("x", "FP32", ("N", 2)), TensorSpec("scale", "FP32", ("parts",), optional=True))
    write_manifest(small.with_interface(manifest, Interface(ports, manifest.interface.outputs)), folder)
    return folder


def test_an_optional_input_that_is_not_of_the_rows_is_never_shared(bundles: Bundles, serve: Serve) -> None:
    server = serve(scaled_bundle(bundles), "--max-batch-delay", "10s", "--max-batch-size", "2")

    def scaled(by: float) -> dict[str, Any]:
        document = asking([1, 1])
        document["inputs"].insert(0, {"name": "scale", "datatype": "FP32", "shape": [1], "data": [by]})
        return document

    answers = [*at_once(server, scaled(2), scaled(3)), *at_once(server, asking([1, 1]), asking([5, 5]))]
    assert [answer.json["outputs"][0]["data"] for answer in answers] == [[2, 2], [3, 3], [1, 1], [5, 5]]
    assert runs(server) == [(1, 2), (2, 1)]


def test_only_rows_of_one_shape_are_joined(bundles: Bundles, serve: Serve) -> None:
    server = serve(bundles(small.cast(FLOAT, ("N", "width"))), "--max-batch-delay", "3s", "--max-batch-size", "2")
    answers = [*at_once(server, asking([1, 2]), asking([1, 2, 3])), *at_once(server, asking([4]), asking([5]))]
    assert [answer.json["outputs"][0]["data"] for answer in answers] == [[1, 2], [1, 2, 3], [4], [5]]
    assert runs(server) == [(1, 2), (2, 1)]
