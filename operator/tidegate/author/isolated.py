"""`pack --isolated`: the same command in a temporary environment that holds one framework at pinned versions.

Frameworks disagree about versions and take gigabytes; so none of them has to be installed beside the others, and what
converts a model here is what our own tests converted with.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tidegate.author.extras import MissingExtra
from tidegate.errors import Failed

PACKAGE = Path(__file__).resolve().parents[1]
LOCKS = (PACKAGE / "author" / "locks", PACKAGE.parents[1] / "locks" / "frameworks")  # installed, and in a checkout


class IsolationFailed(Failed):
    """The temporary environment could not be made."""

    reason = "IsolationFailed"


def run_isolated(extra: str, arguments: Sequence[str], further: Sequence[str] = ()) -> int:
    """Run `tidegate` with these arguments where `extra` is installed, and `further` packages; gives its exit code."""
    with environment([extra], further) as python:
        return _run([str(python), "-P", "-m", "tidegate", *arguments])  # -P: imports nothing of the current folder


@contextlib.contextmanager
def environment(extras: Sequence[str], further: Sequence[str] = ()) -> Iterator[Path]:
    """The Python of a fresh environment with these extras at their pinned versions, `further` packages and tidegate.

    It is removed afterwards, also on Ctrl-C.  Raises IsolationFailed, or MissingExtra without uv.
    """
    uv = find_uv("--isolated")
    with temporary_folder() as folder:
        yield _made(uv, extras, further, folder)


@contextlib.contextmanager
def temporary_folder(where: Path | None = None) -> Iterator[Path]:
    """A folder, in `where` if that is given, for as long as this lasts, also on Ctrl-C."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-isolated-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_uv(what: str) -> str:
    """uv on the path, or the one that our extra brings; `what` needs it."""
    if found := shutil.which("uv"):
        return found
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        raise MissingExtra(
            f"{what} needs uv, which is not installed", do="run: pip install 'tidegate[isolated]'"
        ) from None


def _made(uv: str, extras: Sequence[str], further: Sequence[str], folder: Path) -> Path:
    python, what = folder / "env" / "bin" / "python", " and ".join(extras)
    locks = [word for extra in extras for word in ("--requirements", str(_lock(extra)))]
    constraints = [word for extra in extras for word in ("--constraints", str(_lock(extra)))]
    _tell(f"making an environment with {what}")
    _make([uv, "venv", "--python", sys.executable, str(folder / "env")], what)
    _make([uv, "pip", "install", "--python", str(python), "--require-hashes", *locks], what)
    if further:
        _make([uv, "pip", "install", "--python", str(python), *constraints, *further], ", ".join(further))
    _share_ourselves(python)
    return python


def _lock(extra: str) -> Path:
    for base in LOCKS:
        if (path := base / f"{extra}.txt").is_file():
            return path
    raise IsolationFailed(f"there are no pinned versions of '{extra}'", where="--isolated")


def _share_ourselves(python: Path) -> None:
    """This very tidegate, by links: the environment lives no longer than this process."""
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    (packages / "tidegate").symlink_to(PACKAGE)
    with contextlib.suppress(PackageNotFoundError):  # run from a folder, not installed
        ours = distribution("tidegate")
        name = f"tidegate-{ours.version}.dist-info"
        (packages / name).symlink_to(str(ours.locate_file(name)))


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        print(f"{what} …", file=sys.stderr)  # noqa: T201 - progress


def _make(command: list[str], what: str) -> None:
    """One step of uv's; it shows its own progress on a terminal."""
    shown = sys.stderr.isatty()
    done = subprocess.run(
        command if shown else [*command, "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=None if shown else subprocess.PIPE,
        env={**uv_settings(), **os.environ},
        check=False,
    )
    if done.returncode:
        told = (done.stderr or b"").decode("utf-8", "replace").split("\n")
        reason = " ".join(" ".join(told).split())[:300] or "see above"
        raise IsolationFailed(
            f"uv could not install {what}: {reason}",
            where="--isolated",
            do="look at the network and the package index, or install the extra yourself and leave --isolated out",
        )


def uv_settings() -> dict[str, str]:
    """uv trusts and asks what pip does here."""
    settings = {"VIRTUAL_ENV": "", "UV_SYSTEM_CERTS": "1"}
    for ours, theirs in (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("SSL_CERT_FILE", "PIP_CERT")):
        if value := os.environ.get(theirs):
            settings[ours] = value
    return settings


def _run(command: list[str]) -> int:
    """The command's exit code.  Ctrl-C reaches it as it reaches us: it cleans up, and we wait for that."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which it would inherit
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
