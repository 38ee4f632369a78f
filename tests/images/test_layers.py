"""Layers and archives: the same content is the same bytes, whoever wrote it, when, and in what order."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from image_build import oci

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="layers are overlays, and these are Linux's")
FILES = ("bin/program", "etc/settings", "a")


def opened(layer: oci.Blob) -> tarfile.TarFile:
    return tarfile.open(fileobj=BytesIO(b"".join(layer.content())))


def tree(folder: Path, names: tuple[str, ...], *, time: int) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o755)
        path.write_text(name)
        path.chmod(0o644)
    (folder / "link").symlink_to("a")
    (folder / "same").hardlink_to(folder / "a")
    for path in folder.rglob("*"):
        os.utime(path, (time, time), follow_symlinks=False)
    return folder


def test_a_layer_depends_on_names_modes_and_content_alone(tmp_path: Path) -> None:
    one = oci.layer(tree(tmp_path / "one", FILES, time=1))
    other = oci.layer(tree(tmp_path / "other", FILES[::-1], time=2_000_000_000))
    (tmp_path / "other/a").chmod(0o755)
    changed = oci.layer(tmp_path / "other")

    assert one.digest == other.digest != changed.digest
    with opened(one) as layer:
        assert {(member.uid, member.gid, member.mtime, member.uname) for member in layer} == {(0, 0, 0, "")}
        assert layer.getnames() == sorted(layer.getnames())
        assert layer.getmember("same").linkname == "a"


def test_a_file_that_a_later_layer_removes_is_marked_as_gone(tmp_path: Path) -> None:
    (tmp_path / "tree/etc").mkdir(parents=True)
    os.mknod(tmp_path / "tree/etc/gone", stat.S_IFCHR, 0)

    with opened(oci.layer(tmp_path / "tree")) as layer:
        assert layer.getnames() == ["etc", "etc/.wh.gone"]


def test_a_folder_that_hides_the_one_below_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree/etc").mkdir(parents=True)
    os.setxattr(tmp_path / "tree/etc", "user.overlay.opaque", b"y")

    with pytest.raises(OSError, match="etc replaces a folder of the layer below"):
        oci.layer(tmp_path / "tree")


def test_an_archive_names_its_image_and_every_digest_in_it_is_true(tmp_path: Path) -> None:
    layer = oci.layer(tree(tmp_path / "tree", FILES, time=1))

    digest = oci.write_image("example.com/a:1", {"os": "linux"}, [layer], tmp_path / "out/a.tar")

    with tarfile.open(tmp_path / "out/a.tar") as archive:
        content = {name: file.read() for name in archive.getnames() if (file := archive.extractfile(name))}
    [manifest] = json.loads(content["index.json"])["manifests"]
    assert manifest["digest"] == digest
    assert manifest["annotations"]["io.containerd.image.name"] == "example.com/a:1"
    for name, blob in content.items():
        if name.startswith("blobs/sha256/"):
            assert name.removeprefix("blobs/sha256/") == hashlib.sha256(blob).hexdigest()
    configuration = json.loads(content["blobs/sha256/" + digest_of_configuration(content, digest)])
    assert configuration == {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer.digest]}}


def digest_of_configuration(content: dict[str, bytes], digest: str) -> str:
    manifest = json.loads(content["blobs/sha256/" + digest.removeprefix("sha256:")])
    return str(manifest["config"]["digest"]).removeprefix("sha256:")
