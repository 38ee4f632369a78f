"""A smaller or faster variant of a bundle: made step by step, each step measured beside the parent, then packed.

Nothing is written until the variant has shown its accuracy, and then by `pack`, as every bundle is.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx

from tidegate.author.describe import interface_of
from tidegate.author.metrics import predictions
from tidegate.author.optimize.comparison import Comparison, Variant
from tidegate.author.optimize.parent import Parent, parent_at, size_of
from tidegate.author.optimize.quality import Fidelity, Judged, judge
from tidegate.author.optimize.request import OptimizeRequest
from tidegate.author.optimize.rows import Divided, divide
from tidegate.author.optimize.simplify import forget_domains
from tidegate.author.optimize.steps import Made, Work, require_float, steps_of
from tidegate.author.optimize.timing import batch_sizes, latencies
from tidegate.author.packing import Packed, pack
from tidegate.author.request import PackRequest
from tidegate.author.session import Runner, Settings, open_runner
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.interface import require_compatible
from tidegate.bundle.manifest import Lineage
from tidegate.errors import Failed, UsageError

OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory", "Unable to allocate")
LONGEST_ACTION = 64
LESS = "ask for less (a smaller --prune, --int8 mixed), or raise --max-accuracy-drop"


class AccuracyLost(Failed):
    """The variant is worse than its parent by more than was allowed; `comparison` has the figures."""

    reason = "AccuracyLost"

    def __init__(self, what: str, comparison: Comparison, do: str) -> None:
        super().__init__(what, where="the variant", do=do)
        self.comparison = comparison


def _silent(_: str) -> None:
    pass


def optimize(ref: str, request: OptimizeRequest, say: Callable[[str], None] = _silent) -> tuple[Packed, Comparison]:
    """Make the variant of the bundle at `ref` that is asked for; `say` is told what is being done.

    Raises AccuracyLost, Failed for what cannot be done to this model, Invalid for data that do not fit.
    """
    if not steps_of(request):
        raise UsageError("nothing is to be done", do="say what: --graph, --fp16, --int8, --prune or --distill")
    if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise Failed("it exists already", where=str(request.out), do="name a new folder: bundles are never changed")
    with (
        _within_memory(),
        parent_at(ref) as parent,
        tempfile.TemporaryDirectory(prefix="tidegate-optimize-") as scratch,
    ):
        require_float(parent.model, request)
        divided = divide(request.data, request.calibration, parent.interface, request.seed)
        table = _Table(parent, divided, Path(scratch), request)
        parent_judged = table.add("parent", Made(parent.model))
        fidelity = Fidelity(parent_judged.metric, table.kinds)
        made = Made(parent.model)
        for name, step in steps_of(request):
            say(name)
            made = step.make(Work(parent, made.model, divided.lessons, fidelity, request, say))
            forget_domains(made.model)
            require_compatible(parent.interface, interface_of(made.model))
            table.add(name, made)
        say("latencies, in turns")
        comparison = table.compared((divided.note,) if divided.note else ())
        if not comparison.allowed:
            raise AccuracyLost(_lost(comparison), comparison, LESS)
        say("golden samples")
        return _packed(table.newest(), parent, divided, request, comparison), comparison


@contextlib.contextmanager
def _within_memory() -> Iterator[None]:
    """Out of memory in one sentence, whoever of Python, numpy and ONNX Runtime noticed it."""
    try:
        yield
    except (MemoryError, ModelInvalid) as error:
        if isinstance(error, ModelInvalid) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        raise Failed(
            "there is not enough memory for it",
            where="this machine",
            do="optimizing takes some five times the model's size: give it more, or a smaller model",
            reason="OutOfMemory",
        ) from None


def _lost(comparison: Comparison) -> str:
    last = comparison.variants[-1]
    return (
        f"{comparison.metric} fell from {comparison.variants[0].quality.value:.4f} to {last.quality.value:.4f}, "
        f"by more than the {comparison.max_drop:g} that may be lost; no bundle was made"
    )


class _Table:
    """The variants so far: each in a file, open, and judged."""

    def __init__(self, parent: Parent, divided: Divided, folder: Path, request: OptimizeRequest) -> None:
        self._interface, self._judges = parent.interface, divided.judges
        self._folder, self._request = folder, request
        self.kinds = {output.name: output.element_type for output in self._interface.outputs}
        self._rows: list[tuple[str, Made, Judged, Runner]] = []

    def add(self, name: str, made: Made) -> Judged:
        path = self._path(len(self._rows))
        onnx.save(made.model, path)
        runner = open_runner(path, self._interface, Settings(threads=self._request.threads))
        judges, metric = self._judges, self._rows[0][2].metric if self._rows else ""
        judged = judge(predictions(runner, judges.rows), judges.labels, self.kinds, judges.classes, metric)
        self._rows.append((name, made, judged, runner))
        return judged

    def newest(self) -> Path:
        return self._path(len(self._rows) - 1)

    def compared(self, notes: tuple[str, ...]) -> Comparison:
        runners = [runner for *_, runner in self._rows]
        pool = self._judges.rows
        timed = [latencies(runners, pool, size, self._request.seconds) for size in batch_sizes(runners[0], pool)]
        first = self._rows[0][2]
        variants = tuple(
            Variant(
                name, size_of(made.model), judged.estimate(), first.drop_to(judged), tuple(size[at] for size in timed),
                made.notes, made.report,
            )
            for at, (name, made, judged, _) in enumerate(self._rows)
        )  # fmt: skip
        return Comparison(
            first.metric, len(self._judges.labels), self._judges.name, self._request.max_drop, variants, notes
        )

    def _path(self, at: int) -> Path:
        return self._folder / f"{at}.onnx"


def _packed(model: Path, parent: Parent, divided: Divided, request: OptimizeRequest, found: Comparison) -> Packed:
    manifest, judges = parent.manifest, divided.judges
    made_of = {**manifest.preprocessing, **request.data.preprocessing}
    done = ", ".join(step.done for _, step in steps_of(request))
    return pack(
        model,
        PackRequest(
            out=request.out,
            name=request.name or manifest.name,
            version=request.version,
            description=request.description or manifest.description,
            license=manifest.license,
            created_at=request.created_at,
            data=replace(request.data, columns=dict(judges.rows), labels=judges.labels, preprocessing=made_of),
            files=parent.further_files(),
            sbom=parent.has_sbom,
            lineage=Lineage((parent.bundle.digest,), done[:LONGEST_ACTION]),
            reports={"optimized": {"against": parent.bundle.digest, **found.report()}},
        ),
    )
