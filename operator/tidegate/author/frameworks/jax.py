"""JAX functions and modules of Flax, Equinox and their like, by jax2onnx.

A factory returns the callable and an example of its data: JAX knows no shapes before it is called.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tidegate.author.extras import need
from tidegate.author.frameworks import ConversionFailed, Converted, Found
from tidegate.author.frameworks.given import given_rows
from tidegate.author.graph import BATCH
from tidegate.author.request import PackRequest
from tidegate.author.session import Array, Tensors
from tidegate.errors import Invalid

EXTRA = "jax"
FRAMEWORK = "JAX"
OPSET = 21  # what ONNX Runtime 1.20 and later run; jax2onnx's default is newer
PACKAGES = ("flax", "jax", "jax2onnx", "jaxlib")
POOLS = ("avg_pool", "max_pool", "min_pool")
TRACED = "JAX's own trace was converted: jax2onnx fails on the layers themselves"

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Input:
    """An input: its name, and its sizes, names standing for those that may be any."""

    name: str
    shape: tuple[int | str, ...]
    dtype: Any


@dataclass(frozen=True, slots=True)
class JaxOriginal:
    """The function run by JAX itself."""

    function: Function
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    framework: str = FRAMEWORK

    def answers(self, inputs: Tensors) -> Mapping[str, Array]:
        import jax

        found = jax.tree.leaves(self.function(*[inputs[name] for name in self.inputs]))
        return {name: np.asarray(value) for name, value in zip(self.outputs, found, strict=True)}


def convert(found: Found, request: PackRequest) -> Converted:
    """The function as ONNX; raises Invalid without an example, ConversionFailed."""
    _require_function(found.value)
    inputs = inputs_of(found.value, found.example, request.interface)
    need("jax2onnx", extra=EXTRA)
    function = _pure(found.value)
    outputs = _output_names(function, inputs)
    model, cures = _converted(function, inputs, outputs)
    original = JaxOriginal(function, tuple(given.name for given in inputs), outputs)
    return Converted(model, original, data=given_rows(model, found, request), packages=PACKAGES, cures=cures)


def _require_function(value: Any) -> None:
    if type(value).__name__ == "Exported":
        raise Invalid(
            "this is an artefact of jax.export: it holds StableHLO, which nothing converts to ONNX",
            where="the model",
            do="return the function that it was exported from, and an example of its data",
        )
    if not callable(value):
        raise Invalid(f"this is a {type(value).__name__}, which cannot be called", where="the model")


def inputs_of(value: Any, example: Any, interface: Mapping[str, Sequence[int | str]]) -> tuple[Input, ...]:
    """The inputs as the example shows them: the first dimension is the batch, the others are as large as there.

    `interface` has other sizes by input.  Raises Invalid without an example.
    """
    if example is None:
        raise Invalid(
            "JAX knows the shapes of its data only when it sees some",
            where="the model",
            do="return an example beside it: return model, np.zeros((1, 28, 28, 1), np.float32)",
        )
    arrays = _by_name(value, example)
    return tuple(_input(name, array, interface.get(name)) for name, array in arrays.items())


def _by_name(value: Any, example: Any) -> dict[str, Array]:
    """Arrays in the order in which the function takes them."""
    if hasattr(example, "keys"):
        named = {str(name): np.asarray(example[name]) for name in example.keys()}  # noqa: SIM118 - a DataFrame too
        return named if len(named) == 1 else _in_order(named, _parameters(value))
    arrays = [np.asarray(array) for array in (example if isinstance(example, tuple) else (example,))]
    names = _parameters(value)
    if len(arrays) == 1 or len(names) < len(arrays):
        names = ["input"] if len(arrays) == 1 else [f"input_{index}" for index in range(len(arrays))]
    return dict(zip(names, arrays, strict=False))


def _in_order(arrays: Mapping[str, Array], parameters: Sequence[str]) -> dict[str, Array]:
    """Several arrays are handed over by place: raises Invalid for a name whose place nobody knows."""
    taken = parameters[: len(arrays)]
    unknown = [f"'{name}', which is none of them" for name in arrays if name not in parameters]
    missing = [f"nothing for '{name}'" for name in taken if name not in arrays]
    if wrong := unknown + missing:
        raise Invalid(
            f"the function takes {', '.join(parameters) or 'no arguments by name'}, and there is {wrong[0]}",
            where="the example",
            do="name the arrays like its parameters, from the first on, or give a tuple of them",
        )
    return {name: arrays[name] for name in taken}


def _parameters(value: Any) -> list[str]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return []
    return [parameter.name for parameter in parameters if parameter.kind in positional]


def _input(name: str, array: Array, asked: Sequence[int | str] | None) -> Input:
    if asked is not None and len(asked) != array.ndim:
        raise Invalid(f"'{name}' has {array.ndim} dimensions in the example, not {len(asked)}", where="--interface")
    shape = tuple(asked) if asked is not None else (BATCH, *array.shape[1:])
    narrow = {"float64": np.float32, "int64": np.int32}  # as JAX takes them unless told otherwise
    return Input(name, shape, narrow.get(array.dtype.name, array.dtype))


def _pure(value: Any) -> Function:
    """A module as a function that changes nothing outside itself, as tracing wants it."""
    try:
        from flax import nnx
    except ModuleNotFoundError:
        return value  # type: ignore[no-any-return]
    if not isinstance(value, nnx.Module):
        return value  # type: ignore[no-any-return]
    module = nnx.clone(value)
    module.eval()  # dropout off, the averages of batch normalization used

    def call(*arrays: Any) -> Any:
        return nnx.clone(module)(*arrays)  # its random streams are counted in the copy

    return call


def _output_names(function: Function, inputs: Sequence[Input]) -> tuple[str, ...]:
    """The keys of a dictionary that the function answers with, else `output`, numbered if there are several."""
    import jax

    try:
        answer = jax.eval_shape(function, *_specs(inputs))
    except Exception as error:
        raise Invalid(
            f"it does not take its example with dimensions of any size: {_first_line(error)}",
            where="the model",
            do="give an example of real shapes and types; sizes that are fixed: --interface INPUT=SIZE,…",
        ) from error
    leaves = jax.tree.leaves(answer)
    if isinstance(answer, dict) and len(answer) == len(leaves):
        return tuple(str(name) for name in sorted(answer))
    return ("output",) if len(leaves) == 1 else tuple(f"output_{index}" for index in range(len(leaves)))


def _specs(inputs: Sequence[Input]) -> list[Any]:
    """The inputs as JAX describes arrays, dimensions of one name being equal."""
    import jax
    from jax import export

    scope = export.SymbolicScope()
    return [
        jax.ShapeDtypeStruct(export.symbolic_shape(",".join(map(str, given.shape)), scope=scope), given.dtype)
        for given in inputs
    ]


def _converted(
    function: Function, inputs: Sequence[Input], outputs: Sequence[str]
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """By its layers, for which jax2onnx has the better graphs; else by what JAX makes of them."""
    specs = _specs(inputs)
    try:
        with _pools_by_keyword() as named:
            return _to_onnx(named(function), specs, inputs, outputs), ()
    except Exception as first:  # noqa: BLE001 - jax2onnx, Flax and JAX raise whatever comes up
        try:
            return _to_onnx(_traced(function, specs), specs, inputs, outputs), (TRACED,)
        except Exception:  # noqa: BLE001 - the first error names the layer
            raise _failed(first) from None


def _to_onnx(
    function: Function, specs: Sequence[Any], inputs: Sequence[Input], outputs: Sequence[str]
) -> onnx.ModelProto:
    import jax2onnx

    names = [given.name for given in inputs]
    model = jax2onnx.to_onnx(function, specs, opset=OPSET, input_names=names, output_names=list(outputs))
    assert isinstance(model, onnx.ModelProto)
    return model


def _traced(function: Function, specs: Sequence[Any]) -> Function:
    """What JAX makes of the function, without what its answer does not need (such as unused random numbers)."""
    import jax
    from jax.extend import core
    from jax.interpreters import partial_eval

    closed = jax.make_jaxpr(function)(*specs)
    needed, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    traced: Function = core.jaxpr_as_fun(core.ClosedJaxpr(needed, closed.consts))
    return traced


@contextlib.contextmanager
def _pools_by_keyword() -> Iterator[Callable[[Function], Function]]:
    """jax2onnx puts its own pools in the place of Flax's while it traces, and those take keywords only."""
    try:
        from flax import linen, nnx
    except ModuleNotFoundError:
        yield lambda function: function
        return
    places = [(module, name) for module in (linen, nnx) for name in POOLS if hasattr(module, name)]
    signatures = {place: inspect.signature(getattr(*place)) for place in places}

    def named(function: Function) -> Function:
        def call(*arrays: Any) -> Any:
            with contextlib.ExitStack() as stack:
                for place, signature in signatures.items():
                    stack.enter_context(_replaced(*place, _by_keyword(getattr(*place), signature)))
                return function(*arrays)

        return call

    yield named


def _by_keyword(pool: Function, signature: inspect.Signature) -> Function:
    def call(*arguments: Any, **keywords: Any) -> Any:
        first, *rest = signature.bind(*arguments, **keywords).arguments.items()
        return pool(first[1], **dict(rest))

    return call


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _failed(error: Exception) -> ConversionFailed:
    return ConversionFailed(
        f"jax2onnx cannot convert it: {_first_line(error)}",
        where="the model",
        do="write that part by other operations, and call pools as nnx.max_pool, not by a name of their own",
    )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
