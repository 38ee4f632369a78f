"""TensorFlow's own formats: SavedModel folders (those of TensorFlow Hub too) and frozen graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tidegate.author.frameworks import Converted, Found
from tidegate.author.frameworks.given import given_rows
from tidegate.author.frameworks.tf_function import (
    PACKAGES,
    Served,
    TensorFlowOriginal,
    quiet,
    tensorflow,
    to_onnx,
    traced,
)
from tidegate.author.frameworks.tf_names import plain_names
from tidegate.author.request import PackRequest
from tidegate.errors import Invalid

FRAMEWORK = "TensorFlow"
SIGNATURES = ("serving_default", "default", "serve", "predict")  # of many, the one that is meant
UNFROZEN = frozenset({"VariableV2", "Variable", "VarHandleOp"})
NO_ANSWER = frozenset({"Const", "NoOp", "Placeholder", "PlaceholderWithDefault", "Assert"})


def convert(found: Found, request: PackRequest) -> Converted:
    """The model as ONNX; raises Invalid for what cannot be read, ConversionFailed."""
    tf = tensorflow()
    if found.kind == "frozen-graph":
        assert found.path is not None
        served = _frozen(tf, found.path)
    else:
        served = _saved_model(tf, found.value if found.path is None else _load(tf, found.path), found.path)
    model, cures = to_onnx(served, FRAMEWORK)
    original = TensorFlowOriginal(FRAMEWORK, served)
    return Converted(model, original, data=given_rows(model, found, request), packages=PACKAGES, cures=cures)


def _load(tf: Any, path: Path) -> Any:
    try:
        with quiet():
            return tf.saved_model.load(str(path))
    except Exception as error:  # noqa: BLE001 - protobuf's, TensorFlow's and Python's errors alike
        raise _damaged("SavedModel", path, error) from None


def _damaged(what: str, path: Path, error: Exception) -> Invalid:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return Invalid(
        f"this {what} is damaged or incomplete: {reason}", where=str(path), do="copy it again", reason="ModelInvalid"
    )


def _saved_model(tf: Any, loaded: Any, path: Path | None) -> Served:
    where = str(path) if path else "the model"
    signatures = getattr(loaded, "signatures", {})
    chosen = [name for name in SIGNATURES if name in signatures] or sorted(signatures)
    if len(chosen) > 1 and chosen[0] not in SIGNATURES:
        raise Invalid(
            f"it has the signatures {', '.join(chosen)[:200]}, none of them called serving_default",
            where=where,
            do="save it again with the one to be served: tf.saved_model.save(model, path, signatures=function)",
        )
    if chosen:
        return _signature(loaded, signatures[chosen[0]])
    traces = getattr(loaded.__call__, "concrete_functions", ()) if callable(loaded) else ()
    calls = [trace.structured_input_signature for trace in traces]
    if not calls:
        raise Invalid("it holds no function that could be served", where=where, do="save it with signatures=function")
    return _call(tf, loaded, next((call for call in calls if True not in tf.nest.flatten(call)), calls[0]))


def _signature(loaded: Any, function: Any) -> Served:
    _, keywords = function.structured_input_signature
    outputs = sorted(function.structured_outputs)

    def call(*tensors: Any) -> list[Any]:
        answer = function(**dict(zip(sorted(keywords), tensors, strict=True)))
        return [answer[name] for name in outputs]

    specs = [keywords[name] for name in sorted(keywords)]
    names = plain_names(sorted(keywords), "input"), plain_names(outputs, "output")
    return Served(loaded, traced(call, specs), *names, call)


def _call(tf: Any, loaded: Any, signature: Any) -> Served:
    """A model without signatures, as on TensorFlow Hub: called as one of its traces was, not for training."""
    leaves = tf.nest.flatten(signature)
    specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]

    def call(*tensors: Any) -> list[Any]:
        given = iter(tensors)
        filled = [next(given) if isinstance(leaf, tf.TensorSpec) else leaf for leaf in leaves]
        arguments, keywords = tf.nest.pack_sequence_as(signature, filled)
        return list(tf.nest.flatten(loaded(*arguments, **keywords)))

    function = traced(call, specs)
    names = plain_names([spec.name or "" for spec in specs], "input")
    outputs = plain_names([""] * len(function.outputs), "output")
    return Served(loaded, function, names, outputs, call)


def _frozen(tf: Any, path: Path) -> Served:
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError has no public name here
        raise _damaged("TensorFlow graph", path, error) from None
    if any(node.op in UNFROZEN for node in graph.node):
        raise Invalid(
            "this graph is not frozen: its variables have no values in it",
            where=str(path),
            do="freeze it, or give the SavedModel folder that it belongs to",
        )
    inputs, outputs = graph_ends(graph.node)
    if not inputs or not outputs:
        raise Invalid("this TensorFlow graph has no placeholder to feed, or no answer", where=str(path))
    return _pruned(tf, graph, inputs, outputs)


def graph_ends(nodes: Sequence[Any]) -> tuple[list[str], list[str]]:
    """The names of a graph's placeholders, and of the nodes whose answer no other node takes."""
    inputs = [node.name for node in nodes if node.op == "Placeholder"]
    used = {name.lstrip("^").partition(":")[0] for node in nodes for name in node.input}
    return inputs, [node.name for node in nodes if node.name not in used and node.op not in NO_ANSWER]


def _pruned(tf: Any, graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Served:
    with quiet():
        wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        feeds = [wrapped.graph.get_tensor_by_name(f"{name}:0") for name in inputs]
        fetches = [tensor for name in outputs for tensor in _all_outputs(wrapped.graph, name)]
        function = wrapped.prune(feeds, fetches)

    def call(*tensors: Any) -> list[Any]:
        return list(function(*tensors))

    names = [tensor.op.name for tensor in fetches]
    return Served(wrapped, function, plain_names(inputs, "input"), plain_names(names, "output"), call)


def _all_outputs(graph: Any, name: str) -> Iterator[Any]:
    yield from graph.get_operation_by_name(name).outputs
