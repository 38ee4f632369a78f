"""What torch's errors mean, in one sentence each.  Needs no torch: works on the texts of its errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\w+)\n\s+(\S[^\n]*)')
PLACE = re.compile(r"\(([^()\s]+\.py):(\d+) in (\w+)\)")
UNSUPPORTED = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'")
OLDER_UNSUPPORTED = re.compile(r"operator '([\w:]+)' to ONNX opset version \d+ is not supported")
DICTIONARY = "prim::DictConstruct"
NODE = re.compile(r"translating node %(\w+)")
CALL = re.compile(r"target=torch\.ops\.([\w.]+?)(?:\.default)?\]")
FIRST_CAUSE = re.compile(r"## Exception summary\s+<class '[\w.]+'>: ([^\n]+)")
NOT_PLAIN = re.compile(r"GLOBAL ([\w.]+)")
COLOUR = re.compile(r"\x1b\[\d+m")
LIBRARY = re.compile(r"-packages/|^torch/|^<|_export/")  # not the user's own code

# Operator -> the place of the argument that says "training" among its arguments.
TRAINING_ARGUMENT: Mapping[str, int] = {
    "aten.dropout.default": 2,
    "aten.alpha_dropout.default": 2,
    "aten.feature_dropout.default": 2,
    "aten.feature_alpha_dropout.default": 2,
    "aten.native_dropout.default": 2,
    "aten.batch_norm.default": 5,
    "aten.rrelu.default": 3,
}

DECIDES = "ONNX has one path: use torch.where, or torch.cond for whole branches"

REWRITE = "write that part with other operators: the weights stay as they are"


@dataclass(frozen=True, slots=True)
class Sentence:
    """What went wrong, and what to do about it."""

    what: str
    do: str


@dataclass(frozen=True, slots=True)
class Step:
    """One call in an exported program: the operator, its arguments, the layer that it belongs to."""

    operator: str
    arguments: Sequence[Any] = field(default=())
    layer: str = ""


def of_tracing(text: str) -> Sentence:
    """Why torch could not follow forward()."""
    if "data-dependent" in text:
        return Sentence(f"forward() depends on a value that is only known when it runs{_place(text)}", DECIDES)
    return Sentence(
        f"torch cannot follow forward(){_place(text)}: {first_line(text)}",
        "use torch functions only, no NumPy and no Python values taken from tensors",
    )


def failing_node(text: str) -> str:
    """The node of the program that the exporter failed at; "" when the text does not say."""
    found = NODE.search(text)
    return found[1] if found else ""


def of_conversion(text: str, layer: str) -> Sentence:
    """Why the program has no ONNX form; `layer` is the one that the failing node belongs to."""
    text = COLOUR.sub("", text)
    where = f" in layer {layer}" if layer else ""
    if DICTIONARY in text:
        return Sentence(
            "forward() returns a dictionary, which TorchScript cannot give to ONNX", "return a tuple of tensors"
        )
    if found := UNSUPPORTED.search(text) or OLDER_UNSUPPORTED.search(text):
        return Sentence(f"ONNX has no form of {found[1]}{where}", REWRITE)
    call, cause = CALL.search(text), FIRST_CAUSE.search(text)
    what = call[1] if call else "the program"
    reason = first_line(cause[1] if cause else text)
    return Sentence(f"torch cannot write {what}{where} as ONNX: {reason}", REWRITE)


def of_weights(text: str) -> str:
    """Why a file has no plain weights in it, without torch's advice to read it all the same."""
    if found := NOT_PLAIN.search(text):
        return f"reading it would have to run code: it holds a {found[1]}"
    return f"it holds no plain tensors: {first_line(text)}"


def training_step(steps: Iterable[Step]) -> Step | None:
    """The first step that computes as in training, whatever mode the module is in: F.dropout(x) does so by default."""
    for step in steps:
        place = TRAINING_ARGUMENT.get(step.operator)
        if place is not None and len(step.arguments) > place and step.arguments[place] is True:
            return step
    return None


def first_line(text: str) -> str:
    """The first line that says something, at most 300 characters of it."""
    lines = (line.partition("[Caused by")[0].strip(" .") for line in COLOUR.sub("", text).splitlines())
    return next((line for line in lines if line), "it gives no reason")[:300]


def _place(text: str) -> str:
    """Where in the user's code: " (model.py:6: if x.sum() > 0:)"."""
    for path, line, _, code in reversed(FRAME.findall(text)):
        if not LIBRARY.search(path):
            return f" ({path.rpartition('/')[2]}:{line}: {code[:80]})"
    for path, line, _ in PLACE.findall(text):
        if not LIBRARY.search(path):
            return f" ({path.rpartition('/')[2]}:{line})"
    return ""
