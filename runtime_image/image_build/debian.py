"""A root file system from Debian's packages, in place of the public image that the Containerfile is FROM.

apt chooses and fetches them, checks Debian's signature, and needs no root for it: it is given folders of its own.  The
packages are unpacked, not installed: of all that their scripts would do, three things matter to an image, and are done
here (`finished`).
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from image_build.stages import PATH

SUITE = "trixie"  # of the image that the Containerfile names, with the same minor version of Python
PYTHON = "python3.13"
IN_IMAGE = ("?essential", PYTHON, "ca-certificates", "netbase", "tzdata")
# What only building needs: the public image has a pip and Python's headers of its own.
TO_BUILD = (f"{PYTHON}-venv", f"lib{PYTHON}-dev")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LEFT_OUT = re.compile(r"usr/share/(man|info|locale|lintian|bug|perl5)/|usr/share/doc/(?!.*/copyright$)|usr/lib/.*\.a$")
SETTINGS = """\
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "{folder}/none";
Dir::Etc::preferencesparts "{folder}/none";
APT::Architecture "{architecture}";
APT::Install-Recommends "0";
APT::Sandbox::User "root";
Acquire::Languages "none";
"""


class NoPackages(Exception):
    """Debian's packages cannot be had here; says what is missing."""


@dataclass(frozen=True, slots=True)
class Packages:
    """Archives of Debian's packages, in the order in which they are unpacked."""

    in_image: list[Path]
    to_build: list[Path]


def architecture() -> str:
    """Of this machine, as Debian and OCI call it."""
    if platform.machine() not in ARCHITECTURES:
        raise NoPackages(f"images are built on {' and '.join(ARCHITECTURES)}, and this machine is {platform.machine()}")
    return ARCHITECTURES[platform.machine()]


def fetch(folder: Path, mirror: str | None = None) -> Packages:
    """The newest packages of the suite and its security updates, kept in `folder` for the next time.

    One fetch at a time in a folder: apt would fail where another one is under way.
    """
    if shutil.which("apt-get") is None or not KEYRING.exists():
        raise NoPackages("apt-get and Debian's keyring are needed (packages apt and debian-archive-keyring)")
    for name in ("state/lists/partial", "cache/archives/partial", "none"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / "status").open("a") as status:
        fcntl.flock(status, fcntl.LOCK_EX)
        return fetched(folder, mirror)


def fetched(folder: Path, mirror: str | None) -> Packages:
    """What `fetch` gives, into a folder that is ours alone now."""
    (folder / "sources.list").write_text("\n".join(sources(mirror)) + "\n")
    settings = SETTINGS.format(folder=folder, architecture=architecture())
    (folder / "apt.conf").write_text(settings)
    apt(folder, "update", "--error-on=any")
    in_image = chosen(folder, IN_IMAGE)
    both = chosen(folder, (*IN_IMAGE, *TO_BUILD))
    apt(folder, "install", "--yes", "--download-only", *IN_IMAGE, *TO_BUILD)
    archives = folder / "cache/archives"
    return Packages([archives / name for name in in_image], [archives / name for name in both if name not in in_image])


def sources(mirror: str | None) -> list[str]:
    """Lines of sources.list: `mirror`, or the mirrors of Debian that this machine's own apt uses."""
    found = mirrors_of_this_machine() if mirror is None else [mirror, mirror.rstrip("/") + "-security"]
    if not found:
        raise NoPackages("apt knows no mirror of Debian here: run apt-get update, or give one by --debian-mirror URL")
    return [f"deb [signed-by={KEYRING}] {url} {SUITE}{'-security' if 'security' in url else ''} main" for url in found]


def mirrors_of_this_machine() -> list[str]:
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    return sorted({line.removeprefix("Debian ") for line in listed.splitlines() if line.startswith("Debian ")})


def apt(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["apt-get", "-q", *words],
        env={**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NoPackages(f"apt-get {words[0]} failed:\n{done.stderr.strip()}")
    return done.stdout


def chosen(folder: Path, wanted: tuple[str, ...]) -> list[str]:
    """File names of the packages and all that they need, in apt's order."""
    told = apt(folder, "install", "--simulate", *wanted)
    found = re.findall(r"^Inst (\S+) \((\S+) .*?\[(\w+)\]\)", told, re.MULTILINE)
    return [f"{name}_{version.replace(':', '%3a')}_{kind}.deb" for name, version, kind in found]


def install(packages: list[Path], root: Path) -> None:
    """Make of packages, in the empty folder `root`, what the public image has."""
    finished(root, unpack(packages, root))
    for command in (["ldconfig"], ["update-ca-certificates"]):
        subprocess.run(["chroot", root, *command], env={"PATH": PATH}, capture_output=True, check=True)
    for left in ("dev/null", "var/cache/ldconfig/aux-cache"):  # the latter has times in it
        (root / left).unlink(missing_ok=True)


def unpack(packages: list[Path], root: Path) -> list[str]:
    """Unpack packages into `root`; returns what each says about itself (its control file)."""
    controls = []
    for package in packages:
        members = dict(parts(package))
        with opened(members, "control.tar") as control:
            [text] = [control.extractfile(one) for one in control if one.name.removeprefix("./") == "control"]
            assert text is not None
            controls.append(text.read().decode())
        with opened(members, "data.tar") as data:
            data.extraction_filter = as_it_is
            data.extractall(root, members=kept(data))  # noqa: S202 - Debian signed it
    return controls


def parts(package: Path) -> Iterator[tuple[str, bytes]]:
    """The members of an `ar` archive."""
    content = package.read_bytes()
    at = len(b"!<arch>\n")
    while at < len(content):
        header = content[at : at + 60]
        size = int(header[48:58])
        yield header[:16].decode().strip().rstrip("/"), content[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def opened(members: dict[str, bytes], name: str) -> tarfile.TarFile:
    [content] = [content for file, content in members.items() if file.startswith(name)]
    return tarfile.open(fileobj=BytesIO(content))


def as_it_is(member: tarfile.TarInfo, _folder: str) -> tarfile.TarInfo:
    return member  # the default of newer Pythons changes modes


def kept(data: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """What is extracted: packages' documentation stays out, as in Docker's slim images, and all is root's."""
    for member in data:
        if not LEFT_OUT.match(member.name.removeprefix("./")):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            yield member


def finished(root: Path, controls: list[str]) -> None:
    """What scripts would have left: users, the list of packages, certificates; and the public image's command."""
    for name in ("passwd", "group"):
        shutil.copyfile(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    shutil.copyfile(root / "usr/share/libc-bin/nsswitch.conf", root / "etc/nsswitch.conf")
    installed = [
        re.sub(r"^(Package: .*)$", r"\1\nStatus: install ok installed", text, count=1, flags=re.M) for text in controls
    ]
    (root / "var/lib/dpkg/status").write_text("".join(text.strip() + "\n\n" for text in installed))
    for name in ("python", "python3"):
        (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{PYTHON}")
    for name in ("resolv.conf", "hosts"):  # a container's runtime mounts its own there
        (root / "etc" / name).touch()
    certificates = sorted(str(path.relative_to(root)) for path in root.glob("usr/share/ca-certificates/**/*.crt"))
    prefix = "usr/share/ca-certificates/"
    (root / "etc/ca-certificates.conf").write_text("".join(f"{one.removeprefix(prefix)}\n" for one in certificates))
