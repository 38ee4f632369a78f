"""One file put together from blocks that arrive in any order, hashed in order behind them.

On two cores a transfer of 1 GiB is bound by the processors: what counts is that they are busy to its end, and that
none spins or waits for memory in vain.  The three choices that matter are measured where they stand.

The file is created by us and by nobody else.  Beside it lies a journal, a byte per block that was written, so a
transfer that was killed goes on inside the file.  What lies there already is never trusted: it is hashed again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from tidegate.bundle.errors import DigestMismatch, DiskFull, UnsafeFile
from tidegate.bundle.manifest import FileEntry

CATCH_UP = 32  # blocks hashed at a time by whoever is ahead; 8: a fifth of the file was left to be hashed at the end
# Written in pieces: the kernel takes memory for a larger write in blocks that a virtual machine's host has taken back
# from it and must give again (1.9 s for 1 GiB by pieces of 1 MiB, 1.3 s by these).
PIECE = 2**16
BLOCK = 2**20  # per GiB 1.27 s of processor time, with 256 KiB 1.58: fewer turns between the threads
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Assembly:
    """A file that grows; `put` and `finish` may be called from any thread."""

    def __init__(self, path: Path, journal: Path, entry: FileEntry) -> None:
        self.path = path
        self.entry = entry
        self._journal_path = journal
        self._lock = threading.Lock()  # of the hash
        self._writing = threading.Lock()
        self._scratch: bytearray | None = None
        self._file = self._journal = -1
        self._open()

    @property
    def blocks(self) -> int:
        return -(-self.entry.bytes // BLOCK)

    def missing(self, longest: int) -> list[tuple[int, int]]:
        """Runs of bytes (start, end) that are not here yet, none longer than `longest`."""
        runs: list[tuple[int, int]] = []
        for index in range(self.blocks):
            if self._done[index]:
                continue
            start, end = self._span(index)
            if runs and runs[-1][1] == start and end - runs[-1][0] <= longest:
                runs[-1] = (runs[-1][0], end)
            else:
                runs.append((start, end))
        return runs

    def put(self, start: int, content: memoryview) -> None:
        """Store one whole block, and hash some of those before it."""
        index = start // BLOCK
        # One writer at a time: the kernel lets in no second one either, and has it spin meanwhile (10 % of a transfer).
        with disk_errors(self.path), self._writing:
            _write_all(self._file, content, start)
            if self._journal >= 0:
                os.pwrite(self._journal, b"\1", index)
        self._done[index] = 1
        # Not the reader of the block that is hashed next: it would fall behind the others, and the hash with it.
        if index != self._hashed and self._lock.acquire(blocking=False):
            try:
                self._hash_stored(self._hashed + CATCH_UP)
            finally:
                self._lock.release()

    def finish(self, *, durable: bool) -> None:
        """Hash what is left and close; DigestMismatch when it is not the listed file."""
        with self._lock:
            self._hash_stored(self.blocks)
            found = self._sha256.hexdigest()
        if found != self.entry.sha256 or os.fstat(self._file).st_size != self.entry.bytes:
            raise mismatch(self.entry, found)
        with disk_errors(self.path):
            os.fchmod(self._file, 0o444)
            if durable:
                os.fsync(self._file)

    def start_again(self) -> None:
        """Forget everything that is here: what an earlier attempt left was not what the manifest lists."""
        self.close()
        self.path.unlink()
        self._journal_path.unlink(missing_ok=True)
        self._open()

    def close(self) -> None:
        for descriptor in (self._file, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._journal = -1

    def _open(self) -> None:
        self._sha256 = hashlib.sha256()
        self._hashed = 0
        self._done = bytearray(self.blocks)
        with disk_errors(self.path):
            self.resumed = self._reopen()
            if not self.resumed:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, NEW, 0o600)
                # One block needs no journal: it is there whole or not at all.
                if self.blocks > 1:
                    self._journal = os.open(
                        self._journal_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
                    )

    def _reopen(self) -> bool:
        """Take up what an earlier attempt left, if it is ours and plain."""
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except PermissionError:  # finished before: read only; and for anything else, made anew
            self.path.unlink()
            return False
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UnsafeFile(f"cannot be taken up again: {error.strerror}", where=str(self.path)) from None
        about = os.fstat(self._file)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1 or about.st_size > self.entry.bytes:
            raise UnsafeFile("not the plain file that an earlier transfer left", where=str(self.path))
        if self.blocks <= 1:
            self._done[:] = b"\1" * self.blocks if about.st_size == self.entry.bytes else bytes(self.blocks)
            return True
        self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        marks = os.pread(self._journal, self.blocks, 0)
        for index, mark in enumerate(marks):
            self._done[index] = mark == 1 and self._span(index)[1] <= about.st_size
        return True

    def _span(self, index: int) -> tuple[int, int]:
        return index * BLOCK, min((index + 1) * BLOCK, self.entry.bytes)

    def _hash_stored(self, upto: int) -> None:
        """Hash blocks that are on disk already, read back from the page cache."""
        while self._hashed < min(upto, self.blocks) and self._done[self._hashed]:
            if self._scratch is None:
                self._scratch = bytearray(min(BLOCK, self.entry.bytes))
            start, end = self._span(self._hashed)
            view = memoryview(self._scratch)[: end - start]
            if os.preadv(self._file, [view], start) != end - start:
                return  # shorter than the journal says: finish() will see it
            self._sha256.update(view)
            self._hashed += 1


def mismatch(entry: FileEntry, found: str) -> DigestMismatch:
    """What to say when a file is not the listed one."""
    return DigestMismatch(
        f"expected sha256 {entry.sha256}, found {found}",
        where=entry.path,
        do="the file was damaged or changed after packing: push the bundle again",
    )


def _write_all(descriptor: int, content: memoryview, start: int) -> None:
    while content:
        count = os.pwrite(descriptor, content[:PIECE], start)
        content, start = content[count:], start + count


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say in one sentence that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                "no space left, or a quota or file size limit is reached", where=str(path.parent), do="make room"
            ) from None
        raise
