"""Debian's packages as a root file system: unpacked without root, and a sentence where they cannot be had."""

from __future__ import annotations

import fcntl
import shutil
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from image_build import debian

CONTROL = "Package: tool\nVersion: 1:2-3\nArchitecture: amd64\n"


def package(path: Path, files: dict[str, bytes]) -> Path:
    """A .deb: an `ar` of two archives."""
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": archive({"./control": CONTROL.encode()}),
        "data.tar.xz": archive({f"./{name}": content for name, content in files.items()}),
    }
    written = b"!<arch>\n"
    for name, content in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        written += header + content + b"\n" * (len(content) % 2)
    path.write_bytes(written)
    return path


def archive(files: dict[str, bytes]) -> bytes:
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w:xz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.gid, member.uname, member.mode = len(content), 0, 42, "shadow", 0o4755
            tar.addfile(member, BytesIO(content))
    return made.getvalue()


def test_a_package_is_unpacked_with_its_modes_and_without_its_manual(tmp_path: Path) -> None:
    files = {"usr/bin/tool": b"1", "usr/share/man/man1/tool.1": b"2", "usr/share/doc/tool/changelog": b"3",
             "usr/share/doc/tool/copyright": b"4"}  # fmt: skip

    told = debian.unpack([package(tmp_path / "tool.deb", files)], tmp_path / "root")

    found = {str(path.relative_to(tmp_path / "root")) for path in (tmp_path / "root").rglob("*") if path.is_file()}
    assert found == {"usr/bin/tool", "usr/share/doc/tool/copyright"}
    assert (tmp_path / "root/usr/bin/tool").stat().st_mode & 0o7777 == 0o4755
    assert told == [CONTROL]


def test_the_root_knows_its_users_its_packages_and_python(tmp_path: Path) -> None:
    for name in ("usr/share/base-passwd/passwd.master", "usr/share/base-passwd/group.master",
                 "usr/share/libc-bin/nsswitch.conf", "usr/share/ca-certificates/mozilla/One.crt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in ("etc", "var/lib/dpkg"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)

    debian.finished(tmp_path, [CONTROL, CONTROL.replace("tool", "other")])

    status = (tmp_path / "var/lib/dpkg/status").read_text()
    assert status.count("Status: install ok installed") == 2
    assert status.startswith("Package: tool\nStatus: install ok installed\nVersion: 1:2-3\n")
    assert (tmp_path / "etc/ca-certificates.conf").read_text() == "mozilla/One.crt\n"
    assert (tmp_path / "usr/local/bin/python").readlink() == Path("/usr/bin/python3.13")


def test_packages_are_those_that_apt_would_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = "Inst libc6 (2.41-12 Debian:13.8/stable [amd64]) []\nInst tool (1:2-3 Debian:13.8/stable [all])\nConf x\n"
    monkeypatch.setattr(debian, "apt", lambda folder, *words: told)

    assert debian.chosen(tmp_path, ("tool",)) == ["libc6_2.41-12_amd64.deb", "tool_1%3a2-3_all.deb"]


def test_nobody_else_fetches_into_the_same_folder_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def apt(folder: Path, *words: str) -> str:
        asked.append(words[0])
        with (folder / "status").open("a") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ""

    monkeypatch.setattr(debian, "apt", apt)
    monkeypatch.setattr(debian, "KEYRING", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: name)

    debian.fetch(tmp_path, "https://mirror.example.com/debian/")

    assert set(asked) == {"update", "install"}


def test_a_mirror_brings_the_security_updates_too() -> None:
    first, second = debian.sources("https://mirror.example.com/debian/")

    assert first.endswith("https://mirror.example.com/debian/ trixie main")
    assert second.endswith("https://mirror.example.com/debian-security trixie-security main")


def test_without_apt_it_is_said_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with pytest.raises(debian.NoPackages, match="apt-get and Debian's keyring are needed"):
        debian.fetch(tmp_path)


def test_without_a_mirror_it_is_said_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "mirrors_of_this_machine", list)

    with pytest.raises(debian.NoPackages, match="--debian-mirror URL"):
        debian.sources(None)
