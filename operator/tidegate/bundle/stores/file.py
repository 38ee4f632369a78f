"""Bundles on a file system: a directory, or a repository with the same layout as in a bucket."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tidegate.bundle.digest import digest_of
from tidegate.bundle.errors import Conflict, Denied, DiskFull, NotFound, UnsafeFile
from tidegate.bundle.paths import read_plain_file
from tidegate.bundle.repository import LayoutRepository
from tidegate.bundle.shelf import LayoutShelf
from tidegate.bundle.source import Access
from tidegate.bundle.stores import Listed
from tidegate.bundle.uri import BundleUri

BLOCK = 2**20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FileStream:
    """Part of a local file."""

    def __init__(self, descriptor: int, start: int, length: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.total = os.fstat(descriptor).st_size
        self._left = length
        self._file.seek(start)

    def readinto(self, buffer: memoryview) -> int:
        count = self._file.readinto(buffer[: self._left]) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()


class FileStore:
    """Paths are absolute; nothing that is a link or no regular file is read."""

    image = ""

    def __init__(self, uri: BundleUri, access: Access) -> None:  # noqa: ARG002  (the same for every store)
        self._where = str(uri)

    def read(self, path: str, *, limit: int) -> bytes:
        return read_plain_file(Path(path), limit=limit)

    def open(self, path: str, *, start: int, length: int) -> FileStream:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("no such file", where=path, do="check the address and the version") from None
        except PermissionError:
            raise Denied("may not be read", where=path, do="check its owner and mode") from None
        except OSError as error:
            raise UnsafeFile(f"cannot be opened as a plain file: {error.strerror}", where=path) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnsafeFile("not a regular file", where=path)
        return FileStream(descriptor, start, length)

    def ranged(self, path: str) -> bool:  # noqa: ARG002
        return True

    def size(self, path: str) -> int | None:
        try:
            return Path(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, path: str, source: Path, sent: Callable[[int], None]) -> None:
        with _disk_errors(path), _beside(Path(path)) as (temporary, target), source.open("rb") as content:
            while block := content.read(BLOCK):
                temporary.write(block)
                sent(len(block))
            _finish(temporary.fileno())
            Path(temporary.name).replace(target)

    def current(self, path: str) -> tuple[bytes, str] | None:
        try:
            content = read_plain_file(Path(path), limit=2**24)
        except NotFound:
            return None
        return content, digest_of(content)

    def put(self, path: str, content: bytes, *, seen: str | None) -> None:
        with _disk_errors(path), _beside(Path(path)) as (temporary, target):
            temporary.write(content)
            _finish(temporary.fileno())
            # The lock makes "still the one seen" and the rename one act for every tidegate on this file system.
            with _locked(target.parent):
                found = self.current(path)
                if (found[1] if found else None) != seen:
                    raise Conflict("another push was here meanwhile", where=path, do="look at what is there now")
                Path(temporary.name).replace(target)

    def listed(self, below: str) -> Iterator[Listed]:
        for folder, folders, files in os.walk(below, onerror=_cannot_list):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)  # noqa: PTH118  (a Path per file of a large store is slow)
                with contextlib.suppress(FileNotFoundError):
                    about = os.lstat(path)
                    if stat.S_ISREG(about.st_mode):
                        yield Listed(path, about.st_size, about.st_mtime)

    def delete(self, path: str) -> None:
        with _disk_errors(path):
            Path(path).unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is kept open."""


def _cannot_list(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise Denied("may not be read", where=str(error.filename), do="check its owner and mode") from None
    raise NotFound("no such directory", where=str(error.filename), do="check the address") from None


def repository(uri: BundleUri, access: Access) -> LayoutRepository:
    """Where to publish on a file system."""
    return LayoutRepository(FileStore(uri, access), uri)


def shelf(place: BundleUri, access: Access) -> LayoutShelf:
    """What lies below a directory."""
    return LayoutShelf(FileStore(place, access), place)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[tuple[tempfile._TemporaryFileWrapper[bytes], Path]]:
    """A new file in the target's folder, gone afterwards unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".push-", delete=False) as temporary:
        try:
            yield temporary, target
        finally:
            Path(temporary.name).unlink(missing_ok=True)


def _finish(descriptor: int) -> None:
    os.fchmod(descriptor, 0o644)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_errors(path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise Denied("may not be written", where=path, do="check its owner and mode") from None
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull("no space left", where=path, do="free some, or write elsewhere") from None
        raise
