"""What can be known of a model without running it: is it ONNX at all, and can this ONNX Runtime take it.

Judged by content, never by name.  Nothing is loaded, executed or followed here; models that are well formed but never
end, or ask for absurd memory while they run, are found by the server's warm-up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.bundle.element_types import BY_ONNX_NUMBER
from tidegate.bundle.errors import ModelInvalid, TooLarge
from tidegate.bundle.manifest import BundleDir, Interface, Manifest, TensorSpec
from tidegate.bundle.paths import read_plain_file

MAX_MODEL_BYTES = 3 * 2**29  # 1.5 GiB; protobuf ends at 2 GiB, and larger weights belong into files of their own
TAR_MAGIC = (257, b"ustar")
# What people rename to .onnx, by its first bytes.
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"PK\x03\x04", "a zip archive (PyTorch, Keras or npz)"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\xfd7zXZ", "an xz file"),
    (b"BZh", "a bzip2 file"),
    (b"\x7fELF", "a program"),
    (b"GGUF", "a GGUF file"),
    (b"age-encryption.org/", "encrypted: decrypt the bundle with its age key first"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself"),
    (b"<", "a text or HTML page"),
    (b"{", "JSON text"),
)


@dataclass(frozen=True, slots=True)
class Supported:
    """The newest operator sets and IR version that an ONNX Runtime takes."""

    opset: int
    ml: int
    ir: int

    def for_domain(self, domain: str) -> int | None:
        return {"": self.opset, "ai.onnx": self.opset, "ai.onnx.ml": self.ml, "com.microsoft": 1}.get(domain)


# By release of ONNX Runtime, from its own refusals; other releases are asked (see `_probed`).
RELEASES: dict[str, Supported] = {"1.31": Supported(opset=26, ml=5, ir=13)}


def preflight_manifest(manifest: Manifest) -> None:
    """Refuse what this ONNX Runtime is too old for, by the manifest alone."""
    _check_versions(manifest.model.ir_version, dict(manifest.model.opset), manifest.model.file)
    wanted = manifest.model.minimum_runtime
    if wanted and _release(wanted) > _release(_runtime_version()):
        raise ModelInvalid(
            f"needs ONNX Runtime {wanted}, here is {_runtime_version()}",
            where=manifest.model.file,
            do="use a newer runtime image",
        )


def preflight_model(bundle: BundleDir) -> None:
    """Refuse a model that is no ONNX, does not fit its manifest, or reaches outside of its bundle."""
    from tidegate.bundle.graph import check_graph

    preflight_manifest(bundle.manifest)
    model = load_graph(bundle.path / bundle.manifest.model.file)
    where = bundle.manifest.model.file
    _check_versions(model.ir_version, {entry.domain: entry.version for entry in model.opset_import}, where)
    check_graph(model, bundle)
    _check_interface(model, bundle.manifest.interface, where)


def check_deep(bundle: BundleDir) -> None:
    """Hold every operator and shape against ONNX' own definitions; slower, and stricter than ONNX Runtime."""
    import onnx

    path = bundle.path / bundle.manifest.model.file
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelInvalid(f"ONNX' own checker refuses it: {reason}", where=str(path)) from None


def load_graph(path: Path) -> Any:
    """The parsed model without external data; ModelInvalid when it is something else or broken off."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        content = read_plain_file(path, limit=MAX_MODEL_BYTES)
    except TooLarge:
        raise TooLarge(
            f"more than {MAX_MODEL_BYTES} bytes", where=str(path), do="put the weights into weights/"
        ) from None
    check_magic(content, str(path))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise _broken(path, "cannot be parsed") from None
    if model.ir_version <= 0 or not model.opset_import or not model.graph.node or not model.graph.output:
        raise _broken(path, "has no version, no operators or no outputs")
    return model


def check_magic(content: bytes, where: str) -> None:
    """Say what a file is that is not ONNX."""
    if not content:
        raise ModelInvalid("is empty", where=where, do="export the model again")
    offset, tar = TAR_MAGIC
    found = next((name for magic, name in OTHERS if content.startswith(magic)), "")
    if not found and content[offset : offset + len(tar)] == tar:
        found = "a tar archive"
    if not found and content[4:8] == b"ORTM":
        found = "in ONNX Runtime's own format"
    if not found and _is_old_pickle(content):
        found = "a pickle"
    if found:
        raise ModelInvalid(f"is {found}, not ONNX", where=where, do="export the model to ONNX")


def _is_old_pickle(content: bytes) -> bool:
    """Protocol 0 and 1 have no magic; they end with a full stop and open with a mark or a global."""
    return content.endswith(b".") and content[:1] in b"(c]}ilFIVS" and not content.startswith((b"\x08", b"\x0a"))


def _broken(path: Path, what: str) -> ModelInvalid:
    return ModelInvalid(f"{what}: it was cut off or is no ONNX", where=str(path), do="export or copy the model again")


def _check_versions(ir: int, opset: dict[str, int], where: str) -> None:
    can = supported(_runtime_version())
    if ir > can.ir:
        raise ModelInvalid(
            f"has IR version {ir}, ONNX Runtime {_runtime_version()} takes {can.ir}",
            where=where,
            do=f"export it with IR version {can.ir} or lower",
        )
    for domain, version in opset.items():
        newest = can.for_domain(domain)
        if newest is not None and version > newest:
            raise ModelInvalid(
                f"uses opset {version} of {domain or 'ai.onnx'}, ONNX Runtime {_runtime_version()} takes {newest}",
                where=where,
                do=f"export it with opset {newest} or lower",
            )


def supported(version: str) -> Supported:
    """What an ONNX Runtime of this version takes."""
    return RELEASES.get(".".join(version.split(".")[:2])) or _probed(version)


@functools.cache
def _runtime_version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return installed(name)
        except PackageNotFoundError:
            continue
    return max(RELEASES, key=_release) + ".0"  # only tools are here: judge by the newest runtime that is known


@functools.cache
def _probed(version: str) -> Supported:  # noqa: ARG001  (the key of the cache)
    """Ask the installed ONNX Runtime with tiny models, upwards from what every supported release takes."""
    known = max(RELEASES.values(), key=lambda row: row.opset)
    opset = _newest(lambda number: _loads("", number, 10), 18, known.opset + 8)
    return Supported(
        opset,
        _newest(lambda number: _loads("ai.onnx.ml", number, 10), 3, known.ml + 4),
        _newest(lambda number: _loads("", 18, number), 8, known.ir + 8),
    )


def _newest(takes: Callable[[int], bool], least: int, most: int) -> int:
    return max((number for number in range(least, most + 1) if takes(number)), default=least)


def _loads(domain: str, version: int, ir: int) -> bool:
    import onnxruntime
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", value[:1], value[1:])
    opsets = {"": version} if domain == "" else {"": 18, domain: version}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*item) for item in opsets.items()])
    model.ir_version = ir
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  (each refusal has a class of its own; all mean no)
        return False
    return True


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _check_interface(model: Any, interface: Interface, where: str) -> None:
    """The manifest must describe this graph: rollouts and clients rely on it."""
    weights = {tensor.name for tensor in model.graph.initializer}
    weights.update(tensor.values.name for tensor in model.graph.sparse_initializer)
    sides = (("input", model.graph.input, interface.inputs), ("output", model.graph.output, interface.outputs))
    for side, values, specs in sides:
        described = {spec.name: spec for spec in specs}
        found = {value.name: value for value in values if side == "output" or value.name not in weights}
        for name in sorted(found.keys() ^ described.keys()):
            raise ModelInvalid(f"the manifest and the graph disagree about the {side} '{name[:80]}'", where=where)
        for name, value in found.items():
            _check_tensor(side, value, described[name], where)


def _check_tensor(side: str, value: Any, spec: TensorSpec, where: str) -> None:
    known = BY_ONNX_NUMBER.get(value.type.tensor_type.elem_type)
    if value.type.WhichOneof("value") != "tensor_type" or known is None:
        raise ModelInvalid(f"the {side} '{spec.name}' is of a type that no request can carry", where=where)
    if known.name != spec.element_type:
        raise ModelInvalid(
            f"the {side} '{spec.name}' is {known.name}, the manifest says {spec.element_type}", where=where
        )
    if not value.type.tensor_type.HasField("shape"):
        return
    dims = value.type.tensor_type.shape.dim
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    same = len(sizes) == len(spec.shape) and all(
        here is None or here == there or (here < 0 and isinstance(there, str))
        for here, there in zip(sizes, spec.shape, strict=True)
    )
    if not same:
        raise ModelInvalid(
            f"the {side} '{spec.name}' has the shape {sizes}, the manifest says {list(spec.shape)}", where=where
        )
