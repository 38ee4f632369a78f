"""TensorFlow's own formats: SavedModels of Keras, of plain modules, as on TensorFlow Hub, and frozen graphs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.frameworks import cases_keras as keras_models
from tests.frameworks.case import Case

FRAMEWORK = "tensorflow"


def cases() -> list[Case]:
    return [
        _case("SavedModel", "MLP", lambda folder: _exported(folder, keras_models.mlp())),
        _case("SavedModel", "CNN", lambda folder: _exported(folder, keras_models.cnn())),
        _case("SavedModel", "bidirectional LSTM", lambda folder: _exported(folder, keras_models.lstm())),
        _case("SavedModel", "attention, GELU", lambda folder: _exported(folder, keras_models.attention())),
        _case("SavedModel", "tabular: StringLookup", lambda folder: _exported(folder, keras_models.tabular())),
        _case("SavedModel", "tf.Module, while loop", _module),
        _case("SavedModel", "tables with integer keys", _tables),
        _case("SavedModel", "integers divided, some negative", _divided, data="data.npz"),
        *(
            _case("SavedModel", f"one_hot of -1, {name}", _one_hot(**options), data="data.npz")
            for name, options in ONE_HOTS.items()
        ),
        *(_case("SavedModel", f"one_hot as wide as its largest, axis {axis}", _widening(axis)) for axis in (-1, 0)),
        _case("TensorFlow Hub folder", "text embedding", _hub),
        _case("TensorFlow Hub folder", "image features", _hub_images),
        _case("TensorFlow Hub folder", "CNN", lambda folder: _hub_keras(folder, keras_models.cnn())),
        _case("TensorFlow Hub folder", "bidirectional LSTM", lambda folder: _hub_keras(folder, keras_models.lstm())),
        _case("TensorFlow Hub folder", "attention, GELU", lambda folder: _hub_keras(folder, keras_models.attention())),
        _case("frozen graph", "MLP", lambda folder: _frozen(folder, keras_models.mlp())),
        _case("frozen graph", "CNN", lambda folder: _frozen(folder, keras_models.cnn())),
        _case("frozen graph", "bidirectional LSTM", lambda folder: _frozen(folder, keras_models.lstm())),
        _case("frozen graph", "attention, GELU", lambda folder: _frozen(folder, keras_models.attention())),
        _case("frozen graph", "two inputs, two outputs", lambda folder: _frozen(folder, keras_models.two_outputs())),
        *faults(),
    ]


def faults() -> list[Case]:
    return [
        _case("SavedModel", "cut off", _cut, refused="this SavedModel is damaged or incomplete"),
        _case(
            "SavedModel", "variables missing", _without_variables, refused="this SavedModel is damaged or incomplete"
        ),
        _case(
            "SavedModel",
            "one_hot of complex numbers",
            _one_hot(dtype="complex64"),
            data="data.npz",
            refused="^ConversionFailed: the model: there is no ONNX form for tf.one_hot in node",
        ),
        _case("SavedModel", "of many functions", _many, refused="it has the signatures first, second"),
        _case("frozen graph", "not frozen", _unfrozen, refused="not frozen: its variables have no values"),
        _case(
            "frozen graph",
            "cut off",
            lambda folder: keras_models.cut(_frozen(folder, keras_models.mlp())),
            refused="this TensorFlow graph is damaged",
        ),
    ]


def _cut(folder: Path) -> str:
    source = _exported(folder, keras_models.mlp())
    keras_models.cut(f"{source}/saved_model.pb")
    return source


def _without_variables(folder: Path) -> str:
    source = _exported(folder, keras_models.mlp())
    shutil.rmtree(f"{source}/variables")
    return source


def _many(folder: Path) -> str:
    import tensorflow as tf

    module = tf.Module()
    module.function = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    signatures = {"first": module.function, "second": module.function}
    tf.saved_model.save(module, str(folder / "saved"), signatures=signatures)
    return str(folder / "saved")


def _unfrozen(folder: Path) -> str:
    import tensorflow as tf

    path = folder / "graph.pb"
    with tf.Graph().as_default() as graph:
        rows = tf.compat.v1.placeholder(tf.float32, [None, 8], name="rows")
        tf.matmul(rows, tf.compat.v1.get_variable("weights", [8, 3]))
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return str(path)


def _case(format_: str, model: str, make: Callable[[Path], str], **more: Any) -> Case:
    return Case(FRAMEWORK, format_, model, make, **more)


def _exported(folder: Path, model: Any) -> str:
    model.export(folder / "saved", verbose=False)
    return str(folder / "saved")


def _module(folder: Path) -> str:
    """Newton's square root: a loop whose length depends on the data."""
    import tensorflow as tf

    class Root(tf.Module):
        def __init__(self) -> None:
            self.scale = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "squares")])
        def __call__(self, squares: Any) -> Any:
            guess = tf.ones_like(squares)
            wanted = tf.abs(squares) * self.scale + 1.0
            for _ in tf.range(8):
                guess = 0.5 * (guess + wanted / guess)
            return {"root": guess}

    root = Root()
    tf.saved_model.save(root, str(folder / "saved"), signatures=root.__call__)
    return str(folder / "saved")


def _tables(folder: Path) -> str:
    """From integers to integers, numbers and texts, and from texts to texts."""
    import tensorflow as tf

    def table(keys: Any, values: Any, default: Any) -> Any:
        rows = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.constant(values))
        return tf.lookup.StaticHashTable(rows, default)

    class Catalog(tf.Module):
        def __init__(self) -> None:
            codes = np.array([30, -7, 2**40])
            self.places = table(codes, np.array([1, 2, 3]), 0)
            self.prices = table(codes, np.array([0.5, 1.5, 2.5], np.float32), 9.0)
            self.names = table(codes, ["red", "green", "blue"], "?")
            self.kinds = table(["red", "green"], ["warm", "cold"], "none")

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int64, "codes")])
        def __call__(self, codes: Any) -> Any:
            names = self.names.lookup(codes)
            found = {"place": self.places.lookup(codes), "price": self.prices.lookup(codes)}
            return {**found, "name": names, "kind": self.kinds.lookup(names)}

    catalog = Catalog()
    tf.saved_model.save(catalog, str(folder / "saved"), signatures=catalog.__call__)
    return str(folder / "saved")


def _divided(folder: Path) -> str:
    """What a quotient and a remainder are of negative integers: tf2onnx rounds the other way."""
    import tensorflow as tf

    class Parts(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32, "number")])
        def __call__(self, number: Any) -> Any:
            by = tf.constant([3, -4])
            return {"whole": number // by, "rest": number % by}

    parts = Parts()
    ends = np.iinfo(np.int32)
    rows = [*range(-20, 20), *range(ends.min, ends.min + 8), *range(ends.max - 7, ends.max + 1)]
    np.savez(folder / "data.npz", number=np.array(rows, np.int32).reshape(-1, 2))
    tf.saved_model.save(parts, str(folder / "saved"), signatures=parts.__call__)
    return str(folder / "saved")


ONE_HOTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32, one place": {"wide": False},
    "float32, in the first axis": {"axis": 1},
    "float16": {"dtype": "float16"},
    "true and false": {"dtype": "bool", "on_value": True, "off_value": False},
    "whole numbers": {"dtype": "int64", "on_value": 7, "off_value": -7},
    "of bytes": {"place": "int8"},
}


def _one_hot(*, place: str = "int32", wide: bool = True, **options: Any) -> Callable[[Path], str]:
    """Places that there are, and three that there are not: TensorFlow has a row of zeros for those."""

    def made(folder: Path) -> str:
        import tensorflow as tf

        class Spread(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None, 3] if wide else [None], place, "place")])
            def __call__(self, place: Any) -> Any:
                return {"spread": tf.one_hot(place, 4, **options)}

        spread = Spread()
        rows = np.random.default_rng(0).integers(-3, 6, (40, 3) if wide else 40).astype(place)
        np.savez(folder / "data.npz", place=rows)
        tf.saved_model.save(spread, str(folder / "saved"), signatures=spread.__call__)
        return str(folder / "saved")

    return made


def _widening(axis: int) -> Callable[[Path], str]:
    """How often each place comes in a row, up to the largest of all."""

    def made(folder: Path) -> str:
        import tensorflow as tf

        class Counts(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32, "place")])
            def __call__(self, place: Any) -> Any:
                known = place % 7
                rows = tf.one_hot(known, tf.reduce_max(known) + 1, axis=axis)
                return {"count": tf.reduce_sum(rows, axis=(1, 2) if axis == -1 else (0, 2))}

        counts = Counts()
        tf.saved_model.save(counts, str(folder / "saved"), signatures=counts.__call__)
        return str(folder / "saved")

    return made


def _hub(folder: Path) -> str:
    """As a text embedding on TensorFlow Hub: no signature of its own, a table of words, strings in."""
    import tensorflow as tf

    class Embedding(tf.Module):
        def __init__(self) -> None:
            words = tf.constant(["red", "green", "blue"])
            rows = tf.lookup.KeyValueTensorInitializer(words, tf.range(3, dtype=tf.int64))
            self.table = tf.lookup.StaticHashTable(rows, 3)
            self.vectors = tf.Variable(tf.random.stateless_normal([4, 8], seed=(1, 2)))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")])
        def __call__(self, texts: Any) -> Any:
            return tf.gather(self.vectors, self.table.lookup(texts))

    tf.saved_model.save(Embedding(), str(folder / "hub"), signatures={})
    return str(folder / "hub")


def _hub_images(folder: Path) -> str:
    """As an image model on TensorFlow Hub: called for training or not."""
    import tensorflow as tf

    class Features(tf.Module):
        def __init__(self) -> None:
            self.kernel = tf.Variable(tf.random.stateless_normal([3, 3, 3, 8], seed=(1, 2)))

        @tf.function
        def __call__(self, inputs: Any, training: bool = False) -> Any:
            seen = tf.nn.conv2d(inputs, self.kernel, 2, "SAME")
            return tf.reduce_mean(tf.nn.dropout(seen, 0.9) if training else tf.nn.relu(seen), axis=[1, 2])

    features = Features()
    images = tf.TensorSpec([None, 16, 16, 3], tf.float32)
    for training in (True, False):
        features.__call__.get_concrete_function(images, training=training)
    tf.saved_model.save(features, str(folder / "hub"), signatures={})
    return str(folder / "hub")


def _hub_keras(folder: Path, model: Any) -> str:
    """A Keras model as TensorFlow Hub has them: no signature, called for training or not."""
    import tensorflow as tf

    class Reusable(tf.Module):
        def __init__(self) -> None:
            self.model = model

        @tf.function
        def __call__(self, inputs: Any, training: bool = False) -> Any:
            return self.model(inputs, training=training)

    reusable = Reusable()
    (tensor,) = model.inputs
    for training in (True, False):
        spec = tf.TensorSpec(tensor.shape, tensor.dtype, "inputs")
        reusable.__call__.get_concrete_function(spec, training=training)
    tf.saved_model.save(reusable, str(folder / "hub"), signatures={})
    return str(folder / "hub")


def _frozen(folder: Path, model: Any) -> str:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in model.inputs]
    function = tf.function(lambda *tensors: model(list(tensors) if len(tensors) > 1 else tensors[0]))
    # Loops stay whole: taken apart into the switches of TensorFlow 1, tf2onnx does not know them again.
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(*specs), lower_control_flow=False)
    path = folder / "graph.pb"
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    return str(path)
