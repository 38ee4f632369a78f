"""Functions in ONNX Script; run where onnxscript is (`make frameworks`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.frameworks.case import Case

FRAMEWORK = "onnxscript"
FUNCTIONS = Path(__file__).with_name("onnxscript_functions.py")
KINDS = {
    "mlp": "MLP",
    "cnn": "CNN",
    "recurrent": "GRU",
    "attention": "attention",
    "prepared": "preparation of pictures",
    "two_heads": "two outputs",
}


def cases() -> list[Case]:
    return [
        *(Case(FRAMEWORK, "onnxscript function", kind, _named(name)) for name, kind in KINDS.items()),
        Case(
            FRAMEWORK, "onnxscript function", "an argument without a type", _named("untyped"), refused="'x' has no type"
        ),
    ]


def _named(name: str) -> Callable[[Path], str]:
    return lambda folder: f"{FUNCTIONS}:{name}"
