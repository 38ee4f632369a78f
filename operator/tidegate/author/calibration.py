"""How far a model's own answers move while nothing is wrong with it, and tolerances that leave room for that.

Threads, graph optimization, batching and a GPU's arithmetic (TF32) change the order or the precision of sums.  Each
golden sample is run under all of them that this machine has.  The same settings twice must give the same answer, else
nothing can be proved.  Settings that differ may move it: where they use up more than a third of the default tolerance,
the tolerance becomes three times what was seen, up to eight times the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidegate.author.session import Settings, Tensors, has_cuda, open_runner, rows_of, take
from tidegate.bundle.golden import Difference, GoldenSample, compare_outputs, tolerance_for
from tidegate.bundle.manifest import Interface, Tolerance
from tidegate.errors import Failed

AGAIN = (Settings(1), Settings(1))
OTHERS = (Settings(2), Settings(1, optimize=False), Settings(2, optimize=False))
ON_CUDA = (Settings(1, cuda=True, tf32=False), Settings(1, cuda=True, tf32=True))
CUDA_LIKE = ("cuda", "tensorrt")
QUANTIZED = 2e-2  # 8-bit products are summed differently from one processor, and one fusion, to the next
ROOM = 3.0  # times what was seen: another machine has other kernels
WIDEST = 8.0  # times the default; a model that moves further proves too little


class NotRepeatable(Failed):
    """The same input gives different answers, so no sample can prove the model."""

    reason = "NotRepeatable"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was seen on one device; `worst` is the largest |a-b| by output, `used` that as a share of the tolerance."""

    device: str
    runs: int
    worst: dict[str, float]
    used: dict[str, float]

    def document(self) -> dict[str, Any]:
        return {"runs": self.runs, "worstDifference": {name: f"{value:.3g}" for name, value in self.worst.items()}}

    def widened(self, rule: Tolerance) -> Tolerance:
        """The rule with room for what was seen."""
        factor = ROOM * self.used.get(rule.output, 0.0)
        return rule if factor <= 1 else replace(rule, atol=rule.atol * factor, rtol=rule.rtol * factor)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Rules for every device, then for single ones; `notes` tell which were widened."""

    rules: tuple[Tolerance, ...]
    for_devices: tuple[Tolerance, ...]
    seen: tuple[Calibration, ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return {"calibration": {one.device: one.document() for one in self.seen}}


def calibrate(
    samples: Sequence[GoldenSample], path: Path, interface: Interface, rules: tuple[Tolerance, ...]
) -> Calibrated:
    """Run the samples under every variant; raises NotRepeatable when the answers move too far or by themselves."""
    model = _Model(path, interface, samples)
    for settings in AGAIN:
        model.worst_of((settings,), rules, most=1.0)
    few_bits = any(rule.atol >= QUANTIZED for rule in rules)  # their fused products are meant to differ from the plain
    variants = tuple(settings for settings in OTHERS if settings.optimize or not few_bits)
    cpu = model.worst_of(variants, rules, most=WIDEST / ROOM, alone=True)
    wider = tuple(cpu.widened(rule) for rule in rules)
    gpu_rules = tuple(_for_cuda(rule, interface) for rule in wider)
    seen = [cpu]
    if has_cuda():
        seen.append(model.worst_of(ON_CUDA, gpu_rules, most=WIDEST / ROOM))
        gpu_rules = tuple(seen[-1].widened(rule) for rule in gpu_rules)
    devices = [
        replace(gpu, device=device)
        for gpu, rule in zip(gpu_rules, wider, strict=True)
        for device in CUDA_LIKE
        if (gpu.atol, gpu.rtol) != (rule.atol, rule.rtol)
    ]
    return Calibrated(wider, tuple(devices), tuple(seen), tuple(_notes(rules, wider, cpu)))


def _for_cuda(rule: Tolerance, interface: Interface) -> Tolerance:
    """The default of a GPU, at least what holds everywhere."""
    spec = next(output for output in interface.outputs if output.name == rule.output)
    default = tolerance_for(spec, (), "cuda")
    return replace(rule, atol=max(rule.atol, default.atol), rtol=max(rule.rtol, default.rtol))


def _notes(before: Iterable[Tolerance], after: Iterable[Tolerance], seen: Calibration) -> Iterable[str]:
    for rule, wider in zip(before, after, strict=True):
        if wider != rule:
            yield (
                f"the tolerance of '{rule.output}' is {wider.atol:.2g} + {wider.rtol:.2g}·|b|: threads and graph "
                f"optimization alone move it by up to {seen.worst[rule.output]:.2g}"
            )


@dataclass(frozen=True, slots=True)
class _Model:
    path: Path
    interface: Interface
    samples: Sequence[GoldenSample]

    def worst_of(
        self, variants: tuple[Settings, ...], rules: tuple[Tolerance, ...], *, most: float, alone: bool = False
    ) -> Calibration:
        """The worst over these variants, and with `alone` over single rows of the samples as well."""
        worst = dict.fromkeys((rule.output for rule in rules), 0.0)
        used = dict(worst)
        runs = [(settings, str(settings), self.samples) for settings in variants]
        if alone and self.interface.batched:
            runs.append((Settings(), "one row at a time", list(_rows(self.samples))))
        for settings, how, samples in runs:
            for found in self._compared(settings, samples, rules):
                if found.excess > most:
                    raise _not_repeatable(found.output, how, found.message or f"it moves by {found.worst:.3g}")
                worst[found.output] = max(worst[found.output], found.worst)
                used[found.output] = max(used[found.output], found.excess)
        return Calibration("cuda" if variants[0].cuda else "cpu", len(runs), worst, used)

    def _compared(
        self, settings: Settings, samples: Iterable[GoldenSample], rules: tuple[Tolerance, ...]
    ) -> list[Difference]:
        """All samples under these settings; the session is gone before the next is opened: it may hold gigabytes."""
        runner = open_runner(self.path, self.interface, settings)
        return [
            found
            for sample in samples
            for found in compare_outputs(sample, runner.run(sample.inputs), self.interface, rules)
        ]


def _rows(samples: Iterable[GoldenSample]) -> Iterable[GoldenSample]:
    for sample in samples:
        for row in range(rows_of(sample.inputs)):
            yield GoldenSample(_row(sample.inputs, row), _row(sample.outputs, row))


def _row(tensors: Tensors, row: int) -> Tensors:
    return take(tensors, [row])


def _not_repeatable(output: str, how: str, message: str) -> NotRepeatable:
    return NotRepeatable(
        f"the same input gives another '{output}' when run again with {how}: {message}",
        where="golden samples",
        do="fix the seeds in the model, or pack with --golden none",
    )
