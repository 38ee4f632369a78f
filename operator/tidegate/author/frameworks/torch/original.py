"""A PyTorch model as its own framework runs it: arrays in, arrays out, by the names of the ONNX model's outputs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.author.session import Array, Tensors
from tidegate.errors import Invalid

FRAMEWORK = "PyTorch"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what torch prints, warns and logs for its own developers."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


@dataclass(frozen=True, slots=True)
class Module:
    """Something of torch that can be called; `positional` calls it by order, not by the names of its arguments."""

    call: Callable[..., Any]
    positional: bool = False
    kept: Any = None  # lives as long as this: the folder of the weights

    def run(self, example: Tensors) -> dict[str, Any]:
        """Its outputs by name; raises what torch raises, and Invalid for what is no tensor."""
        import torch

        tensors = {name: torch.from_numpy(np.array(array)) for name, array in example.items()}
        with torch.inference_mode(), quiet():
            answer = self.call(*tensors.values()) if self.positional else self.call(**tensors)
        return named_outputs(answer)


@dataclass(frozen=True, slots=True)
class Original:
    """What the ONNX model is compared with; `outputs` are its names in the order of the module's."""

    module: Module
    outputs: tuple[str, ...]
    framework: str = FRAMEWORK

    def answers(self, inputs: Tensors) -> Mapping[str, Array]:
        """The module's own answers, by output name; raises what torch raises for sizes that it does not take."""
        found = self.module.run(inputs)
        return {name: _array(tensor) for name, tensor in zip(self.outputs, found.values(), strict=True)}


def named_outputs(answer: Any) -> dict[str, Any]:
    """The tensors of an answer in their order: by key in a dictionary, by place in a tuple, alone as `output`."""
    import torch
    from torch.utils import _pytree

    found: dict[str, Any] = {}
    for path, value in _pytree.tree_flatten_with_path(answer)[0]:
        if value is None:
            continue
        name = "_".join(_key(part) for part in path) or "output"
        if not isinstance(value, torch.Tensor):
            raise Invalid(
                f"forward() gives a {type(value).__name__} ('{name}') beside its tensors", do="return tensors only"
            )
        found[name] = value
    return found


def _key(part: Any) -> str:
    """One step into a nested answer, as a word."""
    for attribute in ("key", "name"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return f"output_{part.idx}"


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())
