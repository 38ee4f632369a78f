"""TensorFlow Lite models: in floats, with 8-bit weights (dynamic range), and in 8 bits throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tests.frameworks import cases_keras as keras_models
from tests.frameworks.case import Case

FRAMEWORK = "tflite"


def cases() -> list[Case]:
    return [
        _case("MLP", lambda folder: _lite(folder, keras_models.mlp())),
        _case("CNN", lambda folder: _lite(folder, keras_models.cnn())),
        _case("LSTM, fixed length", lambda folder: _lite(folder, _lstm())),
        _case("attention", lambda folder: _lite(folder, _attention())),
        _case("two inputs, two outputs", lambda folder: _lite(folder, keras_models.two_outputs())),
        _case("MLP, dynamic range", lambda folder: _lite(folder, _wide_mlp(), _small)),
        _case("CNN, int8", lambda folder: _lite(folder, keras_models.cnn(), _int8)),
        _case("CNN, int8 inputs and outputs", lambda folder: _lite(folder, keras_models.cnn(), _int8_ends)),
        _case(
            "cut off", lambda folder: keras_models.cut(_lite(folder, keras_models.mlp())), refused="damaged or cut off"
        ),
        _case("TensorFlow's own operators", _flex, refused="operators of TensorFlow itself .Flex.*pack the SavedModel"),
    ]


def _case(model: str, make: Callable[[Path], str], **more: Any) -> Case:
    return Case(FRAMEWORK, ".tflite", model, make, **more)


def _lite(folder: Path, model: Any, settle: Callable[[Any], None] = lambda converter: None) -> str:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    settle(converter)
    path = folder / "model.tflite"
    path.write_bytes(converter.convert())
    return str(path)


def _flex(folder: Path) -> str:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def slope(x: Any) -> Any:
        return tf.math.tan(x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([slope.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = folder / "model.tflite"
    path.write_bytes(converter.convert())
    return str(path)


def _small(converter: Any) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(converter: Any) -> None:
    _small(converter)
    converter.representative_dataset = _images


def _int8_ends(converter: Any) -> None:
    import tensorflow as tf

    _int8(converter)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def _images() -> Iterator[list[Any]]:
    random = np.random.default_rng(1)
    for _ in range(32):
        yield [random.standard_normal((1, 16, 16, 1)).astype(np.float32)]


def _wide_mlp() -> Any:
    """Wide enough for the converter to think that 8-bit weights are worth it."""
    keras = keras_models.seeded_keras()
    layers = keras.layers
    return keras.Sequential([layers.Input((64,)), layers.Dense(128, "relu"), layers.Dense(10, "softmax")])


def _lstm() -> Any:
    keras = keras_models.seeded_keras()
    layers = keras.layers
    return keras.Sequential([layers.Input((6, 4)), layers.LSTM(8, unroll=True), layers.Dense(2)])


def _attention() -> Any:
    keras = keras_models.seeded_keras()
    layers = keras.layers
    tokens = layers.Input((6, 8), name="tokens")
    seen = layers.LayerNormalization()(tokens + layers.MultiHeadAttention(2, 4)(tokens, tokens))
    return keras.Model(tokens, layers.Dense(2, name="scores")(layers.GlobalAveragePooling1D()(seen)))
