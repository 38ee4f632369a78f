"""`import tidegate` in a notebook: the commands as functions, with the same proofs and the same errors.

Each function takes what its command takes (a bundle may be a folder, an address, or what another function gave) and
gives a value that a notebook shows as a table.  Nothing is printed, and every error is a `tidegate.TidegateError`.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from tidegate.author import pack as make
from tidegate.author.extras import need
from tidegate.author.request import GENERATED, GoldenRequest, PackRequest
from tidegate.author.results import Bundle, Checked, Matrix, Published
from tidegate.bundle.source import Access, Source

if TYPE_CHECKING:
    from tidegate.author.difference import Difference
    from tidegate.author.images import ImageForm
    from tidegate.bundle.manifest import BundleDir

Ref = str | Path | Bundle
# Whoever runs a notebook means their own credentials and their own machine, as on the command line.
PERSONAL = Access(allow_loopback=True, ambient=True)


class PackOptions(TypedDict, total=False):
    """Further options of `pack`, by the names of the command's flags."""

    out: str | Path  # the new folder; default: NAME-VERSION here
    description: str
    license: str
    created_at: str
    drop_columns: Sequence[str]
    hash_columns: Sequence[str]
    images: ImageForm
    golden: str  # generated, heldout, none, or a .npz of inputs
    golden_count: int
    seed: int
    dims: Mapping[str, int]
    interface: Mapping[str, tuple[int | str, ...]]
    metrics: Mapping[str, float]
    parent: Ref  # the bundle that the model was fine-tuned from
    files: Sequence[str | Path]
    card: str | Path
    sbom: bool
    trust_pickle: bool
    trust_lambda: bool


def pack(
    model: object, *, name: str, version: str, data: Any = None, labels: Any = None, **options: Unpack[PackOptions]
) -> Bundle:
    """Turn a trained model into a bundle and prove it.

    `model` is a fitted model in memory, a file, or `module:factory`.  `data` are rows to measure on: a path, an array,
    arrays or columns by name, a DataFrame; `labels` what is right for each, or the name of the column that holds it.
    Raises what the command refuses with, such as ParityLost, Invalid or MissingExtra.
    """
    refuse_unknown("pack", options, PackOptions)
    for module in ("numpy", "onnx", "onnxruntime"):
        need(module, extra="runtime")
    return Bundle.of(make(model, _request(model, name, version, _rows(data, labels, options), options)))


def refuse_unknown(function: str, options: Mapping[str, Any], known: type) -> None:
    """As Python refuses a keyword that a function does not have."""
    unknown = sorted(set(options) - set(known.__annotations__))
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument '{unknown[0]}'")


def _rows(data: Any, labels: Any, options: PackOptions) -> Any:
    from tidegate.author.data import Reading
    from tidegate.author.given_data import data_set

    dropped, hidden = tuple(options.get("drop_columns", ())), tuple(options.get("hash_columns", ()))
    return data_set(data, labels, Reading(dropped, hidden, options.get("images")))


def _request(model: object, name: str, version: str, data: Any, options: PackOptions) -> PackRequest:
    default = GoldenRequest()
    golden = GoldenRequest(
        options.get("golden", GENERATED),
        options.get("golden_count", default.count),
        options.get("seed", default.seed),
        options.get("dims", {}),
    )
    return PackRequest(
        out=Path(options.get("out", f"{name}-{version}")),
        name=name,
        version=version,
        description=options.get("description", ""),
        license=options.get("license", ""),
        created_at=options.get("created_at", ""),
        data=data,
        metrics=options.get("metrics", {}),
        files=tuple(map(Path, options.get("files", ()))),
        golden=golden,
        card=Path(options["card"]) if options.get("card") else None,
        sbom=options.get("sbom", False),
        source_folder=None if isinstance(model, str | Path) else Path.cwd(),
        trust_pickle=options.get("trust_pickle", False),
        trust_lambda=options.get("trust_lambda", False),
        interface=options.get("interface", {}),
        parent=address(options.get("parent", "")),
    )


def inspect(ref: Ref) -> Bundle:
    """What a bundle is; only its manifest is read."""
    from tidegate.bundle.fetch import resolve

    found = resolve(Source(address(ref), access=PERSONAL))
    return Bundle(address(ref), found.digest, found.manifest, signed=found.signature is not None)


def diff(before: Ref, after: Ref) -> Difference:
    """What changes from one bundle to another; `accepted` says whether a rollout would take it."""
    need("onnx", extra="runtime")
    from tidegate.author.difference import difference
    from tidegate.author.opened import opened

    with opened(address(before)) as old, opened(address(after)) as new:
        return difference(old, new)


def verify(ref: Ref, *, digest: str | None = None, public_key: str | Path | None = None, deep: bool = False) -> Bundle:
    """Check every digest, the signature (by this key, PEM) and the model, without running it.

    The model of an encrypted bundle is not looked at.
    """
    from tidegate.bundle.preflight import check_deep, preflight_model

    with _here(Source(address(ref), digest, _key(public_key), PERSONAL)) as bundle:
        if bundle.manifest.encryption is None:
            preflight_model(bundle)
            if deep:
                check_deep(bundle)
        return Bundle(address(ref), bundle.digest, bundle.manifest, signed=public_key is not None)


def check(ref: Ref, *, device: str = "cpu", identity: str | Path | None = None) -> Checked:
    """Run the golden samples as a pod would, in the server itself; raises GoldenMismatch when one differs.

    An encrypted bundle is decrypted into memory with the age keys in the file `identity`, for as long as this takes.
    """
    from tidegate.author.checking import here, run_check

    with here(address(ref), _file(identity)) as folder:
        document = run_check(folder, device)
    return Checked(address(ref), document)


def matrix(
    ref: Ref,
    *,
    onnxruntime: str | Sequence[str] = (),
    provider: str | Sequence[str] = "cpu",
    threads: int | Sequence[int] = (1, 2),
    identity: str | Path | None = None,
) -> Matrix:
    """Run the golden samples under other versions of ONNX Runtime, providers and numbers of threads.

    Versions are `1.23`, `1.23.2` or `latest`; without any, the one that it was packed with and the newest.  Each is
    installed by uv into a temporary environment.  A cell that fails is told by `ok` and `failed`, and is no error.
    An encrypted bundle is decrypted into memory, as by `check`.
    """
    need("numpy", extra="runtime")
    from tidegate.author.checking import here
    from tidegate.author.matrix import Axes, run_matrix, usual_versions
    from tidegate.bundle.manifest import read_bundle_dir

    with here(address(ref), _file(identity)) as folder:
        bundle = read_bundle_dir(folder)
        versions = _several(onnxruntime) or usual_versions(bundle)
        axes = Axes(versions, _several(provider), _several(threads))
        cells = run_matrix(bundle, axes, secrets=None if identity is None else folder.parent)
    return Matrix(address(ref), bundle.digest, tuple(cells))


def _several(given: Any) -> tuple[Any, ...]:
    """One value stands for a list of it; a text is one value."""
    return (given,) if isinstance(given, int | str) else tuple(given)


def push(bundle: Ref, uri: str, *, replace: bool = False, mount_from: str = "") -> Published:
    """Publish a bundle's folder to a store; what the store has is not sent again.

    Nor is, in a registry, what its repository `mount_from` has.
    """
    from tidegate.bundle.push import push as publish

    done = publish(Path(address(bundle)), uri, access=PERSONAL, replace=replace, mount_from=mount_from)
    return Published(done.uri, done.digest, done.files_sent, done.bytes_sent, done.already)


def pull(
    uri: str,
    out: str | Path,
    *,
    digest: str | None = None,
    public_key: str | Path | None = None,
    identity: str | Path | None = None,
) -> Bundle:
    """Fetch and verify a bundle into a new folder; `identity` is a file of age keys that decrypt it there."""
    from tidegate.bundle.fetch import fetch
    from tidegate.bundle.plain import fetch_plain

    source, keys = Source(uri, digest, _key(public_key), PERSONAL), _file(identity)
    fetched = fetch(source, Path(out)) if keys is None else fetch_plain(source, Path(out), keys)
    return Bundle(str(fetched.path), fetched.digest, fetched.manifest, signed=public_key is not None)


def _file(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def address(ref: Ref) -> str:
    """The folder or address of a bundle, however it was given."""
    return ref.ref if isinstance(ref, Bundle) else str(ref)


@contextlib.contextmanager
def _here(source: Source) -> Iterator[BundleDir]:
    """The bundle in a verified folder: where it lies already, or fetched for as long as this lasts."""
    from tidegate.bundle.fetch import fetch
    from tidegate.bundle.verify import verify_dir

    folder = Path(source.uri)
    if folder.is_dir():
        yield verify_dir(folder, digest=source.digest, public_key=source.public_key)
        return
    with tempfile.TemporaryDirectory(prefix="tidegate-") as temporary:
        yield verify_dir(fetch(source, Path(temporary) / "bundle").path)


def _key(path: str | Path | None) -> bytes | None:
    from tidegate.bundle.signature import read_public_key

    return None if path is None else read_public_key(Path(path))
