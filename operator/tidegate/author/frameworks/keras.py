"""Keras models: a `.keras` or `.h5` file, weights with their JSON, or what a factory builds.

Always on TensorFlow: through Keras's torch backend LSTMs came out wrong by 1e-2 without a word, and through its JAX
backend convolutions fail in ONNX Runtime.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.author.extras import need
from tidegate.author.frameworks import ConversionFailed, Converted, Found
from tidegate.author.frameworks.given import given_rows
from tidegate.author.frameworks.keras_files import KerasFile, read_keras_file, refuse_lambdas
from tidegate.author.frameworks.tf_function import (
    EXTRA,
    PACKAGES,
    Served,
    TensorFlowOriginal,
    quiet,
    tensorflow,
    to_onnx,
    traced,
)
from tidegate.author.frameworks.tf_names import plain_names
from tidegate.author.request import PackRequest
from tidegate.errors import Failed, Invalid

BACKEND = "tensorflow"
FRAMEWORK = "Keras"
UNKNOWN_CLASS = re.compile(r"(?:Could not locate class|Unknown layer:?|Unknown object:?) '(\w+)'")


def convert(found: Found, request: PackRequest) -> Converted:
    """The model as ONNX; raises LambdaRefused, Invalid for what cannot be read, ConversionFailed."""
    os.environ["KERAS_BACKEND"] = BACKEND  # read when Keras is imported; what imported it before is asked below
    file = read_keras_file(found.path) if found.path else None
    if file:
        refuse_lambdas(file, trusted=request.trust_lambda)
    tensorflow()
    keras = need("keras", extra=EXTRA)
    _require_backend(keras)
    model = _load(keras, file, trusted=request.trust_lambda) if file else found.value
    served = _served(keras, model, found.example)
    graph, cures = to_onnx(served, FRAMEWORK, layers=[layer.name for layer in _layers(model)])
    rows = given_rows(graph, found, request)
    return Converted(graph, TensorFlowOriginal(FRAMEWORK, served), data=rows, packages=PACKAGES, cures=cures)


def _require_backend(keras: Any) -> None:
    backend = keras.backend.backend()
    if backend != BACKEND:
        raise Failed(
            f"Keras runs on {backend} in this process, and its recurrent layers convert wrongly from there",
            where="the model",
            do="save it, model.save('model.keras'), and pack that file in a new process",
            reason="WrongBackend",
        )


def _load(keras: Any, file: KerasFile, *, trusted: bool) -> Any:
    with tempfile.TemporaryDirectory(prefix="tidegate-keras-") as scratch:
        path = Path(scratch) / f"model{file.suffix}"  # Keras goes by the name, whatever is inside
        path.symlink_to(file.path.resolve())
        try:
            with quiet():
                if file.architecture is None:
                    return keras.saving.load_model(path, compile=False, safe_mode=not trusted)
                return _from_weights(keras, file, path, trusted=trusted)
        except Exception as error:  # noqa: BLE001 - Keras raises whatever its layers do
            raise _unreadable(file, keras.__version__, str(error)) from None


def _from_weights(keras: Any, file: KerasFile, path: Path, *, trusted: bool) -> Any:
    if trusted:
        keras.config.enable_unsafe_deserialization()
    model = keras.models.model_from_json(json.dumps(file.config))
    model.load_weights(path)
    return model


def _unreadable(file: KerasFile, here: str, reason: str) -> Failed:
    if unknown := UNKNOWN_CLASS.search(reason):
        return Failed(
            f"it needs the class {unknown[1]}, which is not part of Keras",
            where=str(file.path),
            do="name a function that builds the model and loads its weights: module:function",
            reason="ModelInvalid",
        )
    short = " ".join(reason.split())[:200]
    if file.version and file.version != here:
        return Failed(
            f"Keras {here} cannot read what Keras {file.version} wrote: {short}",
            where=str(file.path),
            do=f"pip install 'keras=={file.version}'",
            reason="VersionMismatch",
        )
    return Failed(f"Keras {here} cannot read it: {short}", where=str(file.path), reason="ModelInvalid")


def _layers(model: Any) -> Iterator[Any]:
    """Every layer, those of models inside the model included."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def _served(keras: Any, model: Any, example: Any) -> Served:
    inputs = _inputs(keras, model, example)
    flat = keras.tree.flatten(inputs)

    def answers(*tensors: Any) -> list[Any]:
        given = keras.tree.pack_sequence_as(inputs, tensors)
        return list(keras.tree.flatten(model(given, training=False)))

    if not model.built:
        _call_on_zeros(answers, flat)
    function = traced(answers, flat)
    names = plain_names([spec.name for spec in flat], "input")
    return Served(model, function, names, _output_names(model, function), answers)


def _call_on_zeros(answers: Any, specs: Sequence[Any]) -> None:
    """So that the variables are there before the model is traced."""
    import tensorflow as tf

    try:
        with quiet():
            answers(*[tf.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in specs])
    except Exception as error:  # noqa: BLE001 - whatever the model's own code raises
        raise ConversionFailed(
            f"nobody has called it yet, and it fails on zeros like its example: {' '.join(str(error).split())[:200]}",
            where="the model",
            do="call it on some rows before you return it",
        ) from None


def _inputs(keras: Any, model: Any, example: Any) -> Any:
    """What the model is called with, with a TensorSpec in the place of each tensor."""
    import tensorflow as tf

    try:
        given = model.input
    except (AttributeError, ValueError):  # not made of layers alone, or not called yet
        given = None
    if given is not None:
        return keras.tree.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name), given)
    if example is None:
        return tf.TensorSpec(_built_for(model), tf.float32, "input")
    if isinstance(example, tuple):
        return [_spec_like(array, f"input_{index}") for index, array in enumerate(example)]
    if hasattr(example, "keys"):
        return {name: _spec_like(example[name], name) for name in example.keys()}  # noqa: SIM118 - a DataFrame too
    return _spec_like(example, "input")


def _spec_like(array: Any, name: str) -> Any:
    import tensorflow as tf

    values = np.asarray(array)
    return tf.TensorSpec([None, *values.shape[1:]], tf.float32 if values.dtype == np.float64 else values.dtype, name)


def _built_for(model: Any) -> Sequence[int | None]:
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if not isinstance(shape, tuple | list):
        raise Invalid(
            f"nobody has called this {type(model).__name__} yet, so its inputs are not known",
            where="the model",
            do="return it with an example of its data: return model, example",
        )
    return [None, *shape[1:]]


def _output_names(model: Any, function: Any) -> tuple[str, ...]:
    outputs = function.structured_outputs
    answer = getattr(model, "output", None)
    if isinstance(answer, dict):
        return plain_names(sorted(answer), "output")
    names = list(getattr(model, "output_names", ()))
    if len(names) != len(outputs):
        return plain_names([""] * len(outputs), "output")
    made_up = {operation.name for operation in getattr(model, "operations", ()) if _made_up(operation)}
    return plain_names(["" if name in made_up else name for name in names], "output")


def _made_up(operation: Any) -> bool:
    """Whether Keras named it after its class: `dense_2` of Dense."""
    return re.sub(r"_\d+$", "", operation.name).replace("_", "") == type(operation).__name__.lower()
