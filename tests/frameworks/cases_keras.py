"""Keras models of every kind and in every file format; run where TensorFlow is (`make frameworks`)."""

from __future__ import annotations

import json
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.frameworks.case import Case

FRAMEWORK = "keras"
CLASSES = tuple(f"digits_1/classes_1/{what}/ReadVariableOp:0" for what in ("BiasAdd", "Cast"))


def cases() -> list[Case]:
    return [
        _case(".keras", "MLP", lambda folder: _saved(folder, mlp())),
        _case(".keras", "CNN", lambda folder: _saved(folder, cnn())),
        _case(".keras", "bidirectional LSTM", lambda folder: _saved(folder, lstm())),  # wrong through torch's backend
        _case(".keras", "attention, GELU", lambda folder: _saved(folder, attention())),
        _case(".keras", "tabular: numbers, StringLookup", lambda folder: _saved(folder, tabular())),
        _case(".keras", "masked embedding, GRU", lambda folder: _saved(folder, text())),
        _case(".keras", "IntegerLookup", _integers),
        _case(".keras", "IntegerLookup, mask, embedding", _codes, data="data.npz"),
        _case(".keras", "IntegerLookup, three buckets", _buckets),
        *(
            _case(".keras", f"IntegerLookup, all known, {name}", _all_known(name))
            for name in ("int", "one_hot", "rows")
        ),
        *(_case(".keras", f"IntegerLookup, {mode}", _encoded(mode)) for mode in ("one_hot", "multi_hot")),
        _case(".keras", "IntegerLookup, StringLookup, inverted", _inverted),
        _case(".keras", "Dense, then fine-tuned", _first, tuned=_tuned, moved=CLASSES),
        _case(".h5", "MLP", lambda folder: _saved(folder, mlp(), "model.h5")),
        _case(".h5", "CNN", lambda folder: _saved(folder, cnn(), "model.h5")),
        _case(".h5", "bidirectional LSTM", lambda folder: _saved(folder, lstm(), "model.h5")),
        _case(".h5", "two outputs", lambda folder: _saved(folder, two_outputs(), "model.h5")),
        _case(".h5", "U-Net", lambda folder: _saved(folder, unet(), "model.h5")),
        *(_case(".h5 with its JSON", name, _weights_and_json(make)) for name, make in KINDS.items()),
        *(_case("module:factory", name, _factory(make)) for name, make in KINDS.items()),
        _case("module:factory", "subclass", _subclass),
        _case("module:factory", "not called yet", _not_called),
        _case(".keras", "Lambda, trusted", _lambda, options={"trust_lambda": True}),
        *faults(),
    ]


def faults() -> list[Case]:
    return [
        _case(".keras", "Lambda", _lambda, refused="LambdaRefused.*the layers double are Lambdas"),
        _case(".keras", "TextVectorization", _texts, refused="no operator for Keras's .*Split.* in layer 'words'"),
        _case(".keras", "incomplete gamma", _gamma, refused="no operator for Keras's Igamma in layer 'odds'"),
        _case(".keras", "of a later Keras", _later, refused="VersionMismatch.*what Keras 99.0.0 wrote.*pip install"),
        _case(".keras", "of a class of one's own", _own_class, refused="it needs the class Halved"),
        _case(".keras", "cut off", lambda folder: cut(_saved(folder, mlp())), refused="damaged"),
        _case(".h5", "cut off", lambda folder: cut(_saved(folder, mlp(), "model.h5")), refused="damaged or cut off"),
        _case(".h5", "weights alone", _weights_alone, refused="weights without the model.*as model.json"),
    ]


def _case(format_: str, model: str, make: Callable[[Path], str], **more: Any) -> Case:
    return Case(FRAMEWORK, format_, model, make, **more)


def _saved(folder: Path, model: Any, name: str = "model.keras") -> str:
    path = folder / name
    model.save(path)
    return str(path)


def seeded_keras() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras


def mlp() -> Any:
    keras = seeded_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8,)),
            layers.Dense(16, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(3, "softmax"),
        ]
    )


def cnn() -> Any:
    keras = seeded_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((16, 16, 1)),
            layers.Conv2D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


def lstm() -> Any:
    keras = seeded_keras()
    layers = keras.layers
    recurrent = layers.Bidirectional(layers.LSTM(8, return_sequences=True))
    return keras.Sequential([layers.Input((None, 4)), recurrent, layers.Dense(2)])


def attention() -> Any:
    keras = seeded_keras()
    layers = keras.layers
    tokens = layers.Input((None, 8), name="tokens")
    seen = layers.LayerNormalization()(tokens + layers.MultiHeadAttention(2, 4)(tokens, tokens))
    hidden = layers.Dense(16, "gelu")(seen)
    return keras.Model(tokens, layers.Dense(2, name="scores")(layers.GlobalAveragePooling1D()(hidden)))


def tabular() -> Any:
    keras = seeded_keras()
    layers = keras.layers
    numbers, colour = layers.Input((3,), name="numbers"), layers.Input((1,), dtype="string", name="colour")
    scaled = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])(numbers)
    known = layers.Embedding(5, 4)(layers.StringLookup(vocabulary=["red", "green", "blue"])(colour))
    hidden = layers.Dense(8, "relu")(layers.Concatenate()([scaled, layers.Flatten()(known)]))
    return keras.Model([numbers, colour], layers.Dense(1, "sigmoid", name="risk")(hidden))


def text() -> Any:
    keras = seeded_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((None,), dtype="int32", name="words"),
            layers.Embedding(1000, 8, mask_zero=True),
            layers.GRU(6),
            layers.Dense(2, "softmax"),
        ]
    )


def two_outputs() -> Any:
    keras = seeded_keras()
    layers = keras.layers
    left, right = layers.Input((4,), name="left"), layers.Input((4,), name="right")
    both = layers.Dense(8, "tanh")(layers.Concatenate()([left, right]))
    return keras.Model([left, right], [layers.Dense(1, name="price")(both), layers.Dense(3, name="kind")(both)])


def unet() -> Any:
    keras = seeded_keras()
    layers = keras.layers
    image = layers.Input((16, 16, 1), name="image")
    down = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    deep = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(down))
    up = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(deep)
    joined = layers.Concatenate()([down, layers.UpSampling2D(interpolation="bilinear")(layers.MaxPooling2D()(up))])
    return keras.Model(image, layers.Conv2D(2, 1, activation="sigmoid", name="mask")(joined))


KINDS = {
    "MLP": mlp,
    "CNN": cnn,
    "bidirectional LSTM": lstm,
    "two inputs, two outputs": two_outputs,
    "U-Net": unet,
}


def _weights_and_json(make: Callable[[], Any]) -> Callable[[Path], str]:
    def written(folder: Path) -> str:
        model = make()
        (folder / "model.json").write_text(model.to_json())
        model.save_weights(folder / "model.weights.h5")
        return str(folder / "model.weights.h5")

    return written


def _factory(make: Callable[[], Any]) -> Callable[[Path], str]:
    return lambda folder: _script(folder, f"from tests.frameworks.cases_keras import {make.__name__} as model")


def _subclass(folder: Path) -> str:
    return _script(
        folder,
        """
        class Residual(keras.Model):
            def __init__(self):
                super().__init__()
                self.first, self.second = keras.layers.Dense(8, "relu"), keras.layers.Dense(8)

            def call(self, inputs, training=False):
                return inputs + self.second(self.first(inputs))

        def model():
            keras.utils.set_random_seed(1)
            return Residual(), np.zeros((2, 8), np.float32)
        """,
    )


def _not_called(folder: Path) -> str:
    return _script(
        folder,
        """
        def model():
            keras.utils.set_random_seed(1)
            return keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]), np.zeros((2, 4), np.float32)
        """,
    )


def _weights_alone(folder: Path) -> str:
    path = folder / "model.weights.h5"
    mlp().save_weights(path)
    return str(path)


def _lambda(folder: Path) -> str:
    keras = seeded_keras()
    layers = keras.layers
    double = layers.Lambda(lambda x: 2 * x, name="double")
    return _saved(folder, keras.Sequential([layers.Input((4,)), double, layers.Dense(2)]))


def _integers(folder: Path) -> str:
    keras = seeded_keras()
    codes = keras.layers.Input((1,), dtype="int64")
    return _saved(folder, keras.Model(codes, keras.layers.IntegerLookup(vocabulary=[3, 7], name="codes")(codes)))


def _codes(folder: Path) -> str:
    """As in a tabular model: 0 is the mask, and what is not known has a row of its own."""
    keras = seeded_keras()
    layers = keras.layers
    codes, price = layers.Input((3,), dtype="int32", name="codes"), layers.Input((1,), name="price")
    known = layers.IntegerLookup(vocabulary=[-5, 30, 7, 2**31 - 1], mask_token=0)(codes)
    hidden = layers.Concatenate()([layers.Flatten()(layers.Embedding(6, 4)(known)), price])
    rows = np.random.default_rng(0).choice([-5, 30, 7, 2**31 - 1, 0, 6, -7], (40, 3)).astype(np.int32)
    np.savez(folder / "data.npz", codes=rows, price=np.linspace(0, 1, 40, dtype=np.float32)[:, None])
    return _saved(folder, keras.Model([codes, price], layers.Dense(2, name="risk")(hidden)))


def _buckets(folder: Path) -> str:
    """What is not known is put into one of several buckets, by its remainder."""
    keras = seeded_keras()
    codes = keras.layers.Input((2,), dtype="int64", name="codes")
    known = keras.layers.IntegerLookup(vocabulary=[30, 7], num_oov_indices=3)(codes)
    return _saved(folder, keras.Model(codes, keras.layers.Embedding(5, 4)(known)))


def _all_known(mode: str) -> Callable[[Path], str]:
    """TensorFlow fails where it finds another integer."""

    def written(folder: Path) -> str:
        keras = seeded_keras()
        codes = keras.layers.Input((2,), dtype="int64", name="codes")
        encoded = "int" if mode == "rows" else mode
        lookup = keras.layers.IntegerLookup(vocabulary=[30, 7], num_oov_indices=0, output_mode=encoded)
        known = lookup(codes)
        if mode == "rows":
            known = keras.layers.Embedding(2, 4)(known)
        width = {"int": 2, "one_hot": 4, "rows": 8}[mode]
        return _saved(folder, keras.Model(codes, keras.layers.Reshape((width,))(known)))

    return written


def _encoded(mode: str) -> Callable[[Path], str]:
    def written(folder: Path) -> str:
        keras = seeded_keras()
        codes = keras.layers.Input((3,), dtype="int64", name="codes")
        known = keras.layers.IntegerLookup(vocabulary=[30, 7, 9], output_mode=mode)(codes)
        return _saved(folder, keras.Model(codes, keras.layers.Dense(2)(known)))

    return written


def _inverted(folder: Path) -> str:
    """From places in a vocabulary back to what stands there."""
    keras = seeded_keras()
    layers = keras.layers
    places = layers.Input((2,), dtype="int64", name="places")
    codes = layers.IntegerLookup(vocabulary=[30, 7], invert=True, name="codes")(places)
    words = layers.StringLookup(vocabulary=["red", "gr\u00fcn"], invert=True, name="words")(places)
    return _saved(folder, keras.Model(places, [codes, words]))


def _first(folder: Path) -> str:
    keras = seeded_keras()
    layers = keras.layers
    hidden = layers.Dense(16, "relu", bias_initializer="random_normal", name="features")
    last = layers.Dense(3, "softmax", bias_initializer="random_normal", name="classes")  # TensorFlow drops zeros
    return _saved(folder, keras.Sequential([layers.Input((8,)), hidden, last], name="digits"))


def _tuned(folder: Path) -> str:
    """Its last layer trained on, the first one frozen."""
    keras = seeded_keras()
    model = keras.saving.load_model(folder / "model.keras")
    model.get_layer("features").trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    model.fit(random.standard_normal((64, 8)), random.integers(0, 3, 64), epochs=3, verbose=0)
    return _saved(folder, model, "tuned.keras")


def _texts(folder: Path) -> str:
    keras = seeded_keras()
    texts = keras.layers.Input((), dtype="string")
    words = keras.layers.TextVectorization(vocabulary=["red", "green"], output_sequence_length=4, name="words")
    return _saved(folder, keras.Model(texts, words(texts)))


def _gamma(folder: Path) -> str:
    """An operator that ONNX does not have, inside a layer of one's own."""
    return _script(
        folder,
        """
        import tensorflow as tf

        class Odds(keras.layers.Layer):
            def call(self, x):
                return tf.math.igamma(tf.abs(x) + 1, tf.abs(x))

        def model():
            return keras.Sequential([keras.layers.Input((4,)), Odds(name="odds"), keras.layers.Dense(2)])
        """,
    )


def _later(folder: Path) -> str:
    path = Path(_saved(folder, mlp()))
    return _rewritten(
        path,
        {"keras_version": "99.0.0"},
        ('"class_name": "BatchNormalization"', '"class_name": "EntangledNormalization"'),
    )


def _own_class(folder: Path) -> str:
    path = Path(_saved(folder, mlp()))
    dropout = '"module": "keras.layers", "class_name": "Dropout"'
    return _rewritten(path, {}, (dropout, '"module": "train", "class_name": "Halved"'))


def _rewritten(path: Path, metadata: dict[str, str], *replaced: tuple[str, str]) -> str:
    """The file as another Keras, or another program, would have written it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["metadata.json"] = json.dumps({**json.loads(members["metadata.json"]), **metadata}).encode()
    for before, after in replaced:
        members["config.json"] = members["config.json"].replace(before.encode(), after.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


def cut(source: str) -> str:
    """The file with its second half gone."""
    content = Path(source).read_bytes()
    Path(source).write_bytes(content[: len(content) // 2])
    return source


def _script(folder: Path, body: str) -> str:
    path = folder / "train.py"
    path.write_text("import keras\nimport numpy as np\n\n" + textwrap.dedent(body))
    return f"{path}:model"
