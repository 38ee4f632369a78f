"""From a TensorFlow function to ONNX: what SavedModels, frozen graphs and Keras models all become before.

tf2onnx's own ways in differ by kind and lose things on the way (lookup tables, the order of outputs, names); this one
takes a concrete function with the names that its inputs and outputs shall have.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tidegate.author.extras import need
from tidegate.author.frameworks import ConversionFailed
from tidegate.author.frameworks.tf_integers import one_hot, rounded_down
from tidegate.author.frameworks.tf_names import mend
from tidegate.author.frameworks.tf_tables import other_tables
from tidegate.author.graph import tidy
from tidegate.author.session import Array, Tensors
from tidegate.errors import Invalid

EXTRA = "tensorflow"
BY_CHANCE = ("einsum_optimizer", "merge_duplication")  # steps that name or keep nodes by address or hash: other bytes
Step = Callable[[Any, Any], Any]  # of a graph and its nodes: the nodes after it
OPSET = 18  # the newest that tf2onnx 1.17 writes
PACKAGES = ("h5py", "keras", "tensorflow-cpu", "tensorflow", "tf2onnx")


@dataclass(frozen=True, slots=True)
class Served:
    """A concrete function, what owns its variables and tables, and names for its tensors in their order.

    `call` answers NumPy arrays in the order of `inputs` with arrays in the order of `outputs`.
    """

    owner: Any
    function: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    call: Any


@dataclass(frozen=True, slots=True)
class TensorFlowOriginal:
    """The model run by TensorFlow itself."""

    framework: str
    served: Served

    def answers(self, inputs: Tensors) -> Mapping[str, Array]:
        with quiet():
            found = self.served.call(*[_as_tensor(inputs[name]) for name in self.served.inputs])
        return {name: _as_array(value) for name, value in zip(self.served.outputs, found, strict=True)}


def tensorflow() -> Any:
    """TensorFlow, told to keep to itself: no GPU, no log, repeatable sums."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums come in another order on every CPU
    module = need("tensorflow", extra=EXTRA)
    need("tf2onnx", extra=EXTRA)
    return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that TensorFlow and tf2onnx write for every model."""
    loud = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx", "absl")]
    before = [(logger, logger.level) for logger in loud]
    try:
        for logger in loud:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)


def traced(call: Any, specs: Any) -> Any:
    """`call` as a function of its own that TensorFlow has seen with `specs`; raises ConversionFailed where it fails.

    Its own, because tf2onnx takes the tables out of the function it converts, which then no longer answers.
    """
    import tensorflow as tf

    try:
        with quiet():
            return tf.function(call, input_signature=specs).get_concrete_function()
    except Exception as error:  # noqa: BLE001 - whatever the model's own code raises
        raise ConversionFailed(
            f"it fails when TensorFlow traces it: {_first_line(error)}",
            where="the model",
            do="call it once yourself: what fails there fails here",
        ) from None


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def to_onnx(served: Served, framework: str, layers: Collection[str] = ()) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The function as an ONNX model, and what was mended.

    Raises ConversionFailed for operators without an ONNX form, and Invalid for a model of more than 2 GB.
    """
    try:
        with quiet():
            model = _converted(served)
    except ConversionFailed:
        raise
    except Exception as error:  # noqa: BLE001 - tf2onnx raises whatever comes up
        if "2GB" in str(error) or "too long" in str(error):
            raise Invalid("the weights are larger than the 2 GB that tf2onnx can hold", where="the model") from None
        raise ConversionFailed(f"tf2onnx cannot convert it: {_first_line(error)}", where="the model") from None
    cures = mend(model, framework, layers)
    _find_shapes(model, TensorFlowOriginal(framework, served))
    return model, cures


def _converted(served: Served) -> onnx.ModelProto:
    import tensorflow as tf
    from tf2onnx import optimizer, tf_loader, utils
    from tf2onnx.tfonnx import process_tf_graph

    utils.INTERNAL_NAME = 1  # names are counted up for as long as the process lives
    steps = {name: step for name, step in optimizer._get_optimizers().items() if name not in BY_CHANCE}
    captured = {tensor.name for tensor in served.function.graph.internal_captures}
    inputs = [tensor.name for tensor in served.function.inputs if tensor.name not in captured]
    outputs = [tensor.name for tensor in served.function.outputs]
    with tf.device("/cpu:0"):
        frozen, tables = tf_loader.from_trackable(served.owner, served.function, inputs, outputs, large_model=False)
        own = OwnSteps((other_tables(tables), rounded_down, one_hot))
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen, name="")
            converted = process_tf_graph(
                graph,
                opset=OPSET,
                input_names=inputs,
                output_names=outputs,
                tensors_to_rename=dict(zip((*inputs, *outputs), (*served.inputs, *served.outputs), strict=True)),
                initialized_tables=tables,
                custom_rewriter=own.steps,
                continue_on_error=True,  # what it does not know stays in the graph: `mend` says where it came from
            )
            own.require_done()
            model = optimizer.optimize_graph(converted, optimizers=steps).make_model("tensorflow")
    assert isinstance(model, onnx.ModelProto)
    return model


class OwnSteps:
    """Our steps for tf2onnx, which goes on with a form of its own, often a wrong one, where one of them fails."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = [self._kept(step) for step in steps]
        self._failure: Exception | None = None

    def _kept(self, step: Step) -> Step:
        def carried_out(graph: Any, nodes: Any) -> Any:
            try:
                return step(graph, nodes)
            except Exception as error:
                self._failure = self._failure or error
                raise

        return carried_out

    def require_done(self) -> None:
        """Raise what the first step that failed raised; ConversionFailed as it is, to_onnx makes one of the rest."""
        if self._failure is not None:
            raise self._failure


def _find_shapes(model: onnx.ModelProto, original: TensorFlowOriginal) -> None:
    """Where TensorFlow does not know how many dimensions an output has (after a table), see what it answers."""
    unknown = [value for value in model.graph.output if not value.type.tensor_type.HasField("shape")]
    if not unknown:
        return
    try:
        small, large = (
            original.answers({value.name: _zeros(value, size) for value in model.graph.input}) for size in (2, 3)
        )
    except Exception as error:  # noqa: BLE001 - whatever the model's own code raises
        raise ConversionFailed(
            f"TensorFlow does not know the shape of '{unknown[0].name}', and zeros fail: {_first_line(error)}",
            where="the model",
            do="give that output its shape in the model: tensor.set_shape(…)",
        ) from None
    for value in unknown:
        shape = value.type.tensor_type.shape
        for here, there in zip(small[value.name].shape, large[value.name].shape, strict=True):
            shape.dim.add(**({"dim_value": here} if here == there else {}))
    tidy(model)


def _zeros(value: onnx.ValueInfoProto, size: int) -> Array:
    dims = value.type.tensor_type.shape.dim
    kind = value.type.tensor_type.elem_type
    shape = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else size for dim in dims]
    if kind == onnx.TensorProto.STRING:
        return np.full(shape, "", object)
    return np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(kind))


def _as_tensor(array: Array) -> Any:
    import tensorflow as tf

    return tf.constant(array.tolist() if array.dtype == object else array)


def _as_array(value: Any) -> Array:
    array = np.asarray(value.numpy())
    if array.dtype != object:
        return array
    texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.reshape(-1)]
    return np.array(texts, dtype=object).reshape(array.shape)
