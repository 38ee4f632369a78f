from __future__ import annotations

import asyncio
import os
import shutil
import threading
from pathlib import Path

import pytest
from tests.runtime.small_bundles import linear, linear_samples, write_bundle

from tidegate.api.bundle import BundleSource
from tidegate.api.runtime import Runtime
from tidegate.errors import UsageError
from tidegate.local.bundles import Bundles, aside
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

    found = asyncio.run(bundles.local(record, None))

    assert (found / "bundle.yaml").exists()


def test_a_cache_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")

    with pytest.raises(UsageError, match=r"cache: cannot hold bundles: .*XDG_CACHE_HOME"):
        Bundles(tmp_path / "cache", {}, {}, lambda line: None)
