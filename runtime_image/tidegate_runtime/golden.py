"""The golden check on what is really loaded: the same session, device and threads that will answer users."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path

from tidegate.bundle.errors import GoldenMismatch
from tidegate.bundle.golden import Difference, GoldenSample, compare_outputs
from tidegate_runtime.errors import DeviceFull, DeviceLost
from tidegate_runtime.gpu.faults import before_requests
from tidegate_runtime.interfaces import Array, Lane
from tidegate_runtime.ort_errors import sentence
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import Settings

LOG = logging.getLogger(__name__)
SKIP, REPORT = "Skip", "Report"


def prove(model: OrtModel, settings: Settings, lane: Lane) -> None:
    """Run every golden sample and compare; raises GoldenMismatch unless `settings.golden` says otherwise."""
    if settings.golden == SKIP:
        return
    for name, sample in named_samples(model):
        differences = run_sample(model, name, sample, lane, settings.request_timeout)
        for difference in differences:
            model.worst[difference.output] = max(model.worst.get(difference.output, 0.0), difference.worst)
        try:
            require_match(name, differences)
        except GoldenMismatch as error:
            if settings.golden != REPORT:
                raise
            LOG.warning("golden mismatch, only reported: %s", error)


def named_samples(model: OrtModel) -> list[tuple[str, GoldenSample]]:
    """The samples with the names of their files."""
    golden = model.bundle.manifest.golden
    return list(zip(golden.files if golden else (), model.samples, strict=True))


def run_sample(model: OrtModel, name: str, sample: GoldenSample, lane: Lane, allowed: float) -> list[Difference]:
    """Run one sample under a deadline and compare each output; a run that fails is a mismatch too.

    Raises DeviceUnavailable where the GPU failed and not the model.
    """
    lane.begin(time.monotonic() + allowed)
    try:
        outputs = model.run(dict(sample.inputs), lane)
    except (DeviceFull, DeviceLost) as found:
        raise before_requests(found) from None
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors share no base class
        text = sentence(error, model.bundle.path / Path(model.bundle.manifest.model.file))
        raise GoldenMismatch(f"the run failed: {text}", where=name) from None
    finally:
        lane.end()
    actual: Mapping[str, Array] = {spec.name: array for spec, array in zip(model.outputs, outputs, strict=True)}
    manifest = model.bundle.manifest
    rules = manifest.golden.tolerance if manifest.golden else ()
    return compare_outputs(sample, actual, manifest.interface, rules, model.device)


def require_match(name: str, differences: list[Difference]) -> None:
    """Raise GoldenMismatch naming the output, the sample and the worst difference; scores tell more than labels."""
    wrong = sorted((difference for difference in differences if not difference.ok), key=lambda d: math.isinf(d.excess))
    if wrong:
        raise GoldenMismatch(
            f"output '{wrong[0].output}' of sample {name}: {wrong[0].message}, worst difference {wrong[0].worst:.4g}",
            do="the weights, the graph or this device compute something else than what was packed",
        )
