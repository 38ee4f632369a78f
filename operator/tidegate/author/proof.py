"""The golden samples of a bundle, from wish to files: made or given, proved repeatable, proved to see damage."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tidegate.author.calibration import Calibrated, calibrate
from tidegate.author.casts import MAX_GIVEN, as_answer, as_sample
from tidegate.author.damage import DamagedModels, weights_of
from tidegate.author.golden import ENOUGH, Chooser, Proof, given_samples, prove, tolerances
from tidegate.author.graph import is_quantized
from tidegate.author.pool import Hints, PoolMaker, pool_rows
from tidegate.author.request import GENERATED, HELDOUT, NONE, GoldenRequest
from tidegate.author.session import Runner, Tensors, rows_of, take
from tidegate.bundle.errors import GoldenInvalid, ModelInvalid
from tidegate.bundle.golden import GoldenSample, read_sample_files, write_sample
from tidegate.bundle.manifest import MAX_GOLDEN, Golden, Tolerance
from tidegate.bundle.numpy_files import read_arrays
from tidegate.errors import Invalid

MAX_SECONDS = 5.0
NAMED = 5  # tensors in a warning


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, and what is known about good inputs; `brought` are requests and answers beside the model."""

    request: GoldenRequest
    hints: Hints
    rows: Tensors | None
    brought: tuple[tuple[Tensors, Tensors], ...] = ()

    @property
    def source(self) -> str:
        """Where the samples come from, in the manifest's words."""
        own = self.request.source in (GENERATED, HELDOUT) and not (self.brought and self.request.source == GENERATED)
        return self.request.source if own else "user"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The manifest's entry (none without samples), and what the proof found."""

    entry: Golden | None
    proof: Proof | None = None
    calibrated: Calibrated | None = None
    samples: int = 0
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For the manifest: the share of damage that the samples notice, and how far the answers move by themselves."""
        if self.proof is None or self.calibrated is None:
            return {}
        found: dict[str, Any] = {
            "share": f"{self.proof.share:.4f}",
            "noticed": self.proof.noticed,
            "tried": self.proof.tried,
        }
        if self.proof.blind:
            found["unnoticed"] = list(self.proof.blind[:64])
        return {"goldenDamage": found, **self.calibrated.document()}


def golden(folder: Path, model: onnx.ModelProto, runner: Runner, wanted: Wanted) -> Outcome:
    """Write golden/*.npz into `folder` and prove them; raises NotRepeatable or GoldenInvalid."""
    if wanted.request.source == NONE:
        return Outcome(None, warnings=["no golden samples: damage to this bundle will only show in its traffic"])
    models = DamagedModels(model, folder, runner.interface)
    damages = list(models.damages())
    rules = tolerances(runner.interface, quantized=is_quantized(model))
    if wanted.source in (GENERATED, HELDOUT):
        inputs = _pool(model, runner, wanted)
        chooser = Chooser(runner.interface, rules, inputs, runner.run_pool(inputs))
        chosen = chooser.requests(models, damages, _count(wanted.request))
        samples = [GoldenSample(request, runner.run(request)) for request in chosen]
    elif wanted.request.source == GENERATED:
        samples = [sample for pair in wanted.brought for sample in given_samples(*pair, runner, rules)]
    else:
        samples = _given(Path(wanted.request.source), runner, rules)
    _require_quick(samples, runner)
    models.release()
    calibrated = calibrate(samples, folder / "model.onnx", runner.interface, rules)
    proof = prove(samples, models, damages, calibrated.rules)
    files = _written(samples, folder, runner)
    entry = Golden(files, (*calibrated.rules, *calibrated.for_devices), wanted.source)  # type: ignore[arg-type]
    notes = [*_notes(wanted.source), *calibrated.notes]
    return Outcome(entry, proof, calibrated, len(samples), _warnings(proof), notes)


def _count(request: GoldenRequest) -> int:
    if not 1 <= request.count <= MAX_GOLDEN:
        raise Invalid(f"{request.count} samples, allowed are 1 to {MAX_GOLDEN}", where="--golden-count")
    return request.count


def _pool(model: onnx.ModelProto, runner: Runner, wanted: Wanted) -> Tensors:
    rows = pool_rows(sum(weight.elements for weight in weights_of(model)), runner.interface)
    if wanted.request.source == HELDOUT:
        if wanted.rows is None:
            raise Invalid("there is no data to take rows from", where="--golden heldout", do="add --data FILE")
        order = np.random.default_rng(wanted.request.seed).permutation(rows_of(wanted.rows))
        return _accepted(take(wanted.rows, order[:rows]), runner)
    return PoolMaker(runner.interface, wanted.hints, wanted.request.seed).running(runner, rows)


def _accepted(rows: Tensors, runner: Runner) -> Tensors:
    """These rows, if the model runs on them: one that knows only the categories it saw refuses hashed ones."""
    try:
        runner.run_pool(rows)
    except ModelInvalid as error:
        raise GoldenInvalid(
            f"the model refuses the rows that would be published ({error.what})",
            where="--golden heldout",
            do="where values are hashed it must take unknown ones; --golden generated publishes no rows",
        ) from None
    return rows


def _given(path: Path, runner: Runner, rules: tuple[Tolerance, ...]) -> list[GoldenSample]:
    """Samples of the user's: an npz with an array per input (and per output, then these must be the answers)."""
    if not path.is_file():
        raise Invalid("no such file", where=str(path), do="--golden takes generated, heldout, none or an npz file")
    try:
        arrays = read_arrays(path, MAX_GIVEN)
    except ValueError as error:
        raise GoldenInvalid(f"cannot be read as npz: {error}", where=str(path)) from None
    interface = runner.interface
    known = {tensor.name: (tensor.element_type, as_answer) for tensor in interface.outputs}
    known |= {tensor.name: (tensor.element_type, as_sample) for tensor in interface.inputs}
    for name in arrays:
        if name not in known:
            raise GoldenInvalid(f"'{name}' is no input or output: they are {', '.join(known)[:200]}", where=str(path))
    for tensor in interface.inputs:
        if tensor.name not in arrays:
            raise GoldenInvalid(f"there is nothing for the input '{tensor.name}'", where=str(path))
    typed = {}
    for name, array in arrays.items():
        element_type, cast = known[name]
        typed[name] = cast(array, element_type, f"{path}: '{name}'")
    inputs = {tensor.name: typed.pop(tensor.name) for tensor in interface.inputs}
    return given_samples(inputs, typed, runner, rules)


def _require_quick(samples: list[GoldenSample], runner: Runner) -> None:
    started = time.perf_counter()
    for sample in samples:
        runner.run(sample.inputs)
    if (took := time.perf_counter() - started) > MAX_SECONDS:
        raise GoldenInvalid(
            f"the golden samples take {took:.1f} s, allowed are {MAX_SECONDS:.0f} s",
            where="golden samples",
            do="use fewer: --golden-count 2",
        )


def _written(samples: list[GoldenSample], folder: Path, runner: Runner) -> tuple[str, ...]:
    (folder / "golden").mkdir()
    paths = [folder / "golden" / f"{number}.npz" for number in range(len(samples))]
    for sample, path in zip(samples, paths, strict=True):
        write_sample(sample, path)
    read_sample_files(paths, runner.interface)  # within the limits that every reader has
    return tuple(f"golden/{path.name}" for path in paths)


def _warnings(proof: Proof) -> list[str]:
    if proof.share >= ENOUGH:
        return []
    blind = ", ".join(proof.blind[:NAMED]) + (" …" if len(proof.blind) > NAMED else "")
    return [f"the golden samples notice {proof.share:.0%} of the damage tried; not noticed: {blind}"]


def _notes(source: str) -> list[str]:
    if source == GENERATED:
        return []
    return [f"golden samples are {source} rows: real rows are published with this bundle"]
