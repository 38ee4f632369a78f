"""Encrypted bundles: stores and disks see ciphertext, and whoever has the key gets exactly the bundle that went in."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
import pytest

from tidegate.bundle import encryption
from tidegate.bundle.encryption import (
    decrypt,
    decrypt_once,
    decrypted_in_memory,
    encrypt,
    generate_identity,
    read_identities,
)
from tidegate.bundle.errors import Conflict, Denied, DigestMismatch, DiskFull, ManifestInvalid
from tidegate.bundle.fetch import resolve
from tidegate.bundle.manifest import BundleDir, Interface, Lineage, Manifest, Metric, TensorSpec, read_bundle_dir
from tidegate.bundle.push import push
from tidegate.bundle.signature import generate_keys, sign
from tidegate.bundle.source import Source
from tidegate.bundle.verify import verify_dir
from tidegate.bundle.write import render_manifest

BundleMaker = Callable[..., Path]
Command = Callable[..., Any]
SECRET = b"only we know these weights" * 10_000
FILES = {"weights/a.bin": SECRET, "labels.txt": b"no\nyes\n", "notes.txt": b"", "README.md": b"# Card"}


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, str]:
    """A file with an age key, and its recipient."""
    generate_identity(tmp_path / "age.key", tmp_path / "age.pub")
    return tmp_path / "age.key", (tmp_path / "age.pub").read_text().strip()


def decrypted(folder: Path, out: Path, key: Path) -> BundleDir:
    return decrypt(folder, out, read_identities(key), str(key))


def test_what_went_in_comes_out_signature_and_digest_as_well(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path
) -> None:
    folder = bundle(files=FILES)
    generate_keys(tmp_path / "k.key", tmp_path / "k.pub")
    sign(folder, tmp_path / "k.key")

    sealed = encrypt(folder, tmp_path / "sealed", [keys[1]])
    back = decrypted(sealed.path, tmp_path / "back", keys[0])

    assert verify_dir(sealed.path).digest == sealed.digest != back.digest
    assert back.digest == verify_dir(folder, public_key=(tmp_path / "k.pub").read_bytes()).digest
    assert verify_dir(tmp_path / "back", public_key=(tmp_path / "k.pub").read_bytes())


def test_a_store_sees_ciphertext_and_a_readable_manifest(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path
) -> None:
    folder = bundle(files=FILES)
    sealed = encrypt(folder, tmp_path / "sealed", [keys[1]])
    push(sealed.path, f"file://{tmp_path}/store/1")

    manifest = resolve(Source(f"file://{tmp_path}/store/1")).manifest
    stored = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())

    assert SECRET[:26] not in stored
    assert (folder / "model.onnx").read_bytes() not in stored
    assert (manifest.name, manifest.interface) == ("tiny", read_bundle_dir(folder).manifest.interface)
    assert manifest.lineage is not None
    assert (manifest.lineage.action, manifest.lineage.parents) == ("encrypted", (verify_dir(folder).digest,))
    assert {entry.path for entry in manifest.files if entry.plain is None} == {"labels.txt", "README.md"}
    weights = manifest.entry("weights/a.bin")
    assert weights is not None
    assert weights.plain is not None
    assert weights.plain.bytes == len(SECRET) < weights.bytes


def test_each_file_is_one_that_the_tool_age_reads(bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path) -> None:
    encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])
    identity = pyrage.x25519.Identity.from_str(keys[0].read_text().strip())

    assert pyrage.decrypt((tmp_path / "sealed/weights/a.bin").read_bytes(), [identity]) == SECRET


def test_every_recipient_reads_it_and_nobody_else(bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path) -> None:
    generate_identity(tmp_path / "second.key", tmp_path / "second.pub")
    generate_identity(tmp_path / "other.key", tmp_path / "other.pub")
    second = (tmp_path / "second.pub").read_text()
    sealed = encrypt(bundle(), tmp_path / "sealed", [keys[1], second])

    for number, key in enumerate((keys[0], tmp_path / "second.key")):
        decrypted(sealed.path, tmp_path / f"back{number}", key)
    with pytest.raises(Denied, match="none of these age keys") as told:
        decrypted(sealed.path, tmp_path / "never", tmp_path / "other.key")

    assert "AGE-SECRET" not in str(told.value)
    assert not (tmp_path / "never").exists()


def test_another_file_under_the_same_key_is_not_taken(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path
) -> None:
    """Whoever can encrypt for a recipient could change the manifest too, but not without the bundle's own key."""
    sealed = encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])
    recipient = pyrage.x25519.Recipient.from_str(keys[1])
    (sealed.path / "weights/a.bin").write_bytes(pyrage.encrypt(SECRET[:-1] + b"!", [recipient]))

    with pytest.raises(DigestMismatch, match=r"weights/a\.bin: decrypts to another file"):
        decrypted(sealed.path, tmp_path / "back", keys[0])

    assert not (tmp_path / "back").exists()


def test_more_than_the_manifest_lists_is_not_written(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path
) -> None:
    """Room in memory was looked for by what is listed: the rest of a file that is larger may not fit."""
    sealed = encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])
    recipient = pyrage.x25519.Recipient.from_str(keys[1])
    (sealed.path / "weights/a.bin").write_bytes(pyrage.encrypt(SECRET * 10, [recipient]))

    with file_size_limit(2 * len(SECRET)), pytest.raises(DigestMismatch, match="decrypts to another file"):
        decrypted(sealed.path, tmp_path / "back", keys[0])


OTHER = Interface((TensorSpec("x", "FP32", ("batch", 4)),), (TensorSpec("z", "FP32", ("batch", 4)),))
LIES: dict[str, Callable[[Manifest], Manifest]] = {
    "interface": lambda said: replace(said, interface=OTHER),
    "metrics": lambda said: replace(said, metrics=(Metric("accuracy", 1.0),)),
    "version": lambda said: replace(said, version="2"),
    "labels.txt": lambda said: replace(
        said, files=tuple(replace(one, path="original/labels.txt") if one.path == "labels.txt" else one for one in said.files)
    ),
}  # fmt: skip


@pytest.mark.parametrize("field", LIES)
def test_what_the_readable_manifest_says_of_the_model_is_what_its_own_manifest_says(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path, field: str
) -> None:
    """Rollouts judge what can be read, before any key is at hand, and serve what is inside."""
    sealed = encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])
    again = lies(sealed, LIES[field])

    with pytest.raises(ManifestInvalid, match=f"{field} is not that of the bundle that was encrypted"):
        decrypted(again.path, tmp_path / "back", keys[0])

    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("lineage", [None, Lineage((), "encrypted")])
def test_an_encrypted_bundle_has_to_say_what_it_was_made_from(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path, lineage: Lineage | None
) -> None:
    """What it decrypts to is proved by that digest, the second time without a key."""
    sealed = encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])
    again = lies(sealed, lambda said: replace(said, lineage=lineage))

    with pytest.raises(ManifestInvalid, match="lineage does not name the bundle that was encrypted"):
        decrypted(again.path, tmp_path / "back", keys[0])

    assert not (tmp_path / "back").exists()


def lies(sealed: BundleDir, change: Callable[[Manifest], Manifest]) -> BundleDir:
    """The encrypted bundle with another readable manifest, which whoever writes to a store can put there."""
    (sealed.path / "bundle.yaml").write_bytes(render_manifest(change(sealed.manifest)))
    if (sealed.path / "labels.txt").exists() and not read_bundle_dir(sealed.path).manifest.entry("labels.txt"):
        (sealed.path / "labels.txt").rename(sealed.path / "original/labels.txt")
    return verify_dir(sealed.path)


@pytest.mark.parametrize("spoil", ["flip", "cut", "header"])
def test_a_file_that_was_damaged_is_one_sentence(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path, spoil: str
) -> None:
    sealed = encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])
    content = (sealed.path / "weights/a.bin").read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    damaged = {"flip": flipped, "cut": content[:middle], "header": content[:50]}[spoil]
    (sealed.path / "weights/a.bin").write_bytes(damaged)

    with pytest.raises(DigestMismatch, match=r"weights/a\.bin: cannot be decrypted"):
        decrypted(sealed.path, tmp_path / "back", keys[0])

    assert not (tmp_path / "back").exists()


def test_a_disk_that_is_full_is_called_so(bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path) -> None:
    sealed = encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])

    with file_size_limit(len(SECRET) // 2):
        with pytest.raises(DiskFull, match="no space left"):
            decrypted(sealed.path, tmp_path / "back", keys[0])
        with pytest.raises(DiskFull):
            encrypt(tmp_path / "bundle", tmp_path / "again", [keys[1]])

    assert not list(tmp_path.glob("*back*")) + list(tmp_path.glob("*again*"))


@contextlib.contextmanager
def file_size_limit(count: int) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_plaintext_for_a_while_lies_in_memory_and_is_gone_afterwards(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path
) -> None:
    sealed = encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])

    with decrypted_in_memory(sealed.path, read_identities(keys[0]), str(keys[0])) as plain:
        kind = subprocess.run(["stat", "-f", "-c", "%T", plain], capture_output=True, text=True, check=True).stdout
        mode = plain.parent.stat().st_mode & 0o777

    assert (kind.strip(), mode, plain.exists()) == ("tmpfs", 0o700, False)


def test_without_room_in_memory_nothing_is_decrypted(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = encrypt(bundle(), tmp_path / "sealed", [keys[1]])
    monkeypatch.setattr(encryption, "MEMORY", tmp_path / "absent")

    identities = read_identities(keys[0])
    with pytest.raises(DiskFull, match="memory-backed"), decrypted_in_memory(sealed.path, identities, "age.key"):
        pass


def test_room_in_memory_is_needed_for_every_file_also_for_those_that_stay_readable(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = encrypt(bundle(files={**FILES, "README.md": b"# Card\n" * 10_000}), tmp_path / "sealed", [keys[1]])
    written = sum(path.stat().st_size for path in decrypted(sealed.path, tmp_path / "back", keys[0]).path.rglob("*.*"))
    free = [written]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))

    encryption.require_memory(sealed, tmp_path)
    free[0] -= 1
    with pytest.raises(DiskFull, match=f"{written} bytes"):
        encryption.require_memory(sealed, tmp_path)


def test_a_key_that_is_given_as_a_recipient_is_never_repeated(
    bundle: BundleMaker, tidegate: Command, keys: tuple[Path, str], tmp_path: Path
) -> None:
    folder, secret = bundle(), keys[0].read_text().strip()
    for given, says in (
        (secret, "number 2 is a secret key: give the public one"),
        (secret.lower()[:-3], "number 2 is a secret key: give the public one"),
        (secret.partition("1")[2], "number 2 is no age recipient"),
    ):
        ended = tidegate("encrypt", folder, "-o", tmp_path / "out", "--recipient", keys[1], "--recipient", given)

        assert (ended.code, says in ended.err) == (1, True), ended.err
        assert given[20:40] not in ended.out + ended.err


def test_the_commands_from_a_key_to_the_plain_bundle(bundle: BundleMaker, tidegate: Command, tmp_path: Path) -> None:
    folder, store = bundle(files=FILES), f"file://{tmp_path}/store/1"
    made = tidegate("keygen", "--age", "--private", tmp_path / "a.key", "--public", tmp_path / "a.pub")
    recipient = (tmp_path / "a.pub").read_text().strip()
    sealed = tidegate("encrypt", folder, "-o", tmp_path / "sealed", "--recipient", recipient, "--output", "json")
    document = json.loads(sealed.out)
    assert tidegate("push", tmp_path / "sealed", store, "--quiet").out.strip() == document["digest"]
    verified = tidegate("verify", store)
    shown = tidegate("inspect", store)
    kept = tidegate("pull", store, tmp_path / "cipher", "--quiet")
    pulled = tidegate("pull", store, tmp_path / "plain", "--identity", tmp_path / "a.key", "--quiet")

    assert "decrypts: keep it secret" in made.out
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600
    assert (verified.code, "encrypted, so not looked into" in verified.out) == (0, True)
    assert "files    encrypted" in shown.out
    assert kept.out.strip() == document["digest"]
    assert pulled.out.strip() == verify_dir(folder).digest == verify_dir(tmp_path / "plain").digest


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["encrypt", "{bundle}", "-o", "{out}", "--recipient", "age1nonsense"], "is no age recipient"),
        (["encrypt", "{bundle}", "-o", "{bundle}", "--recipient", "{recipient}"], "is there already"),
        (["encrypt", "{sealed}", "-o", "{out}", "--recipient", "{recipient}"], "is encrypted already"),
        (["encrypt", "{absent}", "-o", "{out}", "--recipient", "{recipient}"], "no such file"),
        (["pull", "{sealed}", "{out}", "--identity", "{wrong}"], "none of these age keys"),
        (["pull", "{sealed}", "{out}", "--identity", "{bundle}/labels.txt"], "holds no age key"),
        (["pull", "{sealed}", "{out}", "--identity", "{absent}"], "no such file"),
        (["pull", "{bundle}", "{out}", "--identity", "{key}"], "is not encrypted"),
        (["check", "{sealed}", "--identity", "{wrong}"], "none of these age keys"),
        (["keygen", "--age", "--private", "{key}"], "is there already"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    bundle: BundleMaker,
    tidegate: Command,
    keys: tuple[Path, str],
    tmp_path: Path,
    arguments: list[str],
    says: str,
) -> None:
    generate_identity(tmp_path / "wrong.key", tmp_path / "wrong.pub")
    folder = bundle(files=FILES)
    sealed = encrypt(folder, tmp_path / "sealed", [keys[1]])
    places = {
        "bundle": folder, "sealed": sealed.path, "out": tmp_path / "out", "absent": tmp_path / "absent",
        "key": keys[0], "recipient": keys[1], "wrong": tmp_path / "wrong.key",
    }  # fmt: skip

    ended = tidegate(*(argument.format(**places) for argument in arguments))

    assert (ended.code, ended.err.count("\n")) == (1, 1), ended.err
    assert says in ended.err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_ctrl_c_leaves_no_half_bundle(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupted)

    with pytest.raises(KeyboardInterrupt):
        encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]])

    assert not (tmp_path / "sealed").exists()
    assert not list(tmp_path.glob(".sealed*"))


def test_an_encryption_of_another_kind_is_refused(bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path) -> None:
    sealed = encrypt(bundle(), tmp_path / "sealed", [keys[1]])
    text = (sealed.path / "bundle.yaml").read_text().replace('format: "age"', 'format: "pgp"')
    (sealed.path / "bundle.yaml").write_text(text)

    with pytest.raises(ManifestInvalid, match="this tidegate reads age"):
        read_bundle_dir(sealed.path)


def once(sealed: BundleDir, out: Path, key: Path) -> BundleDir:
    return decrypt_once(sealed.path, out, lambda: read_identities(key), str(key))


def test_what_is_decrypted_already_is_proved_without_a_key_and_stays(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path
) -> None:
    folder = bundle(files=FILES)
    sealed, out = encrypt(folder, tmp_path / "sealed", [keys[1]]), tmp_path / "memory/model"
    first = once(sealed, out, keys[0])
    before = (out / "weights/a.bin").stat().st_ino
    keys[0].unlink()

    again = once(sealed, out, keys[0])

    assert again.digest == first.digest == read_bundle_dir(folder).digest
    assert (out / "weights/a.bin").stat().st_ino == before
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_what_a_killed_run_left_is_removed_before_its_room_is_needed(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, out = encrypt(bundle(files=FILES), tmp_path / "sealed", [keys[1]]), tmp_path / "memory/model"
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)  # as nobody could
        killed.setattr(encryption, "verify_dir", interrupted)
        with pytest.raises(KeyboardInterrupt):
            once(sealed, out, keys[0])
    assert [path.stat().st_size for path in out.parent.rglob("a.bin")] == [len(SECRET)]

    once(sealed, out, keys[0])

    assert [path.name for path in out.parent.iterdir()] == ["model"]


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["another bundle", "a changed file", "no bundle"])
def test_something_else_is_never_taken_for_what_a_bundle_decrypts_to(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path, kind: str
) -> None:
    folder, out = bundle(files=FILES), tmp_path / "memory/model"
    sealed = encrypt(folder, tmp_path / "sealed", [keys[1]])
    if kind == "another bundle":
        other = bundle("other", {**FILES, "labels.txt": b"yes\nno\n"})
        once(encrypt(other, tmp_path / "sealed too", [keys[1]]), out, keys[0])
    elif kind == "a changed file":
        once(sealed, out, keys[0])
        (out / "weights/a.bin").write_bytes(SECRET[:-1] + b"!")
    else:
        out.mkdir(parents=True)
        (out / "notes.txt").write_text("mine")

    with pytest.raises(Conflict, match="is not what the bundle decrypts to"):
        once(sealed, out, keys[0])
    assert any(out.iterdir())


def test_the_room_that_a_manifest_tells_holds_the_plain_files_on_every_kernel(
    bundle: BundleMaker, keys: tuple[Path, str], tmp_path: Path
) -> None:
    """Memory is given by pages, of 64 KiB at most."""
    folder = bundle(files=FILES)
    sealed = encrypt(folder, tmp_path / "sealed", [keys[1]])
    out = decrypted(sealed.path, tmp_path / "back", keys[0])
    sizes = [path.stat().st_size for path in out.path.rglob("*") if path.is_file()]

    assert sealed.manifest.plain_room == sum(-(-size // 65_536) * 65_536 for size in sizes)
    assert read_bundle_dir(folder).manifest.plain_room == 0
