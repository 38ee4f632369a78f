"""What a store holds, asked of a file system, a real S3 server and a real registry; and what is swept out of it."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from examples.demo.s3 import S3Server
from tests.bundle.registry import Registry
from tests.bundle.tiny import write_bundle

from tidegate.bundle.catalog import catalog, lineage
from tidegate.bundle.digest import digest_of
from tidegate.bundle.errors import TooLarge, Unreachable
from tidegate.bundle.manifest import Lineage, Metric
from tidegate.bundle.push import push
from tidegate.bundle.signature import generate_keys, sign
from tidegate.bundle.source import Access
from tidegate.bundle.verify import verify_dir

Command = Callable[..., Any]
WEEK = 7 * 86400


@pytest.fixture(params=["file", "s3", "oci"])
def place(request: pytest.FixtureRequest, s3: S3Server, registry: Registry, tmp_path: Path) -> tuple[str, str, Access]:
    """A part of each kind of store that no other test uses: its address, what separates versions, and the access."""
    name = f"c{uuid.uuid4().hex}"
    return {
        "file": (f"file://{tmp_path}/{name}", "/", Access(allow_loopback=True)),
        "s3": (f"s3://models/{name}", "/", Access(s3.credentials(), allow_loopback=True)),
        "oci": (f"oci://{registry.place}/{name}", ":", Access(allow_loopback=True)),
    }[request.param]


def family(folder: Path) -> tuple[Path, Path, Path]:
    """A parent that is signed, its child, and one that is no relation."""
    parent = write_bundle(folder / "parent", name="digits", metrics=(Metric("accuracy", 0.97),))
    generate_keys(folder / "k.key", folder / "k.pub")
    sign(parent, folder / "k.key")
    made = Lineage((verify_dir(parent).digest,), "quantized")
    child = write_bundle(folder / "child", {"labels.txt": b"x"}, name="digits", version="1-int8", lineage=made)
    return parent, child, write_bundle(folder / "other", {"labels.txt": b"y"}, name="fraud")


def test_a_catalog_is_every_version_below_an_address_and_a_tree_of_who_was_made_from_whom(
    place: tuple[str, str, Access], tmp_path: Path
) -> None:
    address, between, access = place
    parent, child, other = family(tmp_path)
    where = {
        f"{address}/digits{between}1": parent,
        f"{address}/digits{between}2": child,
        f"{address}/fraud{between}1": other,
    }
    for uri, folder in where.items():
        push(folder, uri, access=access)

    found = catalog(address, access)

    assert {held.uri: held.digest for held in found} == {
        uri: verify_dir(folder).digest for uri, folder in where.items()
    }
    assert [held.resolved.signature is not None for held in found if held.resolved] == [True, False, False]
    assert [(depth, held.uri) for depth, held in lineage(found)] == list(zip((0, 1, 0), where, strict=True))


def test_one_repository_is_listed_without_its_neighbours(place: tuple[str, str, Access], tmp_path: Path) -> None:
    address, between, access = place
    _, child, other = family(tmp_path)
    push(child, f"{address}/digits{between}1", access=access)
    push(other, f"{address}/digits-too{between}1", access=access)

    assert [held.uri for held in catalog(f"{address}/digits", access)] == [f"{address}/digits{between}1"]


def test_a_version_that_cannot_be_read_is_a_row_that_says_why(tmp_path: Path, tidegate: Command) -> None:
    store = tmp_path / "store"
    push(write_bundle(tmp_path / "good"), f"file://{store}/good/1")
    (store / "bad/1").mkdir(parents=True)
    (store / "bad/1/bundle.yaml").write_text("formatVersion: 99\n")

    told = tidegate("catalog", store, "-o", "json")

    rows = json.loads(told.out)["bundles"]
    assert (told.code, [row["uri"].rpartition("store/")[2] for row in rows]) == (0, ["bad/1", "good/1"])
    assert "formatVersion is 99" in rows[0]["problem"]
    assert "formatVersion is 99" in tidegate("catalog", store).out


def test_the_page_holds_all_it_shows_and_no_text_of_a_store_becomes_part_of_it(
    tmp_path: Path, tidegate: Command
) -> None:
    parent, child, _ = family(tmp_path)
    for version, folder in (("1", parent), ("2", child)):
        push(folder, f"file://{tmp_path}/store/digits/{version}")
    (tmp_path / "store/bad").mkdir()
    (tmp_path / "store/bad/bundle.yaml").write_text("<script>alert(1)</script>: 1\n")

    ended = tidegate("catalog", tmp_path / "store", "--html", tmp_path / "page.html", "--quiet")

    page = (tmp_path / "page.html").read_text()
    assert ended.out.split() == [f"file://{tmp_path}/store/{name}" for name in ("bad", "digits/1", "digits/2")]
    assert verify_dir(parent).digest in page
    assert "quantized" in page
    assert "accuracy 0.97" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_folder_is_no_page(tmp_path: Path, tidegate: Command) -> None:
    ended = tidegate("catalog", tmp_path, "--html", tmp_path)

    assert ended.code == 2
    assert f"File '{tmp_path}' is a directory" in ended.err


@pytest.mark.parametrize(
    ("address", "code", "says"),
    [
        ("https://example.com/models", 1, "https:// stores cannot be listed"),
        ("s3://models/digits@sha256:" + "a" * 64, 1, "no address of a store"),
        ("oci://127.0.0.1:1", 5, "the connection failed"),
        ("absent-folder", 1, "no such directory"),
    ],
)
def test_what_cannot_be_listed_is_one_sentence(tidegate: Command, address: str, code: int, says: str) -> None:
    ended = tidegate("catalog", address)

    assert (ended.code, ended.err.count("\n")) == (code, 1)
    assert says in ended.err


def test_a_store_that_is_down_is_no_empty_catalog(tmp_path: Path) -> None:
    nowhere = Access({"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})

    with pytest.raises(Unreachable):
        catalog("s3://models", nowhere)


def test_a_catalog_has_an_end(tmp_path: Path) -> None:
    for version in range(3):
        push(write_bundle(tmp_path / str(version), {"n.txt": b"%d" % version}), f"file://{tmp_path}/store/m/{version}")

    with pytest.raises(TooLarge, match="more than 2 versions"):
        catalog(f"{tmp_path}/store", Access(), most=2)


def orphan(store: Path, name: str, *, age: float) -> Path:
    """A blob as a push that was broken off leaves it."""
    path = store / "blobs/sha256" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left over")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_blobs_that_no_manifest_names_go_when_they_are_old(tmp_path: Path, tidegate: Command) -> None:
    store = tmp_path / "store"
    old, new = orphan(store, "a" * 64, age=WEEK + 60), orphan(store, "b" * 64, age=WEEK - 60)
    half = orphan(store, ".push-x1", age=WEEK + 60)
    folder = write_bundle(tmp_path / "one", {"labels.txt": b"x"})
    push(folder, f"file://{store}/1")
    push(write_bundle(tmp_path / "two", {"labels.txt": b"y"}), f"file://{store}/1", replace=True)
    for blob in (store / "blobs/sha256").iterdir():
        if len(blob.name) == 64 and blob not in (old, new):
            os.utime(blob, (0, 0))

    shown = tidegate("gc", store, "--dry-run", "-o", "json")
    assert (old.exists(), half.exists()) == (True, True)
    swept = tidegate("gc", store, "--quiet")

    document = json.loads(shown.out)
    assert ({row["path"] for row in document["files"]}, document["removed"]) == ({str(old), str(half)}, False)
    assert (swept.out.strip(), old.exists(), half.exists(), new.exists()) == ("18", False, False, True)
    # A replaced version is still whole for whoever knows its digest.
    pinned = f"file://{store}/1@{verify_dir(folder).digest}"
    assert tidegate("pull", pinned, tmp_path / "here").code == 0


def test_in_a_bucket_as_well(s3: S3Server, objects: Any, tidegate: Command, tmp_path: Path) -> None:
    repository = f"g{uuid.uuid4().hex}"
    push(
        write_bundle(tmp_path / "one"),
        f"s3://models/{repository}/1",
        access=Access(s3.credentials(), allow_loopback=True),
    )
    objects.put_object(Bucket="models", Key=f"{repository}/blobs/sha256/{'a' * 64}", Body=b"left over")

    young = tidegate("gc", f"s3://models/{repository}", "--quiet")
    swept = tidegate("gc", f"s3://models/{repository}", "--older-than", "0s", "-o", "json")

    assert young.out.strip() == "0"
    assert [row["path"] for row in json.loads(swept.out)["files"]] == [f"{repository}/blobs/sha256/{'a' * 64}"]
    assert tidegate("pull", f"s3://models/{repository}/1", tmp_path / "here").code == 0


def test_nothing_is_removed_while_a_manifest_cannot_be_read(tmp_path: Path, tidegate: Command) -> None:
    store = tmp_path / "store"
    old = orphan(store, "a" * 64, age=WEEK + 60)
    broken = store / f"manifests/sha256/{digest_of(b'x').removeprefix('sha256:')}.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("formatVersion: 99\n")

    ended = tidegate("gc", store)

    assert (ended.code, ended.err.count("\n"), old.exists()) == (1, 1, True)
    assert "nothing was removed" in ended.err


def test_a_registry_sweeps_for_itself(registry: Registry, tidegate: Command) -> None:
    ended = tidegate("gc", f"oci://{registry.place}/models/digits")

    assert (ended.code, "run its own garbage collection" in ended.err) == (1, True)
