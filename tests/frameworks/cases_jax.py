"""JAX: plain functions, Flax (nnx and linen) and Equinox modules, each from a factory in a script."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.frameworks.case import Case

FRAMEWORK = "jax"
HEAD = """
import equinox
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

"""

MODELS = {
    "nnx: MLP with dropout": """
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.first, self.second = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)
                self.drop = nnx.Dropout(0.5, rngs=rngs)

            def __call__(self, x):
                return nnx.softmax(self.second(self.drop(nnx.relu(self.first(x)))))

        def model():
            return Model(nnx.Rngs(0)), np.zeros((2, 8), np.float32)
        """,
    "nnx: CNN, pools by position": """
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.conv, self.norm = nnx.Conv(1, 8, (3, 3), rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
                self.last = nnx.Linear(8 * 9, 3, rngs=rngs)

            def __call__(self, x):
                x = nnx.max_pool(nnx.relu(self.norm(self.conv(x))), (2, 2), strides=(2, 2))
                x = nnx.avg_pool(x, (2, 2), (2, 2))
                return self.last(x.reshape(x.shape[0], -1))

        def model():
            return Model(nnx.Rngs(0)), np.zeros((2, 14, 14, 1), np.float32)
        """,
    "nnx: GRU": """
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.cells, self.last = nnx.RNN(nnx.GRUCell(4, 6, rngs=rngs)), nnx.Linear(6, 2, rngs=rngs)

            def __call__(self, x):
                return self.last(self.cells(x)[:, -1])

        def model():
            return Model(nnx.Rngs(0)), np.zeros((2, 7, 4), np.float32)
        """,
    "nnx: attention, any length": """
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.look = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
                self.norm, self.last = nnx.LayerNorm(8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)

            def __call__(self, tokens):
                return {"scores": self.last(nnx.gelu(self.norm(tokens + self.look(tokens))).mean(1))}

        def model():
            return Model(nnx.Rngs(0)), {"tokens": np.zeros((2, 7, 8), np.float32)}
        """,
    "nnx: tabular, embedding": """
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.known, self.last = nnx.Embed(1000, 4, rngs=rngs), nnx.Linear(7, 1, rngs=rngs)

            def __call__(self, numbers, colour):
                joined = jnp.concatenate([numbers, self.known(colour[:, 0])], -1)
                return {"risk": nnx.sigmoid(self.last(joined)), "sum": numbers.sum(-1)}

        def model():
            return Model(nnx.Rngs(0)), (np.zeros((2, 3), np.float32), np.zeros((2, 1), np.int32))
        """,
    "linen: MLP": """
        class Model(linen.Module):
            @linen.compact
            def __call__(self, x):
                return linen.Dense(3)(linen.relu(linen.Dense(16)(x)))

        def model():
            example = np.zeros((2, 8), np.float32)
            return Model().bind(Model().init(jax.random.key(0), example)), example
        """,
    "linen: CNN": """
        class Model(linen.Module):
            @linen.compact
            def __call__(self, x, train=False):
                x = linen.BatchNorm(use_running_average=not train)(linen.Conv(8, (3, 3))(x))
                x = linen.max_pool(linen.relu(x), (2, 2), (2, 2))
                return linen.Dense(3)(linen.Dropout(0.5, deterministic=not train)(x.reshape(x.shape[0], -1)))

        def model():
            example = np.zeros((2, 14, 14, 1), np.float32)
            return Model().bind(Model().init(jax.random.key(0), example)), example
        """,
    "linen: GRU, any length": """
        class Model(linen.Module):
            @linen.compact
            def __call__(self, x):
                return linen.Dense(2)(linen.RNN(linen.GRUCell(6))(x)[:, -1])

        def model():
            example = np.zeros((2, 7, 4), np.float32)
            return Model().bind(Model().init(jax.random.key(0), example)), example
        """,
    "jax.jit of a function": """
        def model():
            weights = jax.random.normal(jax.random.key(0), (4, 3))
            return jax.jit(lambda x: jnp.tanh(x @ weights)), np.zeros((2, 4), np.float32)
        """,
    "Equinox: MLP": """
        def model():
            return jax.jit(jax.vmap(equinox.nn.MLP(8, 3, 16, 2, key=jax.random.key(0)))), np.zeros((2, 8), np.float32)
        """,
}
SIZES = {
    "nnx: attention, any length": {"tokens": ("batch", "length", 8)},
    "linen: GRU, any length": {"input": ("batch", "length", 4)},
}


FAULTS = {
    "without an example": (
        "JAX knows the shapes of its data only when it sees some.*return model, np.zeros",
        """
        def model():
            return jax.jit(jnp.tanh)
        """,
    ),
    "jax.export artefact": (
        "artefact of jax.export",
        """
        def model():
            example = np.zeros((2, 4), np.float32)
            return jax.export.export(jax.jit(jnp.tanh))(example), example
        """,
    ),
    "reduce_window by a product": (
        "jax2onnx cannot convert it: reduce_window",
        """
        def model():
            def products(x):
                return jax.lax.reduce_window(x, 1.0, jax.lax.mul, (1, 2), (1, 2), "VALID")

            return jax.jit(products), np.zeros((2, 4), np.float32)
        """,
    ),
}


def cases() -> list[Case]:
    good = [_case(model, body) for model, body in MODELS.items()]
    return [*good, *(_case(model, body, refused) for model, (refused, body) in FAULTS.items())]


def _case(model: str, body: str, refused: str = "") -> Case:
    def make(folder: Path) -> str:
        path = folder / "train.py"
        path.write_text(HEAD + textwrap.dedent(body))
        return f"{path}:model"

    options = {"interface": SIZES[model]} if model in SIZES else {}
    return Case(FRAMEWORK, "module:factory", model, make, options=options, refused=refused)
