"""The cache: one copy per digest, nothing in use is evicted, nothing damaged is given out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.bundle.cache import Cache
from tidegate.bundle.errors import NotFound
from tidegate.bundle.source import Source
from tidegate.bundle.verify import verify_dir

BundleMaker = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_second_fetch_by_digest_needs_no_store(bundle: BundleMaker, root: Path) -> None:
    folder = bundle()
    first = Cache(root).fetch(Source(str(folder)))
    folder.rename(folder.with_name("gone"))

    again = Cache(root).fetch(Source(str(folder), first.digest))

    assert (again.hit, again.path, again.bytes_read) == (True, first.path, 0)


def test_a_replaced_version_is_still_there_by_its_digest(bundle: BundleMaker, root: Path) -> None:
    old, cache = bundle("old"), Cache(root)
    digest = cache.fetch(Source(str(old))).digest
    old.rename(old.with_name("away"))
    bundle("old", {"weights/new.bin": b"new"})

    assert cache.fetch(Source(str(old), digest)).digest == digest
    assert cache.fetch(Source(str(old))).digest != digest


def test_content_that_another_bundle_has_is_not_read_again(bundle: BundleMaker, root: Path) -> None:
    shared = os.urandom(3_000_000)
    one, two = bundle("one", {"weights/a.bin": shared}), bundle("two", {"weights/a.bin": shared}, version="2")
    cache = Cache(root)
    cache.fetch(Source(str(one)))
    (two / "weights/a.bin").write_bytes(b"\0" * len(shared))  # what the store has does not matter now

    fetched = cache.fetch(Source(str(two)))

    assert verify_dir(fetched.path).digest == fetched.digest


def test_a_damaged_copy_in_the_cache_is_not_passed_on(bundle: BundleMaker, root: Path) -> None:
    shared = os.urandom(3_000_000)
    one, two = bundle("one", {"weights/a.bin": shared}), bundle("two", {"weights/a.bin": shared}, version="2")
    cache = Cache(root)
    spoil(cache.fetch(Source(str(one))).path / "weights/a.bin")

    assert verify_dir(cache.fetch(Source(str(two))).path)


def spoil(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"spoilt")


def test_on_a_shared_volume_a_hit_is_hashed_once_and_replaced_when_damaged(bundle: BundleMaker, root: Path) -> None:
    source = Source(str(bundle(files={"weights/a.bin": b"a" * 100})))
    spoil(Cache(root, shared=True).fetch(source).path / "weights/a.bin")

    again = Cache(root, shared=True).fetch(source)

    assert not again.hit
    assert verify_dir(again.path)


def test_a_hit_with_a_file_missing_is_fetched_again(bundle: BundleMaker, root: Path) -> None:
    source, cache = Source(str(bundle(files={"weights/a.bin": b"a"}))), Cache(root)
    (cache.fetch(source).path / "weights/a.bin").unlink()

    assert verify_dir(cache.fetch(source).path)


def test_the_longest_unused_goes_first_and_a_leased_one_stays(bundle: BundleMaker, root: Path) -> None:
    cache = Cache(root, max_bytes=2500)
    digests = []
    for number in range(2):
        folder = bundle(str(number), {"weights/a.bin": bytes([number]) * 1000})
        digests.append(cache.fetch(Source(str(folder))).digest)
        os.utime(root / "known" / f"{digests[-1][7:]}.json", (1_000_000 + number, 1_000_000 + number))

    with cache.lease(digests[0]):
        newest = cache.fetch(Source(str(bundle("2", {"weights/a.bin": b"x" * 1000})))).digest

    assert [cache.path(digest) is not None for digest in (*digests, newest)] == [True, False, True]


def test_a_lease_dies_with_the_process_that_held_it(bundle: BundleMaker, root: Path) -> None:
    cache = Cache(root, max_bytes=0)
    digest = Cache(root).fetch(Source(str(bundle()))).digest
    script = (
        "import sys, time; from pathlib import Path; from tidegate.bundle.cache import Cache\n"
        "lease = Cache(Path(sys.argv[1])).lease(sys.argv[2]); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(root), digest], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"

    assert cache.evict() == []
    holder.kill()
    holder.communicate(timeout=10)

    assert cache.evict() == [digest]


def test_a_lease_on_what_is_not_here_says_so(root: Path) -> None:
    with pytest.raises(NotFound, match="not in the cache"):
        Cache(root).lease("sha256:" + "a" * 64)


def test_a_bundle_whose_note_was_lost_in_a_crash_is_still_known(bundle: BundleMaker, root: Path) -> None:
    digest = Cache(root).fetch(Source(str(bundle()))).digest
    (root / "known" / f"{digest[7:]}.json").write_text("{brok")

    assert Cache(root, max_bytes=0).evict() == [digest]
