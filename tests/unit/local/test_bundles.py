from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from tests.runtime.small_bundles import linear, linear_samples, write_bundle

from tidegate.api.bundle import BundleSource
from tidegate.api.runtime import Runtime
from tidegate.bundle.encryption import encrypt, generate_identity
from tidegate.bundle.verify import verify_dir
from tidegate.errors import UsageError
from tidegate.local.bundles import Bundles, aside
from tidegate.local.decrypted import DecryptedBundles
from tidegate.plan.observed import Failure, FailureClass, Resolution, RevisionRecord
from tidegate.plan.wanted import ResolveWanted


def resolved(bundles: Bundles, **source: object) -> object:
    wanted = ResolveWanted("key", 1, BundleSource.model_validate(source))
    return asyncio.run(bundles.resolve(wanted))


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    return Bundles(tmp_path / "cache", {}, {}, lambda line: None)


def test_a_volume_that_was_not_given_is_asked_for(bundles: Bundles) -> None:
    found = resolved(bundles, uri="pvc://models/fraud/1")

    assert isinstance(found, Failure)
    assert (found.reason, found.class_) == ("MountMissing", FailureClass.ENVIRONMENT)
    assert "--mount models=DIR" in found.message


def test_a_secret_that_was_not_given_may_come_later(bundles: Bundles) -> None:
    found = resolved(bundles, uri="s3://models/fraud/1", secretRef={"name": "s3"})

    assert isinstance(found, Failure)
    assert (found.reason, found.class_) == ("SecretMissing", FailureClass.ENVIRONMENT)


def test_the_environment_changes_when_a_secret_does(tmp_path: Path) -> None:
    secret = tmp_path / "s3.env"
    secret.write_text("AWS_ACCESS_KEY_ID=a\n")
    bundles = Bundles(tmp_path / "cache", {"s3": secret}, {}, lambda line: None)
    before = bundles.environment
    os.utime(secret, ns=(1, 1))

    assert bundles.environment != before


def test_work_aside_gives_its_result_or_its_error() -> None:
    def fail() -> None:
        raise OSError("no space")

    assert asyncio.run(aside(lambda: 7)) == 7
    with pytest.raises(OSError, match="no space"):
        asyncio.run(aside(fail))


def test_work_aside_that_hangs_keeps_nobody_from_ending() -> None:
    release = threading.Event()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await aside(lambda: release.wait(20))

    asyncio.run(main())
    release.set()


def test_a_revision_whose_bytes_the_cache_has_lost_is_fetched_again(bundles: Bundles, tmp_path: Path) -> None:
    write_bundle(tmp_path / "v1", linear(), linear_samples(), version="v1")
    resolution = resolved(bundles, uri=f"file://{tmp_path}/v1")
    assert isinstance(resolution, Resolution)
    record = RevisionRecord("abc", 1, resolution, Runtime(), base="abc")
    shutil.rmtree(tmp_path / "cache")

    found = asyncio.run(bundles.local(record, BundleSource(uri=resolution.uri)))

    assert (found / "bundle.yaml").exists()


def test_an_encrypted_bundle_is_served_from_memory_and_the_cache_keeps_ciphertext(tmp_path: Path) -> None:
    folder, keys = write_bundle(tmp_path / "v1", linear(), linear_samples(), version="v1"), tmp_path / "keys"
    keys.mkdir()
    for name in ("age", "other"):
        generate_identity(keys / f"{name}.key", keys / f"{name}.pub")
    sealed = encrypt(folder, tmp_path / "sealed", [(keys / "age.pub").read_text()])
    bundles = Bundles(tmp_path / "cache", {"keys": keys}, {}, lambda line: None)

    def source(key: str) -> dict[str, object]:
        ref = {"name": "keys", "key": key}
        return {"uri": f"file://{sealed.path}", "decryption": {"keySecretRef": ref}}

    missing, wrong = resolved(bundles, uri=f"file://{sealed.path}"), resolved(bundles, **source("other.key"))
    found = resolved(bundles, **source("age.key"))

    assert isinstance(missing, Failure)
    assert "name its age key in bundle.decryption" in missing.message
    assert isinstance(wrong, Failure)
    assert (wrong.reason, wrong.class_) == ("DecryptionKeyWrong", FailureClass.ENVIRONMENT)
    assert isinstance(found, Resolution)
    assert found.digest == sealed.digest
    record = RevisionRecord("abc", 1, found, Runtime(), base="abc")
    served = asyncio.run(bundles.local(record, BundleSource.model_validate(source("age.key"))))
    assert (served.is_relative_to("/dev/shm"), verify_dir(served).digest) == (True, verify_dir(folder).digest)
    model = (folder / "model.onnx").read_bytes()
    assert all(model not in path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())
    bundles.close()
    assert not served.exists()


def test_what_a_killed_run_left_in_memory_is_taken_away_and_what_a_live_one_uses_is_not(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "v1", linear(), linear_samples(), version="v1")
    generate_identity(tmp_path / "age.key", tmp_path / "age.pub")
    sealed, key = encrypt(folder, tmp_path / "sealed", [(tmp_path / "age.pub").read_text()]), tmp_path / "age.key"
    left = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="tidegate-plain-"))
    first, second = DecryptedBundles(), DecryptedBundles()

    used = first.path(sealed, key.read_bytes(), "key")
    second.path(sealed, key.read_bytes(), "key")

    assert (left.exists(), used.exists()) == (False, True)
    first.close()
    second.close()
    assert not used.exists()


def test_a_cache_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")

    with pytest.raises(UsageError, match=r"cache: cannot hold bundles: .*XDG_CACHE_HOME"):
        Bundles(tmp_path / "cache", {}, {}, lambda line: None)
