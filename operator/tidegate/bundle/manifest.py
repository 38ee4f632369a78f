"""The manifest of a bundle, bundle.yaml: its types and its strict reader.

The manifest lists the bytes and sha256 of every other file, so its own digest pins the whole bundle.  It is read
here and written by write.py, never re-serialized: the digest is of the exact bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from tidegate.bundle import strict_yaml
from tidegate.bundle.digest import HEX, digest_of
from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.bundle.errors import ManifestInvalid
from tidegate.bundle.fields import Fields
from tidegate.bundle.paths import MANIFEST_NAME, check_paths, read_plain_file
from tidegate.bundle.sealed import Encryption, Plain, read_encryption, read_plain

FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILES = 10_000
MAX_TENSORS = 256
DEVICES = 4  # that an output may have a tolerance for each, with the one for all
MAX_RANK = 16
MAX_GOLDEN = 64
MAX_OPSET = 10_000
MEMORY_PAGE = 64 * 2**10  # the largest that kernels have: memory is given to files by whole pages

VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME = VERSION
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
DIMENSION = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

GoldenSource = Literal["generated", "heldout", "user"]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the bundle; `path` is plain: relative, `/` between names, no dots that lead anywhere."""

    path: str
    bytes: int
    sha256: str  # 64 hex digits
    plain: Plain | None = None  # of an encrypted file


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output; a text in `shape` is a named dynamic dimension."""

    name: str
    element_type: str
    shape: tuple[int | str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """What a client sends and gets."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batched(self) -> bool:
        """Whether every tensor has a first dimension of any size, the inputs the same: rows are then requests."""
        tensors = (*self.inputs, *self.outputs)
        dynamic = all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in tensors)
        return dynamic and len({tensor.shape[0] for tensor in self.inputs if tensor.shape}) == 1


@dataclass(frozen=True, slots=True)
class Model:
    """The graph and what it needs to run."""

    file: str
    opset: Mapping[str, int]  # by operator domain; "" is ONNX's own
    ir_version: int
    minimum_runtime: str = ""  # of ONNX Runtime, such as "1.20"
    producer: str = ""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may be from its golden sample: |a-b| <= atol + rtol*|b|.

    `device` "" holds everywhere.  `top1` marks scores along the last axis: a mismatch then tells how many rows have
    another winner (within the tolerance a lead of more than twice it cannot change hands).  `label_of` names the
    scores this output is the winner of: it may differ only where their lead is within twice their tolerance.
    """

    output: str
    atol: float
    rtol: float
    device: str = ""
    top1: bool = False
    label_of: str = ""


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs with the outputs that they must give, one npz file each."""

    files: tuple[str, ...]
    tolerance: tuple[Tolerance, ...] = ()
    source: GoldenSource = "generated"


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure about the model, and the data that it was computed on."""

    name: str
    value: float
    dataset: str = ""
    dataset_digest: str = ""
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Where the model's code came from."""

    repository: str = ""
    commit: str = ""
    dirty: bool = False


@dataclass(frozen=True, slots=True)
class Lineage:
    """The bundles that this one was made from, and how."""

    parents: tuple[str, ...] = ()
    action: str = ""


@dataclass(frozen=True, slots=True)
class Hints:
    """What a server may use to set itself up; 0: not known."""

    peak_memory_bytes: int = 0
    suggested_batch: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """bundle.yaml.  `training`, `preprocessing`, `parity` and `environment` are the author's own mappings."""

    name: str
    version: str
    model: Model
    interface: Interface
    files: tuple[FileEntry, ...]
    description: str = ""
    license: str = ""
    created_at: str = ""
    source: Source | None = None
    golden: Golden | None = None
    metrics: tuple[Metric, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    lineage: Lineage | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    hints: Hints | None = None
    encryption: Encryption | None = None

    @property
    def total_bytes(self) -> int:
        return sum(entry.bytes for entry in self.files)

    @property
    def plain_room(self) -> int:
        """Memory that the files take when they are decrypted, in bytes; 0 of a bundle that is not encrypted."""
        if self.encryption is None:
            return 0
        sizes = (entry.plain.bytes if entry.plain else entry.bytes for entry in self.files)
        return sum(-(-size // MEMORY_PAGE) * MEMORY_PAGE for size in sizes)

    def entry(self, path: str) -> FileEntry | None:
        """The listed file of that path."""
        return next((entry for entry in self.files if entry.path == path), None)

    def metric_values(self) -> dict[str, float]:
        return {metric.name: metric.value for metric in self.metrics}


@dataclass(frozen=True, slots=True)
class BundleDir:
    """A bundle directory whose manifest was read; its files are not yet checked (see verify.py)."""

    path: Path
    manifest: Manifest
    digest: str
    raw: bytes


def parse_manifest(content: bytes, *, where: str = MANIFEST_NAME) -> Manifest:
    """The manifest in these bytes, or ManifestInvalid / TooLarge naming the field."""
    top = Fields(strict_yaml.load(content, limit=MAX_MANIFEST_BYTES, where=where), "")
    version = top.integer("formatVersion")
    if version != FORMAT_VERSION:
        raise ManifestInvalid(
            f"formatVersion is {version}, this tidegate reads {FORMAT_VERSION}", where=where, do="use a newer tidegate"
        )
    manifest = _manifest(top)
    top.done()
    _check_references(manifest)
    return manifest


def read_bundle_dir(path: Path) -> BundleDir:
    """Read the manifest of a bundle directory."""
    raw = read_plain_file(path / MANIFEST_NAME, limit=MAX_MANIFEST_BYTES, absent="name a bundle's directory or address")
    return BundleDir(path, parse_manifest(raw, where=str(path / MANIFEST_NAME)), digest_of(raw), raw)


def _manifest(top: Fields) -> Manifest:
    return Manifest(
        name=top.text("name", pattern=NAME),
        version=top.text("version", pattern=VERSION),
        description=top.text("description", ""),
        license=top.text("license", "", limit=256),
        created_at=top.text("createdAt", "", pattern=TIME),
        source=_source(top.mapping("source")),
        model=_model(top),
        interface=_interface(top),
        files=tuple(_file(entry) for entry in top.each("files", most=MAX_FILES)),
        golden=_golden(top.mapping("golden")),
        metrics=tuple(_metric(entry) for entry in top.each("metrics", most=MAX_TENSORS)),
        training=top.free("training"),
        preprocessing=top.free("preprocessing"),
        parity=top.free("parity"),
        lineage=_lineage(top.mapping("lineage")),
        environment=top.free("environment"),
        hints=_hints(top.mapping("hints")),
        encryption=read_encryption(top.mapping("encryption")),
    )


def _source(fields: Fields | None) -> Source | None:
    if fields is None:
        return None
    source = Source(fields.text("repository", ""), fields.text("commit", "", limit=128), fields.flag("dirty", False))
    fields.done()
    return source


def _model(top: Fields) -> Model:
    fields = top.mapping("model")
    if fields is None:
        raise top.refuse("model", "is missing")
    opset = fields.free("opset")
    for domain, number in opset.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_OPSET:
            raise fields.refuse("opset", f"gives no version number for the domain '{domain[:60]}'")
    model = Model(
        file=fields.text("file"),
        opset=opset,
        ir_version=fields.integer("irVersion", least=1, most=MAX_OPSET),
        minimum_runtime=fields.text("minimumRuntime", "", limit=32),
        producer=fields.text("producer", "", limit=256),
    )
    fields.done()
    return model


def _interface(top: Fields) -> Interface:
    fields = top.mapping("interface")
    if fields is None:
        raise top.refuse("interface", "is missing")
    interface = Interface(
        inputs=tuple(_tensor(entry) for entry in fields.each("inputs", most=MAX_TENSORS)),
        outputs=tuple(_tensor(entry) for entry in fields.each("outputs", most=MAX_TENSORS)),
    )
    fields.done()
    if not interface.outputs:
        raise top.refuse("interface", "has no outputs")
    for tensors in (interface.inputs, interface.outputs):
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise top.refuse("interface", "names a tensor twice")
    return interface


def _tensor(fields: Fields) -> TensorSpec:
    element_type = fields.text("type")
    if element_type not in ELEMENT_TYPES:
        raise fields.refuse("type", f"is '{element_type[:40]}', not one of {' '.join(ELEMENT_TYPES)}")
    shape = fields.items("shape", most=MAX_RANK)
    for size in shape:
        if not _is_dimension(size):
            raise fields.refuse("shape", "must hold sizes of at least 0 and names of dynamic dimensions")
    tensor = TensorSpec(
        fields.text("name", pattern=DIMENSION), element_type, tuple(shape), fields.flag("optional", False)
    )
    fields.done()
    return tensor


def _is_dimension(size: Any) -> bool:
    if isinstance(size, str):
        return bool(DIMENSION.fullmatch(size))
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**48


def _file(fields: Fields) -> FileEntry:
    size = fields.integer("bytes")
    plain = read_plain(fields.mapping("plain"), size)
    entry = FileEntry(fields.text("path", limit=255), size, fields.text("sha256", pattern=HEX), plain)
    fields.done()
    return entry


def _golden(fields: Fields | None) -> Golden | None:
    if fields is None:
        return None
    source = fields.text("goldenSource", "generated")
    if source not in get_args(GoldenSource):
        raise fields.refuse("goldenSource", f"must be one of {' '.join(get_args(GoldenSource))}")
    golden = Golden(
        files=fields.texts("files", most=MAX_GOLDEN),
        tolerance=tuple(_tolerance(entry) for entry in fields.each("tolerance", most=DEVICES * MAX_TENSORS)),
        source=source,  # type: ignore[arg-type]
    )
    fields.done()
    return golden


def _tolerance(fields: Fields) -> Tolerance:
    tolerance = Tolerance(
        output=fields.text("output"),
        atol=fields.number("atol", least=0),
        rtol=fields.number("rtol", least=0),
        device=fields.text("device", "", limit=32),
        top1=fields.flag("top1", False),
        label_of=fields.text("labelOf", ""),
    )
    fields.done()
    return tolerance


def _metric(fields: Fields) -> Metric:
    metric = Metric(
        name=fields.text("name", pattern=NAME),
        value=fields.number("value"),
        dataset=fields.text("dataset", "", limit=256),
        dataset_digest=fields.text("datasetDigest", "", pattern=DIGEST),
        samples=fields.integer("samples", 0),
    )
    fields.done()
    return metric


def _lineage(fields: Fields | None) -> Lineage | None:
    if fields is None:
        return None
    lineage = Lineage(fields.texts("parents", most=64), fields.text("action", "", limit=64))
    fields.done()
    for parent in lineage.parents:
        if not DIGEST.fullmatch(parent):
            raise fields.refuse("parents", "must be digests")
    return lineage


def _hints(fields: Fields | None) -> Hints | None:
    if fields is None:
        return None
    hints = Hints(fields.integer("peakMemoryBytes", 0), fields.integer("suggestedBatch", 0))
    fields.done()
    return hints


def _check_references(manifest: Manifest) -> None:
    check_paths([entry.path for entry in manifest.files])
    listed = {entry.path for entry in manifest.files}
    golden = manifest.golden.files if manifest.golden else ()
    for path in (manifest.model.file, *golden):
        if path not in listed:
            raise ManifestInvalid(f"'{path[:120]}' is used but not among the files", where=MANIFEST_NAME)
