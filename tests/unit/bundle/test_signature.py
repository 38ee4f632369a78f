"""Signatures: over exactly the manifest, by exactly the key, and anything else has one of three names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tidegate.bundle.errors import SignatureRefused
from tidegate.bundle.fetch import fetch
from tidegate.bundle.signature import generate_keys, sign, verify_signature
from tidegate.bundle.source import Source
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Invalid

BundleMaker = Callable[..., Path]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    generate_keys(tmp_path / "release.key", tmp_path / "release.pub")
    return tmp_path / "release.key"


def public(key: Path) -> bytes:
    return key.with_suffix(".pub").read_bytes()


def test_a_signed_bundle_is_accepted_with_its_key(bundle: BundleMaker, key: Path, tmp_path: Path) -> None:
    folder = bundle()
    sign(folder, key)

    assert verify_dir(folder, public_key=public(key))
    assert fetch(Source(str(folder), public_key=public(key)), tmp_path / "here").path.joinpath("bundle.sig").exists()


def test_the_outside_command_accepts_our_signatures(bundle: BundleMaker, key: Path) -> None:
    folder = bundle()
    signature = sign(folder, key)
    command = ["verify", "key", str(folder), "--public_key", str(key.with_suffix(".pub")), "--signature"]

    ended = subprocess.run(
        [Path(sys.executable).parent / "model_signing", *command, str(signature), "--ignore_unsigned_files"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr


def test_without_a_signature_it_is_missing_and_no_file_is_touched(
    bundle: BundleMaker, key: Path, tmp_path: Path
) -> None:
    with pytest.raises(SignatureRefused) as caught:
        fetch(Source(str(bundle()), public_key=public(key)), tmp_path / "here")

    assert caught.value.reason == "SignatureMissing"
    assert not list(tmp_path.glob(".here*"))


def test_a_signature_by_another_key_is_told_apart(bundle: BundleMaker, key: Path, tmp_path: Path) -> None:
    folder = bundle()
    sign(folder, key)
    generate_keys(tmp_path / "other.key", tmp_path / "other.pub")

    with pytest.raises(SignatureRefused) as caught:
        verify_dir(folder, public_key=(tmp_path / "other.pub").read_bytes())

    assert caught.value.reason == "SignatureOtherKey"


def forged_hint(signature: bytes, other: bytes) -> bytes:
    document, stolen = json.loads(signature), json.loads(other)
    document["verificationMaterial"] = stolen["verificationMaterial"]
    return json.dumps(document).encode()


@pytest.mark.parametrize("spoil", [lambda raw: raw + b"#", lambda raw: raw.replace(b"tiny", b"evil")])
def test_a_changed_manifest_makes_the_signature_invalid(
    bundle: BundleMaker, key: Path, spoil: Callable[[bytes], bytes]
) -> None:
    folder = bundle()
    signature = sign(folder, key).read_bytes()

    with pytest.raises(SignatureRefused) as caught:
        verify_signature(spoil((folder / "bundle.yaml").read_bytes()), signature, public(key))

    assert caught.value.reason == "SignatureInvalid"


def test_a_signature_that_only_claims_to_be_by_the_key_is_invalid(
    bundle: BundleMaker, key: Path, tmp_path: Path
) -> None:
    folder = bundle()
    ours = sign(folder, key).read_bytes()
    generate_keys(tmp_path / "other.key", tmp_path / "other.pub")
    theirs = sign(folder, tmp_path / "other.key").read_bytes()

    with pytest.raises(SignatureRefused) as caught:
        verify_signature((folder / "bundle.yaml").read_bytes(), forged_hint(theirs, ours), public(key))

    assert caught.value.reason == "SignatureInvalid"


@pytest.mark.parametrize(
    "garbage", [b"", b"{}", b"[]", b"\x00\xff", b'{"verificationMaterial": 3}', b"[" * 100_000, b"null"]
)
def test_a_file_that_is_no_signature_is_invalid(bundle: BundleMaker, key: Path, garbage: bytes) -> None:
    with pytest.raises(SignatureRefused) as caught:
        verify_signature((bundle() / "bundle.yaml").read_bytes(), garbage, public(key))

    assert caught.value.reason == "SignatureInvalid"


def test_keys_are_private_and_never_overwritten(key: Path) -> None:
    before = key.read_bytes()

    with pytest.raises(Invalid, match="never overwritten"):
        generate_keys(key, key.with_suffix(".pub"))

    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes() == before


def test_other_kinds_of_keys_are_refused_in_one_sentence(bundle: BundleMaker, tmp_path: Path) -> None:
    edwards = ed25519.Ed25519PrivateKey.generate()
    pem = edwards.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "ed.key").write_bytes(pem)
    half = edwards.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    with pytest.raises(Invalid, match="not an ECDSA private key"):
        sign(bundle(), tmp_path / "ed.key")
    for wrong in (half, b"", b"not a key", pem):
        with pytest.raises(Invalid, match="not an ECDSA public key"):
            verify_signature(b"", b"", wrong)
