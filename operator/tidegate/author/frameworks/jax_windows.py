"""`lax.reduce_window` by a product, which has no operator in ONNX and which jax2onnx refuses.

The product over a box is that along its last axis of those along the others, and what is padded counts as 1: so one
axis after the other the array is multiplied with itself, moved by each place of the window.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MOST_PLACES = 256  # of one window, along all axes together: each is two nodes of the graph
CALLS = ("jit", "pjit")  # what jax.jit leaves in a trace, by the version of JAX
TOLD = "a product over windows is computed place by place"


def has_products(jaxpr: Any) -> bool:
    """Whether anything in a trace, functions under jax.jit in it included, is such a window."""
    return any(_is_product(step) or has_products(_called(step)) for step in getattr(jaxpr, "eqns", ()))


def without_products(closed: Any) -> Callable[..., Sequence[Any]]:
    """What a trace computes, as a function in which such windows are multiplications."""
    return lambda *arrays: _computed(closed.jaxpr, closed.consts, arrays)


def _computed(jaxpr: Any, consts: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
    """As JAX evaluates a trace, step by step."""
    from jax.extend.core import Literal

    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arrays), strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else known[atom]

    for step in jaxpr.eqns:
        known |= dict(zip(step.outvars, _answers(step, [value(atom) for atom in step.invars]), strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _answers(step: Any, given: Sequence[Any]) -> Sequence[Any]:
    if _is_product(step):
        return [_product(given[0], step.params)]
    if has_products(_called(step)):
        inner = step.params["jaxpr"]
        return _computed(inner.jaxpr, inner.consts, given)
    functions, params = step.primitive.get_bind_params(step.params)
    found = step.primitive.bind(*functions, *given, **params)
    return found if step.primitive.multiple_results else [found]


def _called(step: Any) -> Any:
    """The trace of the function that a step calls, if it does nothing else."""
    return step.params["jaxpr"].jaxpr if step.primitive.name in CALLS else None


def _is_product(step: Any) -> bool:
    if step.primitive.name != "reduce_window" or step.params["consts"]:
        return False
    start = getattr(step.invars[-1], "val", None)
    body = getattr(step.params["jaxpr"], "jaxpr", step.params["jaxpr"])
    return (
        start is not None
        and bool(np.all(np.asarray(start) == 1))
        and [inner.primitive.name for inner in body.eqns] == ["mul"]
        and {id(atom) for atom in body.eqns[0].invars} == {id(atom) for atom in body.invars}
        and list(body.outvars) == list(body.eqns[0].outvars)
        and sum(step.params["window_dimensions"]) <= MOST_PLACES
    )


def _product(array: Any, params: Any) -> Any:
    names = ("window_dimensions", "window_strides", "window_dilation", "padding", "base_dilation")
    for axis, window in enumerate(zip(*(params[name] for name in names), strict=True)):
        if window != (1, 1, 1, (0, 0), 1):
            array = _along(array, axis, window)
    return array


def _along(array: Any, axis: int, window: tuple[int, int, int, tuple[int, int], int]) -> Any:
    """The products along one axis."""
    from jax import lax

    size, stride, dilation, (low, high), holes = window
    reach, one = (size - 1) * dilation, np.ones((), array.dtype)

    def moved(place: int) -> Any:
        """The array as this place of the window meets it, in so many steps as there are windows at a stride of 1.

        By padding of less than nothing, for jax2onnx forgets where a slice of an open length ends.
        """
        edges = [(0, 0, 0)] * array.ndim
        edges[axis] = (low - place, high + place - reach, holes - 1)
        return lax.pad(array, one, edges)

    product = functools.reduce(lax.mul, map(moved, range(0, reach + 1, dilation)))
    return product if stride == 1 else lax.slice_in_dim(product, 0, product.shape[axis], stride, axis)
