"""verify, push, pull, keygen, sign: bundles on their way, and the proofs that they arrived."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.bundle.source import Access, Source
from tidegate.cli.output import emit, folder_output_option, output_option, quiet_option
from tidegate.cli.progress import progress_line

if TYPE_CHECKING:
    from tidegate.bundle.manifest import BundleDir

HELP = {"help_option_names": ["-h", "--help"]}
# A person's own command line: their environment's credentials and their own machine are meant.
PERSONAL = Access(allow_loopback=True, ambient=True)

MODEL_SAID = {
    "plain": "fits this ONNX Runtime",
    "deep": "fits this ONNX Runtime and the definitions of ONNX",
    "encrypted": "encrypted, so not looked into: tidegate check --identity",
}

digest_option = click.option("--digest", metavar="sha256:…", help="The digest that the bundle must have.")
identity_option = click.option(
    "--identity", metavar="FILE", type=click.Path(path_type=Path), help="Decrypt it with this file of age keys."
)
public_key_option = click.option(
    "--public-key", type=click.Path(path_type=Path), help="Demand a signature by this key (PEM)."
)


@click.command(context_settings=HELP)
@click.argument("ref")
@digest_option
@public_key_option
@click.option("--deep", is_flag=True, help="Also check every operator and shape against ONNX' own definitions.")
@output_option
@quiet_option
def verify(ref: str, *, digest: str | None, public_key: Path | None, deep: bool, output: str, quiet: bool) -> None:
    """Check every digest, the signature and the model, without running it.

    REF is a directory or any bundle address. With --quiet: the digest.

    \b
    Example: tidegate verify s3://models/digits/1.0.0 --public-key release.pub
    """
    from tidegate.bundle.preflight import check_deep, preflight_model

    with _here(Source(ref, digest, _key(public_key), PERSONAL)) as bundle:
        if bundle.manifest.encryption is None:
            preflight_model(bundle)
            if deep:
                check_deep(bundle)
    manifest = bundle.manifest
    looked = "encrypted" if manifest.encryption else "deep" if deep else "plain"
    checked = _Checked(ref, bundle.digest, len(manifest.files), manifest.total_bytes, public_key is not None, looked)
    if quiet:
        click.echo(checked.digest)
        return
    emit(checked.document(manifest.name, manifest.version), output=output, table=checked.print)


@dataclass(frozen=True, slots=True)
class _Checked:
    ref: str
    digest: str
    files: int
    bytes: int
    signed: bool
    model: str  # how it was looked at: plain, deep, or encrypted (not at all)

    def document(self, name: str, version: str) -> dict[str, Any]:
        return {
            "ref": self.ref,
            "digest": self.digest,
            "name": name,
            "version": version,
            "files": self.files,
            "bytes": self.bytes,
            "signature": "verified" if self.signed else "not asked for",
            "deep": self.model == "deep",
            "encrypted": self.model == "encrypted",
        }

    def print(self) -> None:
        click.echo(f"digest     {self.digest}")
        click.echo(f"files      {self.files}, {self.bytes:,} bytes, each as listed")
        click.echo(f"signature  {'by the given key' if self.signed else 'not checked: give --public-key'}")
        click.echo(f"model      {MODEL_SAID[self.model]}")


@contextlib.contextmanager
def _here(source: Source) -> Iterator[BundleDir]:
    """The bundle in a directory and verified: where it lies already, or fetched for as long as this takes."""
    from tidegate.bundle.fetch import fetch
    from tidegate.bundle.verify import verify_dir

    folder = Path(source.uri)
    if folder.is_dir():
        with progress_line("verify") as progress:
            bundle = verify_dir(folder, digest=source.digest, public_key=source.public_key, progress=progress)
        yield bundle
        return
    with tempfile.TemporaryDirectory(prefix="tidegate-") as temporary:
        target = Path(temporary) / "bundle"
        with progress_line("fetch") as progress:
            fetch(source, target, progress=progress)
        yield verify_dir(target)


@click.command(context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("uri")
@click.option("--replace", is_flag=True, help="Let the version become this bundle if it is another one now.")
@click.option("--mount-from", metavar="REPOSITORY", default="", help="Of the same registry: what it has is not sent.")
@output_option
@quiet_option
def push(folder: Path, uri: str, *, replace: bool, mount_from: str, output: str, quiet: bool) -> None:
    """Publish a bundle directory to a store, for S3 with the credentials of the environment (AWS_*).

    To a registry (oci://HOST/REPOSITORY:TAG) with the login that `docker login` left.

    Files that the store has are not sent again, and a version never becomes another bundle unless --replace says so.
    With --quiet: the digest.

    \b
    Example: tidegate push bundle s3://models/digits/1.0.0
    """
    from tidegate.bundle.push import push as publish

    with progress_line("push") as progress:
        pushed = publish(folder, uri, access=PERSONAL, replace=replace, mount_from=mount_from, progress=progress)
    if quiet:
        click.echo(pushed.digest)
        return
    document = {
        "digest": pushed.digest,
        "uri": pushed.uri,
        "pinned": pushed.pinned,
        "files": pushed.files_sent,
        "bytes": pushed.bytes_sent,
        "already": pushed.already,
    }
    state = "already there" if pushed.already else "published"
    sent = f"{pushed.files_sent} files, {pushed.bytes_sent:,} bytes sent"
    bundle = "" if pushed.pinned.endswith(pushed.digest) else f"\nbundle     {pushed.digest}"
    emit(document, output=output, table=lambda: click.echo(f"{state}  {pushed.pinned}  ({sent}){bundle}"))


@click.command(context_settings=HELP)
@click.argument("uri")
@click.argument("folder", type=click.Path(path_type=Path))
@digest_option
@public_key_option
@identity_option
@output_option
@quiet_option
def pull(  # noqa: PLR0913  (one parameter per option)
    uri: str,
    folder: Path,
    *,
    digest: str | None,
    public_key: Path | None,
    identity: Path | None,
    output: str,
    quiet: bool,
) -> None:
    """Fetch and verify a bundle into a new directory, for S3 with the credentials of the environment (AWS_*).

    A pull that was broken off goes on where it was. An encrypted bundle stays encrypted unless --identity decrypts it
    into FOLDER. With --quiet: the digest.

    \b
    Example: tidegate pull s3://models/digits/1.0.0 bundle --public-key release.pub
    """
    from tidegate.bundle.fetch import fetch
    from tidegate.bundle.plain import fetch_plain

    source = Source(uri, digest, _key(public_key), PERSONAL)
    with progress_line("pull") as progress:
        fetched = (
            fetch_plain(source, folder, identity, progress=progress)
            if identity
            else fetch(source, folder, progress=progress)
        )
    if quiet:
        click.echo(fetched.digest)
        return
    document = {
        "digest": fetched.digest,
        "path": str(fetched.path),
        "bytes": fetched.bytes_read,
        "already": fetched.hit,
        "seconds": round(fetched.seconds, 3),
        **({"image": fetched.image} if fetched.image else {}),
    }
    what = "already there" if fetched.hit else f"{fetched.bytes_read:,} bytes"
    what += ", decrypted" if identity else ""
    what += f" of the image {fetched.image}" if fetched.image else ""
    emit(document, output=output, table=lambda: click.echo(f"{fetched.digest}  in {fetched.path}  ({what})"))


@click.command(context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The new bundle directory.")
@click.option("--recipient", "recipients", multiple=True, required=True, metavar="age1…", help="Who can read it.")
@folder_output_option
@quiet_option
def encrypt(folder: Path, *, out: Path, recipients: tuple[str, ...], output: str, quiet: bool) -> None:
    """Make an encrypted bundle of a bundle directory: stores, caches and disks see ciphertext only.

    Its manifest stays readable, and so do labels.txt and README.md. Sign it afterwards. With --quiet: the digest.

    \b
    Example: tidegate encrypt bundle -o sealed --recipient "$(cat age.pub)"
    """
    from tidegate.bundle.encryption import encrypt as seal

    bundle = seal(folder, out, recipients)
    if quiet:
        click.echo(bundle.digest)
        return
    hidden = sum(entry.plain is not None for entry in bundle.manifest.files)
    document = {
        "digest": bundle.digest,
        "path": str(out),
        "encrypted": hidden,
        "readable": [entry.path for entry in bundle.manifest.files if entry.plain is None],
        "recipients": list(recipients),
    }
    said = f"{bundle.digest}  in {out}  ({hidden} files encrypted for {len(recipients)})"
    emit(document, output=output, table=lambda: click.echo(said))


@click.command(context_settings=HELP)
@click.option("--private", "private", type=click.Path(path_type=Path), default="release.key", show_default=True)
@click.option("--public", "public", type=click.Path(path_type=Path), default="release.pub", show_default=True)
@click.option("--age", is_flag=True, help="A pair for encryption instead: the public one is a recipient.")
@output_option
@quiet_option
def keygen(private: Path, public: Path, *, age: bool, output: str, quiet: bool) -> None:
    """Make an ECDSA P-256 key pair for signing; an existing file is never overwritten.

    With --quiet: the path of the public key.

    \b
    Example: tidegate keygen --private release.key --public release.pub
    """
    if age:
        from tidegate.bundle.encryption import generate_identity as generate
    else:
        from tidegate.bundle.signature import generate_keys as generate

    generate(private, public)
    if quiet:
        click.echo(public)
        return
    document = {"private": str(private), "public": str(public)}
    does, undoes = ("decrypts", "encrypts") if age else ("signs", "verifies")
    said = f"{private} {does}: keep it secret; {public} {undoes}"
    emit(document, output=output, table=lambda: click.echo(said))


@click.command(context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), required=True, help="The private key (PEM).")
@output_option
@quiet_option
def sign(folder: Path, key: Path, *, output: str, quiet: bool) -> None:
    """Sign a bundle directory: its manifest, which pins every byte of the rest. With --quiet: the digest.

    \b
    Example: tidegate sign bundle --key release.key
    """
    from tidegate.bundle.manifest import read_bundle_dir
    from tidegate.bundle.signature import sign as sign_manifest

    written = sign_manifest(folder, key)
    digest = read_bundle_dir(folder).digest
    if quiet:
        click.echo(digest)
        return
    document = {"digest": digest, "signature": str(written)}
    emit(document, output=output, table=lambda: click.echo(f"{digest}  signed in {written}"))


def _key(path: Path | None) -> bytes | None:
    from tidegate.bundle.signature import read_public_key

    return None if path is None else read_public_key(path)
