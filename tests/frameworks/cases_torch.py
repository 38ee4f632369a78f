"""PyTorch models of every kind in every format, and what must be refused; run where torch is (`make frameworks`)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.frameworks.case import Case

FRAMEWORK = "torch"
MODELS = Path(__file__).with_name("torch_models.py")
KINDS = {
    "mlp": "MLP",
    "cnn": "CNN",
    "recurrent": "bidirectional LSTM",
    "tokens": "embedding, GRU",
    "attention": "attention with a mask",
    "transformer": "transformer encoder",
    "tabular": "tabular",
}
TRUSTED = {"trust_pickle": True}
SCRIPTED = (
    "mlp",
    "cnn",
    "recurrent",
    "tokens",
    "attention",
    "tabular",
)  # torch's encoder layers are fused in TorchScript


def cases() -> list[Case]:
    return [
        *(Case(FRAMEWORK, "module:factory", kind, _factory(name)) for name, kind in KINDS.items()),
        *(Case(FRAMEWORK, ".pt2", kind, _exported(name), options=TRUSTED) for name, kind in KINDS.items()),
        *(Case(FRAMEWORK, "TorchScript .pt", KINDS[name], _scripted(name), data="data.npz") for name in SCRIPTED),
        *_with_weights(),
        *_refused(),
    ]


def _with_weights() -> list[Case]:
    formats = {"state_dict": _state_dict, "safetensors": _safetensors}
    return [
        Case(FRAMEWORK, f"module:factory, {name}", KINDS[model], save(model), options={"weights": "weights"})
        for name, save in formats.items()
        for model in ("mlp", "cnn", "recurrent", "attention", "tabular")
    ]


def _refused() -> list[Case]:
    refused = {
        "training mode": ("training", "training mode"),
        "one layer in training mode": ("half_training", "layer 1 is in training mode"),
        "F.dropout(x) in forward()": ("functional_dropout", "dropout computes as in training"),
        "if by a value": ("decides", "only known when it runs (torch_surprises.py:"),
        "NumPy in forward()": ("through_numpy", "torch cannot follow forward()"),
        "operator without an ONNX form": ("singular_values", "aten._linalg_svd in layer head (Head)"),
        "no example": ("without_example", "no example of what the model takes"),
        "an example that does not fit": ("misfit", "does not take its example (input [4, 9])"),
        "a number beside tensors": ("counted", "gives a int"),
    }
    weights = {
        "weights of another model": ("another", "there is nothing for '0.weight'"),
        "weights of another width": ("wider", "has the shape"),
        "a pickle as weights": ("pickled", "would have to run code: it holds a pathlib"),
    }
    return [
        *(
            Case(FRAMEWORK, "module:factory", what, _surprise(name), refused=re.escape(words))
            for what, (name, words) in refused.items()
        ),
        *(
            Case(
                FRAMEWORK,
                "module:factory, state_dict",
                what,
                _bad_weights(name),
                options={"weights": "weights"},
                refused=re.escape(words),
            )
            for what, (name, words) in weights.items()
        ),
        Case(FRAMEWORK, "state_dict", "alone", _alone, refused="weights without their model"),
        Case(FRAMEWORK, ".pt", "a pickled module", _pickled, refused="reading it runs whatever code"),
        Case(FRAMEWORK, "TorchScript .pt", "training mode", _training_script, refused="in training mode"),
        Case(FRAMEWORK, "TorchScript .pt", "a dictionary", _scripted_dictionary, "data.npz", refused="a tuple of"),
        Case(FRAMEWORK, ".pt2", "a bomb, not trusted", _bomb, refused="PickleRefused.*--trust-pickle"),
        Case(FRAMEWORK, ".pt2", "training mode", _training_program, options=TRUSTED, refused="computes as in training"),
        Case(FRAMEWORK, ".pt2", "of another torch", _other_version, options=TRUSTED, refused="saved by torch 1.0.0"),
        Case(FRAMEWORK, ".pt2", "cut off", _truncated, refused="damaged zip archive"),
    ]


def _models() -> Any:
    from tests.frameworks import torch_models

    return torch_models


def _built(name: str) -> tuple[Any, dict[str, Any]]:
    """A model and its example by the names of its arguments."""
    import inspect

    model, example = getattr(_models(), name)()
    if isinstance(example, dict):
        return model, example
    parts = example if isinstance(example, tuple) else (example,)
    return model, dict(zip(inspect.signature(model.forward).parameters, parts, strict=True))


def _factory(name: str) -> Callable[[Path], str]:
    return lambda folder: f"{MODELS}:{name}"


def _surprise(name: str) -> Callable[[Path], str]:
    return lambda folder: f"{MODELS.with_name('torch_surprises.py')}:{name}"


def _exported(name: str) -> Callable[[Path], str]:
    """Exported with an open batch, and an open length where there is one that torch can leave open."""

    def make(folder: Path) -> str:
        import torch

        model, example = _built(name)
        auto = torch.export.Dim.AUTO
        sequence = name in ("attention", "transformer")
        shapes = {key: {0: auto, 1: auto} if sequence else {0: auto} for key in example}
        program = torch.export.export(model, (), example, dynamic_shapes=shapes)
        torch.export.save(program, folder / "model.pt2")
        return str(folder / "model.pt2")

    return make


def _scripted(name: str) -> Callable[[Path], str]:
    """Compiled, or traced where that cannot be; without the dictionary, which it cannot return to ONNX."""

    def make(folder: Path) -> str:
        import numpy as np
        import torch

        model, example = _built(name)
        if name == "attention":
            compiled = torch.jit.trace(_models().Listed(model), tuple(example.values()))
        else:
            compiled = torch.jit.script(model)
        compiled.save(str(folder / "model.pt"))
        np.savez(folder / "data.npz", **{key: value.numpy().repeat(8, axis=0) for key, value in example.items()})
        return str(folder / "model.pt")

    return make


def _state_dict(name: str) -> Callable[[Path], str]:
    """As DataParallel names the keys."""

    def make(folder: Path) -> str:
        import torch

        model, _ = _built(name)
        torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, folder / "weights")
        return f"{MODELS}:{name}"

    return make


def _safetensors(name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        from safetensors.torch import save_file

        model, _ = _built(name)
        save_file(model.state_dict(), folder / "weights")
        return f"{MODELS}:{name}"

    return make


def _bad_weights(which: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        import torch

        wrong: dict[str, Any] = {
            "another": _built("recurrent")[0].state_dict,
            "wider": lambda: torch.nn.Sequential(torch.nn.Linear(12, 64), *_built("mlp")[0][1:]).state_dict(),
            "pickled": lambda: {"weights": Path()},
        }
        torch.save(wrong[which](), folder / "weights")
        return f"{MODELS}:mlp"

    return make


def _alone(folder: Path) -> str:
    import torch

    torch.save(_built("mlp")[0].state_dict(), folder / "weights.pt")
    return str(folder / "weights.pt")


def _pickled(folder: Path) -> str:
    import torch

    torch.save(_built("mlp")[0], folder / "model.pt")
    return str(folder / "model.pt")


def _training_script(folder: Path) -> str:
    import torch

    torch.jit.script(_built("mlp")[0].train()).save(str(folder / "model.pt"))
    return str(folder / "model.pt")


def _scripted_dictionary(folder: Path) -> str:
    import torch

    model, example = _built("attention")
    _scripted("attention")(folder)
    torch.jit.trace(model, tuple(example.values()), strict=False).save(str(folder / "model.pt"))
    return str(folder / "model.pt")


class _Bomb:
    """Ends the process when it is read."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def _bomb(folder: Path) -> str:
    """A program whose example is not what torch.export saved: torch unpickles it without a look at its classes."""
    import io
    import zipfile

    import torch

    whole, other, example = Path(_exported("mlp")(folder)), folder / "bomb", io.BytesIO()
    torch.save(_Bomb(), example)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            is_example = "sample_inputs/" in name
            target.writestr(name, example.getvalue() if is_example else source.read(name))
    return str(other.replace(whole))


def _training_program(folder: Path) -> str:
    import torch

    model, example = _built("mlp")
    torch.export.save(torch.export.export(model.train(), (), example), folder / "model.pt2")
    return str(folder / "model.pt2")


def _other_version(folder: Path) -> str:
    """As if an older torch had saved it: a schema that this one does not read."""
    import json
    import zipfile

    whole, other = Path(_exported("mlp")(folder)), folder / "other.pt2"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("models/model.json"):
                told = json.loads(content)
                told["torch_version"], told["schema_version"] = "1.0.0", {"major": 1, "minor": 0}
                content = json.dumps(told).encode()
            target.writestr(name, content)
    return str(other)


def _truncated(folder: Path) -> str:
    whole = Path(_exported("mlp")(folder))
    cut = folder / "cut.pt2"
    cut.write_bytes(whole.read_bytes()[:-200])
    return str(cut)
