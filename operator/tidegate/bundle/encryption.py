"""Encrypted bundles: stores, caches and disks see ciphertext, and `bundle.yaml` stays readable.

Each file is an age file (https://age-encryption.org/v1), so the outside tool `age` reads it, too.  The manifest lists
the ciphertext's bytes and sha256, and of the plain file its bytes and an HMAC under a key of this bundle alone: a plain
sha256 would tell who guesses a file that he guessed right.  The bundle it was made from is inside, manifest and all, so
that decrypting gives back exactly that bundle.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from tidegate.bundle.assemble import disk_errors
from tidegate.bundle.digest import hex_of
from tidegate.bundle.errors import Conflict, Denied, DigestMismatch, DiskFull, ManifestInvalid, NotFound, Refused
from tidegate.bundle.fetch import is_taken
from tidegate.bundle.manifest import BundleDir, FileEntry, Lineage, Manifest, read_bundle_dir
from tidegate.bundle.new_folder import new_folder
from tidegate.bundle.paths import MANIFEST_NAME, SIGNATURE_NAME, read_plain_file
from tidegate.bundle.sealed import AGE, Encryption, Plain
from tidegate.bundle.verify import verify_dir
from tidegate.bundle.write import write_manifest
from tidegate.errors import Failed, Invalid

READABLE = frozenset(
    {"labels.txt", "README.md"}
)  # a rollout compares labels before any key is at hand; the card is shown
OWN = frozenset({"files", "lineage", "encryption"})  # fields that an encrypted bundle has of itself
ORIGINAL = "original/"  # where the bundle's own manifest and signature are
PRIVATE = "AGE-SECRET-KEY-"
KEY_BYTES = 32
MAX_IDENTITIES = 64 * 2**10
BLOCK = 2**20
MEMORY = Path("/dev/shm")  # noqa: S108  (a folder of our own in it, for nobody else to read)


def encrypt(folder: Path, out: Path, recipients: Sequence[str]) -> BundleDir:
    """Make `out`, which must not exist, the bundle in `folder` encrypted for these age recipients ("age1…")."""
    age = _age()
    if not recipients:
        raise Invalid("nobody could read it", where="--recipient", do="name at least one age1… key")
    for_whom = [_recipient(age, text, number) for number, text in enumerate(recipients, 1)]
    bundle = verify_dir(folder)
    if bundle.manifest.encryption is not None:
        raise Invalid("is encrypted already", where=str(folder), do="encrypt the bundle that it was made from")
    key = secrets.token_bytes(KEY_BYTES)
    with new_folder(out) as unfinished, disk_errors(out):
        entries = []
        for path, source in _to_write(bundle):
            target = unfinished / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if path in READABLE:
                shutil.copyfile(source, target)
                entries.append(_entry(path, target))
                continue
            plain = _encrypt_file(age, source, target, for_whom, key)
            entries.append(replace(_entry(path, target), plain=plain))
        sealed = Encryption(AGE, base64.b64encode(age.encrypt(key, for_whom)).decode())
        made = Lineage((bundle.digest,), "encrypted")
        write_manifest(replace(bundle.manifest, files=tuple(entries), encryption=sealed, lineage=made), unfinished)
    return read_bundle_dir(out)


def decrypt(folder: Path, out: Path, keys: Sequence[Any], where: str) -> BundleDir:
    """Make `out`, which must not exist, the bundle that was encrypted into `folder`, proved by its own digest.

    `folder` has been verified; `keys` are of `parse_identities`, given at `where`.  Denied: none of them fits.
    """
    age = _age()
    bundle = read_bundle_dir(folder)
    sealed = bundle.manifest.encryption
    if sealed is None:
        raise Invalid("is not encrypted", where=str(folder), do="leave the age key away")
    key = open_key(sealed, keys, where)
    with new_folder(out) as unfinished, disk_errors(out):
        for entry in bundle.manifest.files:
            target = unfinished / entry.path.removeprefix(ORIGINAL)
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.plain is None:
                shutil.copyfile(folder / entry.path, target)
            else:
                _decrypt_file(age, folder / entry.path, target, keys, _Expected(entry, key))
        _verified(unfinished, bundle)
    return read_bundle_dir(out)


def open_key(sealed: Encryption, keys: Sequence[Any], where: str) -> bytes:
    """The bundle's own key, which only recipients get; Denied: none of `keys`, given at `where`, is one of theirs."""
    age = _age()
    try:
        key: bytes = age.decrypt(base64.b64decode(sealed.key), list(keys))
    except (age.DecryptError, ValueError):
        raise Denied(
            "none of these age keys is one that the bundle was encrypted for",
            where=where,
            do="name the key of a recipient",
            reason="DecryptionKeyWrong",
        ) from None
    return key


def decrypt_once(folder: Path, out: Path, keys: Callable[[], Sequence[Any]], where: str) -> BundleDir:
    """As `decrypt`, unless an earlier run has done it: what that left is proved, for which nobody needs `keys`.

    For one run at a time: what a killed one left unfinished is removed first, as there may be no room beside it.
    Conflict: `out` is something else.
    """
    bundle = read_bundle_dir(folder)
    unfinished = out.parent / f".{out.name}.{hex_of(bundle.digest)[:16]}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    if is_taken(out):
        return _left_before(out, bundle)
    given = keys()
    out.parent.mkdir(parents=True, exist_ok=True)
    require_memory(bundle, out.parent)
    try:
        decrypt(folder, unfinished / out.name, given, where)
        (unfinished / out.name).rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return read_bundle_dir(out)


def _left_before(out: Path, bundle: BundleDir) -> BundleDir:
    try:
        return _verified(out, bundle)
    except (Refused, NotFound):
        raise Conflict(
            "is there already and is not what the bundle decrypts to",
            where=str(out),
            do="name another directory, or remove that one",
        ) from None


@contextlib.contextmanager
def decrypted_in_memory(folder: Path, keys: Sequence[Any], where: str, memory: Path | None = None) -> Iterator[Path]:
    """The bundle that was encrypted into `folder`, on a file system that no disk backs, for as long as this lasts."""
    memory = memory or MEMORY
    require_memory(read_bundle_dir(folder), memory)
    with tempfile.TemporaryDirectory(dir=memory, prefix="tidegate-") as scratch:
        yield decrypt(folder, Path(scratch) / "bundle", keys, where).path


def require_memory(bundle: BundleDir, memory: Path) -> None:
    """DiskFull unless there is room in `memory` for what this bundle decrypts to."""
    need = sum(entry.plain.bytes if entry.plain else entry.bytes for entry in bundle.manifest.files)
    if not memory.is_dir() or shutil.disk_usage(memory).free < need:
        raise DiskFull(f"{need} bytes of memory-backed space are needed", where=str(memory), do="mount a tmpfs there")


def generate_identity(private: Path, public: Path) -> None:
    """Write a new age key pair; neither file may exist."""
    from tidegate.bundle.signature import require_absent, write_new

    require_absent(private, public)
    identity = _age().x25519.Identity.generate()
    write_new(private, f"{identity}\n".encode(), 0o600)
    write_new(public, f"{identity.to_public()}\n".encode(), 0o644)


def read_identities(path: Path) -> list[Any]:
    """The age keys in a file."""
    return parse_identities(read_plain_file(path.resolve(), limit=MAX_IDENTITIES), str(path))


def parse_identities(content: bytes, where: str) -> list[Any]:
    """Age keys ("AGE-SECRET-KEY-1…"), one a line, `#` for comments."""
    age = _age()
    lines = content.decode("utf-8", "replace").splitlines()
    texts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    try:
        found = [age.x25519.Identity.from_str(text) for text in texts]
    except (age.IdentityError, ValueError):
        found = []
    if not found:
        what, do = "holds no age key (AGE-SECRET-KEY-1…)", "make one: tidegate keygen --age"
        raise Denied(what, where=where, do=do, reason="DecryptionKeyWrong")
    return found


class _Counted:
    """A plain file that is read once, counted and authenticated on its way."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        self._file, self._count = file, 0
        self._hmac = hmac.new(key, digestmod=hashlib.sha256)

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._hmac.update(block)
        self._count += len(block)
        return block

    @property
    def plain(self) -> Plain:
        return Plain(self._count, self._hmac.hexdigest())


class _Expected:
    """A plain file that is written once, and then has to be the one that the manifest lists."""

    def __init__(self, entry: FileEntry, key: bytes) -> None:
        self.entry, self._count = entry, 0
        self._hmac = hmac.new(key, digestmod=hashlib.sha256)
        self.file: BinaryIO | None = None

    def write(self, block: bytes) -> int:
        assert self.file is not None
        assert self.entry.plain is not None
        self._hmac.update(block)
        self._count += len(block)
        if self._count > self.entry.plain.bytes:  # there may be room for no more
            raise self._other()
        return self.file.write(block)

    def flush(self) -> None:
        assert self.file is not None
        self.file.flush()

    def check(self) -> None:
        if self.entry.plain != Plain(self._count, self._hmac.hexdigest()):
            raise self._other()

    def _other(self) -> DigestMismatch:
        what = "decrypts to another file than was encrypted"
        return DigestMismatch(what, where=self.entry.path, do="encrypt again")


def _encrypt_file(age: Any, source: Path, target: Path, for_whom: Sequence[Any], key: bytes) -> Plain:
    with source.open("rb") as plain, target.open("wb") as cipher:
        counted = _Counted(plain, key)
        try:
            age.encrypt_io(counted, cipher, for_whom)
        except age.EncryptError as error:  # of a full disk's OSError the library keeps only the text
            raise DiskFull(f"cannot be encrypted: {error}", where=str(source), do="make room") from None
    return counted.plain


def _decrypt_file(age: Any, source: Path, target: Path, keys: Sequence[Any], expected: _Expected) -> None:
    try:
        with source.open("rb") as cipher, target.open("xb") as expected.file:
            age.decrypt_io(cipher, expected, list(keys))
    except (age.DecryptError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; those of the library, for a file that was changed or cut, have no number
        raise DigestMismatch("cannot be decrypted", where=expected.entry.path, do="encrypt the bundle again") from None
    expected.check()


def _verified(plain: Path, bundle: BundleDir) -> BundleDir:
    """What lies in `plain`, which is the bundle that was encrypted into `bundle`, every byte of it."""
    lineage = bundle.manifest.lineage
    if lineage is None or not lineage.parents:
        what = "lineage does not name the bundle that was encrypted"
        raise ManifestInvalid(what, where=MANIFEST_NAME, do="encrypt the bundle again")
    found = verify_dir(plain, digest=lineage.parents[0])
    _require_same(bundle.manifest, found.manifest)
    return found


def _require_same(said: Manifest, own: Manifest) -> None:
    """What is readable is what rollouts judge, before any key is at hand; what they serve is the bundle inside."""
    names = (one.name for one in fields(Manifest) if one.name not in OWN)
    differing = [name for name in names if getattr(said, name) != getattr(own, name)]
    differing += [path for path in sorted(READABLE) if said.entry(path) != own.entry(path)]
    for name in differing:
        what = f"{name} is not that of the bundle that was encrypted"
        raise ManifestInvalid(what, where=MANIFEST_NAME, do="encrypt the bundle again")


def _to_write(bundle: BundleDir) -> Iterator[tuple[str, Path]]:
    """Every file of the encrypted bundle, and what it is made from."""
    for entry in bundle.manifest.files:
        if entry.path.startswith(ORIGINAL):
            raise Invalid(f"{entry.path} is a name that encryption needs", where=str(bundle.path), do="rename the file")
        yield entry.path, bundle.path / entry.path
    for name in (MANIFEST_NAME, SIGNATURE_NAME):
        if (bundle.path / name).exists():
            yield f"{ORIGINAL}{name}", bundle.path / name


def _entry(path: str, file: Path) -> FileEntry:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return FileEntry(path, file.stat().st_size, digest)


def _recipient(age: Any, text: str, number: int) -> Any:
    """The recipient in a text, which no error repeats: it may be a secret."""
    try:
        return age.x25519.Recipient.from_str(text.strip())
    except (age.RecipientError, ValueError):
        secret = PRIVATE in text.upper()
        what = "is a secret key" if secret else "is no age recipient"
        do = "give the public one (age1…)" if secret else "give an age1… key"
        raise Invalid(f"number {number} {what}", where="--recipient", do=do) from None


def _age() -> Any:
    try:
        import pyrage
    except ImportError:
        raise Failed(
            "the age library is not installed",
            where="pyrage",
            do="pip install 'tidegate[encryption]'",
            reason="MissingExtra",
        ) from None
    return pyrage
