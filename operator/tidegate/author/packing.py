"""From a model in any supported form to a bundle directory: converted, proved, measured, written once.

Everything is made in a fresh folder beside the target and renamed at the end: a bundle is there as a whole or not
at all.  The same inputs and package versions give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tidegate.author import pool, proof
from tidegate.author.card import write_card
from tidegate.author.columns import as_inputs, rounded
from tidegate.author.describe import interface_of, model_facts
from tidegate.author.dimensions import name_dimensions
from tidegate.author.evaluation import evaluate
from tidegate.author.frameworks import Converted, convert
from tidegate.author.golden import tolerances
from tidegate.author.graph import is_quantized
from tidegate.author.opened import LABELS
from tidegate.author.parent import find_parent
from tidegate.author.parity import Comparison, Parity
from tidegate.author.provenance import created_at, environment, git_source
from tidegate.author.request import DataSet, PackRequest
from tidegate.author.sbom import SBOM, sbom_of
from tidegate.author.session import Runner, Tensors, as_pool, open_runner
from tidegate.author.source import load
from tidegate.author.weights import write_split
from tidegate.bundle.assemble import FULL, disk_errors
from tidegate.bundle.manifest import (
    NAME,
    VERSION,
    BundleDir,
    FileEntry,
    Interface,
    Manifest,
    Source,
    read_bundle_dir,
)
from tidegate.bundle.preflight import preflight_model
from tidegate.bundle.write import write_manifest
from tidegate.errors import Failed, Invalid


@dataclass(frozen=True, slots=True)
class Packed:
    """A finished bundle, and what its maker should know about it."""

    bundle: BundleDir
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """What has been made so far in `folder`."""

    folder: Path
    converted: Converted
    interface: Interface
    rows: Tensors | None  # the data as requests
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pack(source: object, request: PackRequest) -> Packed:
    """Make a bundle at `request.out` of a fitted estimator, a file, or `module:factory`."""
    with _readable_errors(request.out):
        return _packed(source, request)


def _packed(source: object, request: PackRequest) -> Packed:
    check_request(request)
    parent = find_parent(request.parent) if request.parent else None
    if parent:
        request = replace(request, lineage=parent.lineage)
    found = load(source, trust_pickle=request.trust_pickle)
    request.told("converting")
    converted = convert(found, request)
    renamed = name_dimensions(converted.model, request.interface)
    with fresh_folder(request.out) as folder:
        request.told("writing the weights")
        write_split(converted.model, converted.weights or folder, folder)
        interface = interface_of(converted.model)
        rows = as_pool(interface, converted.data) if converted.data else None
        draft = _Draft(folder, converted, interface, rows, notes=[*converted.cures, *renamed])
        draft.warnings += rounded(request.data, interface) if request.data else ()
        manifest = _manifest(draft, request, found.folder)
        write_card(manifest, folder, request.card)
        if request.sbom:
            _write_sbom(manifest, folder)
        write_manifest(replace(manifest, files=listed_files(folder)), folder)
        preflight_model(read_bundle_dir(folder))
        os.rename(folder, request.out)  # noqa: PTH104 - beside Path.rename's own pitfalls: fails on a full folder
    if parent:
        draft.warnings += parent.broken_by(request.out)
    return Packed(read_bundle_dir(request.out), tuple(draft.warnings), tuple(draft.notes))


@contextlib.contextmanager
def _readable_errors(out: Path) -> Iterator[None]:
    """Trouble with files in one sentence: a full disk, a folder that may not be written, a file not to be read."""
    with disk_errors(out):
        try:
            yield
        except OSError as error:
            if error.errno is None or error.errno in FULL:
                raise
            raise Failed(str(error.strerror), where=str(error.filename or out)) from None


def check_request(request: PackRequest) -> None:
    """Refuse a name, a version or a folder that cannot be, before anything is done."""
    for what, value, pattern in (("name", request.name, NAME), ("version", request.version, VERSION)):
        if not pattern.fullmatch(value):
            raise Invalid(f"'{value[:80]}' cannot be a {what}", do=f"use {pattern.pattern}", where=f"--{what}")
    require_new(request.out)


def require_new(out: Path) -> None:
    """Refuse what exists already, but for an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Invalid("it exists already", where=str(out), do="name a new folder: bundles are never changed")


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to be filled and renamed; gone afterwards if it was not, with parents made for it."""
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: the bundle is in it, or something of somebody else's
            for parent in made:
                parent.rmdir()


def _manifest(draft: _Draft, request: PackRequest, folder: Path | None) -> Manifest:
    _copy_files(request.files, draft.folder)
    _write_labels(draft.converted.labels, draft.folder / LABELS)
    runner = open_runner(draft.folder / "model.onnx", draft.interface)
    request.told("comparing with the original, and measuring")
    parity = _parity(draft, runner, request)
    evaluation = evaluate(runner, draft.rows, request.data, {**draft.converted.metrics, **request.metrics})
    request.told("choosing and proving golden samples")
    golden = proof.golden(draft.folder, draft.converted.model, runner, _golden_request(draft, request))
    draft.warnings += golden.warnings
    draft.notes += golden.notes
    return Manifest(
        name=request.name,
        version=request.version,
        description=request.description,
        license=request.license,
        created_at=created_at(request.created_at),
        source=_source(request.source_folder or folder),
        model=model_facts(draft.converted.model, "model.onnx"),
        interface=draft.interface,
        files=(),  # listed when all of them are there
        golden=golden.entry,
        metrics=evaluation.metrics,
        training={**draft.converted.training, **evaluation.training()},
        preprocessing=request.data.preprocessing if request.data else {},
        parity={**({"original": parity.document()} if parity else {}), **golden.document(), **request.reports},
        lineage=request.lineage,
        environment=environment(draft.converted.packages),
    )


def _source(folder: Path | None) -> Source | None:
    return git_source(folder) if folder else None


def _golden_request(draft: _Draft, request: PackRequest) -> proof.Wanted:
    known, rows = pool.hints_from_graph(draft.converted.model), _published(draft, request.data)
    ranges = {**known.ranges, **(pool.hints_from_columns(rows) if rows else {})}
    chosen = {**known.categories, **(pool.categories_from_columns(rows, known.words) if rows else {})}
    hints = replace(known, ranges=ranges, categories=chosen, dims=request.golden.dims)
    return proof.Wanted(request.golden, hints, rows, draft.converted.samples)


def _published(draft: _Draft, data: DataSet | None) -> Tensors | None:
    """The rows that golden samples may be made of: some columns are hashed there."""
    if data is None or data.published is None:
        return draft.rows
    return as_pool(draft.interface, as_inputs(data.as_published(), draft.interface))


def _parity(draft: _Draft, runner: Runner, request: PackRequest) -> Parity | None:
    if draft.converted.original is None:
        return None
    maker = pool.PoolMaker(draft.interface, _golden_request(draft, request).hints, request.golden.seed)
    rules = tolerances(draft.interface, quantized=is_quantized(draft.converted.model))
    parity = Comparison(draft.converted, runner, rules).proved(draft.rows, maker)
    if parity.mismatched:
        draft.warnings.append(
            f"{parity.mismatched} of {parity.rows} rows tip over to another answer by rounding to 32 bits"
        )
    return parity


def _write_sbom(manifest: Manifest, folder: Path) -> None:
    if (folder / SBOM).exists():
        raise Invalid(f"the bundle has a {SBOM} already, by --file", where="--sbom", do="leave one of the two out")
    (folder / SBOM).write_text(sbom_of(manifest), encoding="utf-8")


def _copy_files(files: tuple[Path, ...], folder: Path) -> None:
    for path in files:
        target = folder / path.name
        if not path.is_file():
            raise Invalid("no such file", where=str(path))
        if target.exists() or target.name in ("bundle.yaml", "bundle.sig"):
            raise Invalid(f"the bundle has a file '{path.name}' already", where=str(path))
        shutil.copyfile(path, target)


def _write_labels(labels: tuple[str, ...], path: Path) -> None:
    """The model's own names of its classes, where the user gave no others."""
    if labels and not path.exists():
        path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def listed_files(folder: Path) -> tuple[FileEntry, ...]:
    """Every file under `folder`, with its size and sha256, in the order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(_entry(path, path.relative_to(folder).as_posix()) for path in paths)


def _entry(path: Path, name: str) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
