"""ONNX as it is: files with their weights inside and beside, folders of the ONNX Model Zoo, models that a script makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tests.frameworks.case import Case

FRAMEWORK = "onnx"


def cases() -> list[Case]:
    return [
        *(Case(FRAMEWORK, ".onnx", kind, _saved(make)) for kind, make in MODELS.items()),
        *(Case(FRAMEWORK, "external data", kind, _outside(make)) for kind, make in MODELS.items()),
        *(Case(FRAMEWORK, "Model Zoo folder", kind, _zoo(make)) for kind, make in MODELS.items()),
        *(Case(FRAMEWORK, "script.py:function", kind, _script(name)) for name, kind in SCRIPTED.items()),
        *(Case(FRAMEWORK, "MLflow folder", kind, _mlflow(make)) for kind, make in MODELS.items()),
        *faults(),
    ]


def faults() -> list[Case]:
    return [
        Case(FRAMEWORK, ".onnx", "cut off", _cut, refused="not an ONNX model"),
        Case(FRAMEWORK, ".onnx", "another format", _text, refused="not an ONNX model"),
        Case(FRAMEWORK, "external data", "missing", _without_data, refused="are missing"),
        Case(FRAMEWORK, "Model Zoo folder", "answers of another model", _other_answers, refused="GoldenInvalid"),
        Case(FRAMEWORK, "MLflow folder", "without its model", _empty_mlflow, refused="is missing"),
    ]


def _weight(name: str, *shape: int) -> onnx.TensorProto:
    seed = sum(name.encode())
    return numpy_helper.from_array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32) / 2, name)


def _model(nodes: list[Any], shape: list[Any], out: list[Any], weights: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        weights,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def mlp() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "V"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=-1),
    ]
    weights = [_weight("W", 8, 16), _weight("b", 16), _weight("V", 16, 3)]
    return _model(nodes, ["batch", 8], ["batch", 3], weights)


def cnn() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "K"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "V"], ["y"]),
    ]
    return _model(nodes, ["batch", 1, 8, 8], ["batch", 3], [_weight("K", 8, 1, 3, 3), _weight("V", 8, 3)])


def lstm() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "W", "R"], ["", "h"], hidden_size=6),
        helper.make_node("Squeeze", ["h", "first"], ["y"]),
    ]
    first = numpy_helper.from_array(np.array([0]), "first")
    weights = [_weight("W", 1, 24, 4), _weight("R", 1, 24, 6), first]
    return _model(nodes, ["batch", "seq", 4], ["batch", 6], weights)


def attention() -> onnx.ModelProto:
    nodes = [
        *(helper.make_node("MatMul", ["x", name], [name.lower()]) for name in ("Q", "K", "V")),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["s"]),
        helper.make_node("Softmax", ["s"], ["a"], axis=-1),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
    ]
    weights = [_weight(name, 8, 8) for name in ("Q", "K", "V")]
    return _model(nodes, ["batch", "seq", 8], ["batch", "seq", 8], weights)


def tree() -> onnx.ModelProto:
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[-1.0, 2.0],
    )
    return _model([node], ["batch", 2], ["batch", 1], [])


MODELS = {"MLP": mlp, "CNN": cnn, "LSTM": lstm, "attention": attention, "tree": tree}
SCRIPTED = {make.__name__: kind for kind, make in MODELS.items()}
Make = Callable[[], onnx.ModelProto]


def _saved(make: Make, name: str = "model.onnx") -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        onnx.save(make(), folder / name)
        return str(folder / name)

    return save


def _outside(make: Make) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        path = folder / "model.onnx"
        onnx.save(make(), path, save_as_external_data=True, location="weights.data", size_threshold=0)
        return str(path)

    return save


def _zoo(make: Make) -> Callable[[Path], str]:
    """As the ONNX Model Zoo has it: the model, and inputs with their outputs as protobuf files."""

    def save(folder: Path) -> str:
        import onnxruntime

        _saved(make)(folder)
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        wanted = session.get_inputs()[0].shape
        shape = [size if isinstance(size, int) else 3 for size in wanted]
        for number in range(2):
            place = folder / f"test_data_set_{number}"
            place.mkdir()
            x = np.random.default_rng(number).standard_normal(shape).astype(np.float32)
            _tensor(place / "input_0.pb", x, "x")
            _tensor(place / "output_0.pb", session.run(None, {"x": x})[0], "y")
        return str(folder)

    return save


def _tensor(path: Path, array: Any, name: str) -> None:
    path.write_bytes(numpy_helper.from_array(array, name).SerializeToString())


def _script(name: str) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        (folder / "train.py").write_text(f"from tests.frameworks.cases_onnx import {name}\n")
        return f"{folder}/train.py:{name}"

    return save


def _mlflow(make: Make) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        place = folder / "run" / "artifacts" / "model"
        for path in (place, folder / "run" / "params", folder / "run" / "metrics"):
            path.mkdir(parents=True)
        (folder / "run" / "params" / "epochs").write_text("10")
        (folder / "run" / "metrics" / "auc").write_text("1700000000 0.5 0\n1700000001 0.75 1\n")
        (place / "MLmodel").write_text("flavors:\n  onnx: {data: model.onnx}\n  python_function: {}\n")
        onnx.save(make(), place / "model.onnx")
        return str(place)

    return save


def _cut(folder: Path) -> str:
    path = Path(_saved(mlp)(folder))
    path.write_bytes(path.read_bytes()[:-200])
    return str(path)


def _text(folder: Path) -> str:
    (folder / "model.onnx").write_text("epoch,loss\n1,0.5\n")
    return str(folder / "model.onnx")


def _without_data(folder: Path) -> str:
    source = _outside(mlp)(folder)
    (folder / "weights.data").unlink()
    return source


def _other_answers(folder: Path) -> str:
    source = _zoo(mlp)(folder)
    _tensor(folder / "test_data_set_0" / "output_0.pb", np.zeros((3, 3), np.float32), "y")
    return source


def _empty_mlflow(folder: Path) -> str:
    source = _mlflow(mlp)(folder)
    (Path(source) / "model.onnx").unlink()
    return source
