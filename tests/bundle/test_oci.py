"""Bundles in a real registry: images that any tool reads, found by tag and by both digests, and damage in a sentence."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bundle.registry import Registry
from tests.bundle.tiny import at_once

from tidegate.bundle.errors import Conflict, DigestMismatch, ManifestInvalid, NotFound, SignatureRefused
from tidegate.bundle.fetch import fetch, resolve
from tidegate.bundle.push import push
from tidegate.bundle.signature import generate_keys, sign
from tidegate.bundle.source import Access, Source
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Invalid

BundleMaker = Callable[..., Path]
HERE = Access(allow_loopback=True)
WEIGHTS = os.urandom(3 * 2**20 + 7)
FILES = {"weights/a.bin": WEIGHTS, "labels.txt": b"no\nyes\n", "empty.txt": b""}


@pytest.fixture
def repository() -> str:
    """A repository that no other test uses."""
    return f"models/{uuid.uuid4().hex}"


def tag_image(registry: Registry, repository: str, tag: str, manifest: dict[str, Any]) -> None:
    """Put another image under a tag, as any client of the registry could."""
    import urllib.request

    url = f"http://{registry.place}/v2/{repository}/manifests/{tag}"
    request = urllib.request.Request(url, json.dumps(manifest).encode(), method="PUT")
    request.add_header("Content-Type", manifest["mediaType"])
    urllib.request.urlopen(request, timeout=10).close()


def test_a_bundle_goes_there_and_back(bundle: BundleMaker, registry: Registry, repository: str, tmp_path: Path) -> None:
    uri, seen = registry.uri(repository, "1.0.0"), list[int]()
    pushed = push(bundle(files=FILES), uri, access=HERE, progress=lambda done, _: seen.append(done))

    fetched = fetch(Source(uri, access=HERE), tmp_path / "here")

    assert verify_dir(tmp_path / "here").digest == fetched.digest == pushed.digest
    assert fetched.bytes_read == pushed.bytes_sent == fetched.manifest.total_bytes == max(seen)
    assert pushed.pinned == f"{uri}@{fetched.image}"


def test_each_layer_is_a_plain_tar_of_one_file_that_belongs_to_nobody(
    bundle: BundleMaker, registry: Registry, repository: str
) -> None:
    push(bundle(files=FILES), registry.uri(repository, "1"), access=HERE)

    manifest = registry.manifest(repository, "1")
    config = json.loads(registry.blob(manifest["config"]["digest"]).read_bytes())
    found = {}
    for row in manifest["layers"]:
        content = registry.blob(row["digest"]).read_bytes()
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as layer:
            [member] = layer.getmembers()
            stream = layer.extractfile(member)
            assert stream is not None
            found[member.name] = stream.read()
        assert (member.uid, member.gid, member.mtime, member.isreg(), member.offset_data) == (0, 0, 0, True, 512)
        assert row["annotations"]["io.tidegate.path"] == member.name

    assert config["rootfs"]["diff_ids"] == [row["digest"] for row in manifest["layers"]]  # a node can unpack it
    assert {path: found[path] for path in FILES} == FILES
    assert (
        manifest["annotations"]["io.tidegate.bundle.digest"]
        == f"sha256:{hashlib.sha256(found['bundle.yaml']).hexdigest()}"
    )


def test_the_same_bundle_is_the_same_image_everywhere(bundle: BundleMaker, registry: Registry, repository: str) -> None:
    folder = bundle(files=FILES)

    one = push(folder, registry.uri(repository, "1"), access=HERE)
    two = push(folder, registry.uri(f"{repository}-copy", "1"), access=HERE)

    assert one.pinned.partition("@")[2] == two.pinned.partition("@")[2]


def test_a_path_too_long_for_a_plain_header_is_stored_as_well(
    bundle: BundleMaker, registry: Registry, repository: str, tmp_path: Path
) -> None:
    uri, path = registry.uri(repository, "1"), f"weights/{'w' * 120}.bin"
    push(bundle(files={path: WEIGHTS}), uri, access=HERE)

    fetch(Source(uri, access=HERE), tmp_path / "here")

    assert (tmp_path / "here" / path).read_bytes() == WEIGHTS


def test_a_second_push_sends_nothing_and_a_derived_bundle_only_what_is_new(
    bundle: BundleMaker, registry: Registry, repository: str
) -> None:
    folder = bundle("parent", files=FILES)
    push(folder, registry.uri(repository, "1"), access=HERE)

    again = push(folder, registry.uri(repository, "1"), access=HERE)
    derived = push(bundle("derived", {**FILES, "head.bin": b"h" * 100}), registry.uri(repository, "2"), access=HERE)

    assert (again.already, again.files_sent, again.bytes_sent) == (True, 0, 0)
    assert (derived.files_sent, derived.bytes_sent) == (1, 100)


def test_another_repository_of_the_registry_lends_what_it_has(
    bundle: BundleMaker, registry: Registry, repository: str, tmp_path: Path
) -> None:
    push(bundle("parent", files=FILES), registry.uri(repository, "1"), access=HERE)
    folder, uri = bundle("derived", {**FILES, "head.bin": b"h" * 100}), registry.uri(f"{repository}-derived", "1")

    mounted = push(folder, uri, access=HERE, mount_from=repository)

    assert mounted.bytes_sent == 100
    assert fetch(Source(uri, access=HERE), tmp_path / "here").digest == mounted.digest


def test_a_version_never_becomes_another_bundle_unless_told(
    bundle: BundleMaker, registry: Registry, repository: str, tmp_path: Path
) -> None:
    uri = registry.uri(repository, "1")
    old, folder = push(bundle("old"), uri, access=HERE), bundle("new", {"labels.txt": b"x"})

    with pytest.raises(Conflict, match=r"is sha256:.* already"):
        push(folder, uri, access=HERE)
    new = push(folder, uri, access=HERE, replace=True)

    assert resolve(Source(uri, access=HERE)).digest == new.digest
    # Pods of the old version know its digest, and find it although the tag has moved on; so do pinned addresses.
    assert fetch(Source(uri, old.digest, access=HERE), tmp_path / "by-bundle").digest == old.digest
    assert fetch(Source(old.pinned, access=HERE), tmp_path / "by-image").digest == old.digest


def test_of_pushes_at_once_the_version_is_one_of_them_whole(
    bundle: BundleMaker, registry: Registry, repository: str, tmp_path: Path
) -> None:
    uri = registry.uri(repository, "1")
    folders = [bundle(str(number), {"weights/a.bin": bytes([number]) * 1000}) for number in range(3)]

    won, lost = at_once(lambda folder: push(folder, uri, access=HERE).digest, folders)

    assert fetch(Source(uri, access=HERE), tmp_path / "here").digest in won
    assert all(isinstance(error, Conflict) for error in lost)


def test_a_signature_is_found_by_the_image_and_changes_no_digest(
    bundle: BundleMaker, registry: Registry, repository: str, tmp_path: Path
) -> None:
    folder, uri = bundle(), registry.uri(repository, "1")
    keys = {name: (tmp_path / f"{name}.key", tmp_path / f"{name}.pub") for name in ("first", "second")}
    for pair in keys.values():
        generate_keys(*pair)
    unsigned = push(folder, uri, access=HERE)
    with pytest.raises(SignatureRefused, match="no signature"):
        resolve(Source(uri, public_key=keys["first"][1].read_bytes(), access=HERE))

    for name in ("first", "second"):  # the newest counts
        sign(folder, keys[name][0])
        signed = push(folder, uri, access=HERE)
        resolved = resolve(Source(uri, public_key=keys[name][1].read_bytes(), access=HERE))
        assert (resolved.signature_checked, signed.pinned) == (True, unsigned.pinned)

    with pytest.raises(SignatureRefused, match="another key"):
        resolve(Source(uri, public_key=keys["first"][1].read_bytes(), access=HERE))


def test_a_tag_that_moved_between_resolve_and_fetch_is_told(
    bundle: BundleMaker, registry: Registry, repository: str, tmp_path: Path
) -> None:
    uri = registry.uri(repository, "1")
    push(bundle("new", {"labels.txt": b"x"}), uri, access=HERE)
    other = verify_dir(bundle("old")).digest  # copied by a tool that took the tag alone, and moved since

    with pytest.raises(DigestMismatch, match=f"expected {other}, found sha256:") as told:
        fetch(Source(uri, other, access=HERE), tmp_path / "here")

    assert "the bundle there is another one" in str(told.value)
    assert not (tmp_path / "here").exists()


def test_an_image_that_is_not_the_pinned_one_is_refused(
    bundle: BundleMaker, registry: Registry, repository: str
) -> None:
    pushed = push(bundle(), registry.uri(repository, "1"), access=HERE)
    image = pushed.pinned.partition("@")[2]
    registry.blob(image).write_bytes(registry.blob(image).read_bytes().replace(b'"tiny"', b'"evil"'))

    with pytest.raises((DigestMismatch, NotFound)):
        resolve(Source(pushed.pinned, access=HERE))


def test_a_truncated_layer_is_told_with_both_sizes(
    bundle: BundleMaker, registry: Registry, repository: str, tmp_path: Path
) -> None:
    uri = registry.uri(repository, "1")
    push(bundle(files={"weights/a.bin": os.urandom(70_000)}), uri, access=HERE)
    layer = registry.blob(registry.layer(repository, "1", "weights/a.bin"))
    layer.write_bytes(layer.read_bytes()[:40_000])

    with pytest.raises(DigestMismatch, match=r"weights/a\.bin: the layer has 40000 bytes in the registry"):
        fetch(Source(uri, access=HERE), tmp_path / "here")


@pytest.mark.parametrize("path", ["weights/a.bin", "bundle.yaml"])
def test_a_layer_with_foreign_content_is_refused(
    bundle: BundleMaker, registry: Registry, repository: str, path: str, tmp_path: Path
) -> None:
    uri = registry.uri(repository, "1")
    push(bundle(files={"weights/a.bin": os.urandom(70_000)}), uri, access=HERE)
    layer = registry.blob(registry.layer(repository, "1", path))
    layer.write_bytes(layer.read_bytes()[:600] + b"!" + layer.read_bytes()[601:])

    with pytest.raises(DigestMismatch, match=path):
        fetch(Source(uri, access=HERE), tmp_path / "here")

    assert not (tmp_path / "here").exists()


def test_an_image_that_holds_no_bundle_is_called_so(bundle: BundleMaker, registry: Registry, repository: str) -> None:
    push(bundle(), registry.uri(repository, "1"), access=HERE)
    manifest = registry.manifest(repository, "1")
    tag_image(registry, repository, "plain", {**manifest, "annotations": {}})
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    tag_image(registry, repository, "index", index)

    for tag in ("plain", "index"):
        with pytest.raises(ManifestInvalid, match="holds no bundle"):
            resolve(Source(registry.uri(repository, tag), access=HERE))
    with pytest.raises(Conflict, match="an image that is no bundle already"):
        push(bundle("other"), registry.uri(repository, "plain"), access=HERE)


def test_layers_that_were_packed_again_are_told(bundle: BundleMaker, registry: Registry, repository: str) -> None:
    push(bundle(), registry.uri(repository, "1"), access=HERE)
    manifest = registry.manifest(repository, "1")
    manifest["layers"][0]["mediaType"] += "+gzip"
    tag_image(registry, repository, "packed", manifest)

    with pytest.raises(ManifestInvalid, match="no plain tar"):
        resolve(Source(registry.uri(repository, "packed"), access=HERE))


def test_a_layer_that_would_be_read_for_ever_is_no_layer_of_a_bundle(
    bundle: BundleMaker, registry: Registry, repository: str
) -> None:
    push(bundle(), registry.uri(repository, "1"), access=HERE)
    manifest = registry.manifest(repository, "1")
    manifest["layers"][0]["size"] += 2**40
    tag_image(registry, repository, "endless", manifest)

    with pytest.raises(ManifestInvalid, match="holds no bundle"):
        resolve(Source(registry.uri(repository, "endless"), access=HERE))


@pytest.mark.parametrize("name", ["Models", "a b", "../a", "https://host/a"])
def test_a_repository_to_mount_from_that_is_none_is_refused(
    bundle: BundleMaker, registry: Registry, repository: str, name: str
) -> None:
    with pytest.raises(Invalid, match="is no repository"):
        push(bundle(), registry.uri(repository, "1"), access=HERE, mount_from=name)


def test_only_a_registry_mounts(bundle: BundleMaker, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="nothing can be mounted"):
        push(bundle(), f"file://{tmp_path}/store/1", mount_from="models/digits")


@pytest.mark.parametrize("uri", ["models/absent:1", "models/absent@sha256:" + "a" * 64])
def test_what_is_not_there_is_told(registry: Registry, uri: str) -> None:
    with pytest.raises(NotFound, match="check the repository and the tag"):
        resolve(Source(f"oci://{registry.place}/{uri}", access=HERE))
