"""The ONNX project's own backend test cases: each as a bundle, and what ONNX Runtime alone makes of it.

A case is an operator (or a small model) with its inputs.  What counts is that a model served over any protocol computes
what ONNX Runtime alone computes, to the last bit; whether that is what ONNX says is ONNX Runtime's business.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper
from tests.runtime import small_bundles as small
from tests.runtime.tensor_forms import (
    HALVES,
    Form,
    Target,
    Tensor,
    Tensors,
    over_binary,
    over_grpc_raw,
    over_grpc_typed,
    over_json,
    without_infinity,
)

from tidegate.author.describe import interface_of, model_facts
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.golden import GoldenSample, write_sample
from tidegate.bundle.manifest import Golden, Interface, Manifest, read_bundle_dir
from tidegate.bundle.preflight import preflight_model
from tidegate.bundle.write import write_manifest
from tidegate_runtime import bfloat
from tidegate_runtime.ort import onnxruntime

FORMS: Final[tuple[Form, ...]] = (over_json, over_binary, over_grpc_raw, over_grpc_typed)
RUNS: Final = 3  # the first two runs of some random operators are the same
SAMPLE: Final = "golden/0.npz"
# Why a case is left out, as docs/protocols.md says it.
TYPE, RUNTIME, RANDOM = "a type that no request can carry", "ONNX Runtime does not run it", "random"


class LeftOut(Exception):
    """There is nothing to compare; the text is one of the reasons above."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model, and inputs in the order of the graph."""

    name: str
    model: ModelProto
    inputs: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """A case that can be served, and what ONNX Runtime alone makes of it."""

    case: Case
    interface: Interface
    inputs: Tensors
    outputs: Tensors


def cases() -> Iterator[Case]:
    """All node cases and simple models."""
    with warnings.catch_warnings():  # the cases overflow and divide by zero on purpose
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import model, node
        from onnx.backend.test.case.utils import import_recursive

        found = list(node.collect_testcases())
        import_recursive(model)
        found += model._SimpleModelTestCases
    for case in found:
        assert case.model is not None
        for index, (inputs, _) in enumerate(case.data_sets or ()):
            yield Case(f"{case.name}{index or ''}", case.model, tuple(inputs))


def expected(case: Case) -> Expected:
    """What a plain session gives; raises LeftOut."""
    try:
        interface = interface_of(case.model)
    except ModelInvalid:
        raise LeftOut(TYPE) from None
    types = {spec.name: spec.element_type for spec in interface.inputs}
    inputs = {
        name: Tensor(types[name], _plain(types[name], array)) for name, array in zip(types, case.inputs, strict=True)
    }
    try:
        run = _plain_session(case.model, interface)
        found = [run(inputs) for _ in range(RUNS)]
    except Exception:  # noqa: BLE001 - ONNX Runtime's own errors share no base class
        raise LeftOut(RUNTIME) from None
    if any(bits(outputs) != bits(found[0]) for outputs in found):
        raise LeftOut(RANDOM)
    return Expected(case, interface, inputs, found[0])


def write_bundle(known: Expected, folder: Path) -> Path:
    """The case as `tidegate pack` would write it, with its inputs as the golden sample."""
    (folder / "golden").mkdir(parents=True)
    onnx.save(known.case.model, folder / "model.onnx")
    inputs, outputs = ({name: tensor.array for name, tensor in side.items()} for side in (known.inputs, known.outputs))
    write_sample(GoldenSample(inputs, outputs), folder / SAMPLE)
    files = tuple(small.entry(folder, path) for path in ("model.onnx", SAMPLE))
    model = model_facts(known.case.model, "model.onnx")
    write_manifest(Manifest("fraud", "v1", model, known.interface, files, golden=Golden((SAMPLE,))), folder)
    preflight_model(read_bundle_dir(folder))
    return folder


def differences(known: Expected, target: Target) -> list[str]:
    """Where an answer in some form is not the plain session's."""
    found = []
    for form in FORMS:
        if carries(form, known):
            outputs = known.outputs
            if form is over_json:
                outputs = {name: without_infinity(tensor) for name, tensor in outputs.items()}
            if (answered := bits(form(target, known.inputs))) != bits(outputs):
                found.append(f"{known.case.name} {form.__name__}: {answered!r:.200}, not {bits(outputs)!r:.200}")
    return found


def carries(form: Form, known: Expected) -> bool:
    """JSON has no half floats, and no NaN or infinity in requests; typed gRPC has no half floats in requests."""
    inputs, outputs = known.inputs.values(), known.outputs.values()
    if form is over_json:
        return all(tensor.finite for tensor in inputs) and not _halves(inputs) and not _halves(outputs)
    return form is not over_grpc_typed or not _halves(inputs)


def bits(tensors: Tensors) -> dict[str, tuple[str, list[int], bytes]]:
    return {name: tensor.bits for name, tensor in tensors.items()}


def _halves(tensors: Any) -> bool:
    return any(tensor.datatype in HALVES for tensor in tensors)


def _plain(datatype: str, array: Any) -> Any:
    """The case's own array in the types that tensors have here."""
    array = numpy_helper.to_array(array) if isinstance(array, TensorProto) else np.asarray(array)
    if datatype == "BF16":
        return array.view(np.uint16)
    if datatype == "BYTES":
        texts = np.empty(array.size, object)
        texts[:] = [text.decode() if isinstance(text, bytes) else str(text) for text in array.ravel()]
        return texts.reshape(array.shape)
    return array


def _plain_session(model: ModelProto, interface: Interface) -> Callable[[Tensors], Tensors]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(model.SerializeToString(), options)
    # numpy has no BF16: such a model is run as the server does it.
    has_bf16 = any(spec.element_type == "BF16" for spec in (*interface.inputs, *interface.outputs))
    call = bfloat.runner(plain, interface) if has_bf16 else plain.run
    types = {spec.name: spec.element_type for spec in interface.outputs}

    def run(inputs: Tensors) -> Tensors:
        found = call(list(types), {name: tensor.array for name, tensor in inputs.items()}, None)
        return {name: Tensor(types[name], array) for name, array in zip(types, found, strict=True)}

    return run
