"""A bundle's model for small machines: ONNX Runtime's own format, with the list of operators that a build for it needs.

The model is optimized once, here, by what holds on every processor; a runtime that is built from the list knows nothing
else and is a few MB.  What was written is loaded again and has to pass the bundle's golden samples.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from tidegate.author.session import ONLY_FATAL, Runner, open_session, reason_of
from tidegate.bundle.errors import ModelInvalid, TooLarge
from tidegate.bundle.golden import Difference, compare_outputs, read_samples, require_match
from tidegate.bundle.manifest import BundleDir, read_bundle_dir
from tidegate.bundle.new_folder import new_folder
from tidegate.errors import Invalid

MODEL = "model.ort"
OPERATORS = "required_operators_and_types.config"
ABOUT = "export.json"
MOST = 2**31 - 1  # bytes; a flatbuffer cannot be longer


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written into `folder`, and how far its answers are from the golden samples, the worst of each output."""

    folder: Path
    bundle: BundleDir
    sha256: str
    bytes: int
    operators: tuple[str, ...]
    samples: int
    outputs: tuple[Difference, ...]


def export_ort(folder: Path, out: Path) -> Exported:
    """Write a verified bundle's model into `out`, which must not exist; GoldenMismatch when it answers otherwise."""
    bundle = read_bundle_dir(folder)
    if bundle.manifest.golden is None:
        raise Invalid("has no golden samples to prove the export by", where=str(folder), do="pack it with some")
    if bundle.manifest.total_bytes > MOST:
        raise TooLarge("is over 2 GiB, more than ONNX Runtime's format can hold", where=str(folder), do="shrink it")
    with new_folder(out) as unfinished:
        _save(bundle, unfinished / MODEL)
        operators = _list_operators(unfinished)
        worst = _prove(bundle, unfinished / MODEL)
        content = (unfinished / MODEL).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        about = {
            "bundle": bundle.digest,
            "name": bundle.manifest.name,
            "version": bundle.manifest.version,
            "sha256": sha256,
            "onnxruntime": onnxruntime.__version__,
        }
        (unfinished / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return Exported(out, bundle, sha256, len(content), operators, len(bundle.manifest.golden.files), worst)


def _save(bundle: BundleDir, target: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ONLY_FATAL
    # Not "all": its layouts are those of this machine's processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    model = bundle.path / bundle.manifest.model.file
    try:
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen types without a common base
        raise ModelInvalid(
            f"cannot be written in ONNX Runtime's format: {reason_of(error)}", where=model.name
        ) from None


def _list_operators(folder: Path) -> tuple[str, ...]:
    """Write the list of operators and types, without the comment that names a folder of this machine."""
    from onnxruntime.tools.ort_format_model.utils import create_config_from_models

    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    target = folder / OPERATORS
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves the model's file to the end
        create_config_from_models([folder / MODEL], target, enable_type_reduction=True)
    lines = [line for line in target.read_text().splitlines() if line and not line.startswith("#")]
    target.write_text("".join(f"{line}\n" for line in lines))
    return tuple(lines)


def _prove(bundle: BundleDir, model: Path) -> tuple[Difference, ...]:
    """Run every golden sample on what was written; the worst difference of each output."""
    manifest = bundle.manifest
    runner = Runner(open_session(model), manifest.interface)
    tolerances = manifest.golden.tolerance if manifest.golden else ()
    worst: dict[str, Difference] = {}
    for number, sample in enumerate(read_samples(bundle)):
        found = compare_outputs(sample, runner.run(sample.inputs), manifest.interface, tolerances)
        require_match(f"{MODEL}, golden sample {number}", found)
        for row in found:
            before = worst.get(row.output)
            worst[row.output] = row if before is None or row.excess >= before.excess else before
    return tuple(worst.values())
