"""The files of a bundle, in parallel: ranges of all files in one queue, a few threads, one watch over them.

Four connections with ranges of 32 MiB were as quick as s5cmd on two cores (docs/bundle.md); sha256 runs beside the
reading because hashlib lets go of the interpreter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.bundle.assemble import BLOCK, Assembly
from tidegate.bundle.errors import DigestMismatch, StoreTimeout, Unreachable
from tidegate.bundle.manifest import FileEntry, Manifest
from tidegate.bundle.reader import BundleReader
from tidegate.bundle.retry import Retries
from tidegate.bundle.source import Limits, Progress
from tidegate.bundle.stores import Stream

RANGE = 32 * 2**20
WORKERS = 4
WATCH = 0.5  # seconds between looks at the clock

Opener = Callable[[FileEntry, int, int], Stream]


@dataclass(slots=True)
class FileTransfer:
    """One file on its way; `open` is the store's, or a local copy's."""

    assembly: Assembly
    open: Opener
    left: int = 0  # ranges not done
    lock: threading.Lock = field(default_factory=threading.Lock)

    def range_done(self) -> bool:
        """Whether that was the last one."""
        with self.lock:
            self.left -= 1
            return self.left <= 0


@dataclass(frozen=True, slots=True)
class Span:
    file: FileTransfer
    start: int
    end: int


class Transfer:
    """Brings every file of a manifest into `files`, each proved when its last block is there."""

    def __init__(self, reader: BundleReader, manifest: Manifest, progress: Progress | None) -> None:
        self._reader = reader
        self._limits: Limits = reader.limits
        self._manifest = manifest
        self._progress = progress
        self._queue: deque[Span] = deque()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._beat = threading.Condition(self._lock)
        self._running = 0
        self._here = 0  # bytes that are here, resumed ones too
        self.bytes_read = 0  # bytes that came from the store

    def run(self, files: Path, journals: Path, *, durable: bool, local: Callable[[FileEntry], Opener | None]) -> None:
        """Transfer everything; the first error ends it and is raised."""
        self._durable = durable
        transfers = [
            self._prepare(number, entry, files, journals, local) for number, entry in enumerate(self._manifest.files)
        ]
        try:
            self._running = min(WORKERS, len(self._queue))
            threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._running)]
            for thread in threads:
                thread.start()
            self._watch(threads)
        finally:
            for transfer in transfers:
                transfer.assembly.close()
        if self._failure is not None:
            raise self._failure

    def _prepare(
        self, number: int, entry: FileEntry, files: Path, journals: Path, local: Callable[[FileEntry], Opener | None]
    ) -> FileTransfer:
        assembly = Assembly(files / entry.path, journals / str(number), entry)
        opener = local(entry)
        file = FileTransfer(assembly, opener or self._reader.open)
        runs = assembly.missing(RANGE)
        if len(runs) > 1 and opener is None and not self._reader.ranged(entry):
            runs = [(0, entry.bytes)]
        # An empty file is asked for too: that it is empty in the store must be seen.
        spans = [Span(file, start, end) for start, end in runs or [(entry.bytes, entry.bytes)]]
        file.left = len(spans)
        self._here += entry.bytes - sum(span.end - span.start for span in spans)
        self._queue.extend(spans)
        return file

    def _work(self) -> None:
        buffer = memoryview(bytearray(BLOCK))
        try:
            while (span := self._next()) is not None:
                self._copy(span, buffer)
                if span.file.range_done():
                    self._finish(span.file, buffer)
        except BaseException as error:  # noqa: BLE001  (carried to the thread that waits)
            self._fail(error)
        with self._beat:
            self._running -= 1
            self._beat.notify_all()

    def _next(self) -> Span | None:
        with self._lock:
            return self._queue.popleft() if self._queue and self._failure is None else None

    def _copy(self, span: Span, buffer: memoryview) -> None:
        """One range, taken up again after each broken connection."""
        if span.start == span.end and span.start > 0:
            return  # a file that is here already
        retries = Retries(self._reader.deadline)
        position = span.start
        while True:
            try:
                stream = span.file.open(span.file.assembly.entry, position, span.end - position)
                try:
                    self._read(stream, span, position, buffer, retries)
                finally:
                    stream.close()
            except Unreachable as error:
                position = self._resume_at(span, position)
                retries.failure(error)
            else:
                return

    def _read(self, stream: Stream, span: Span, position: int, buffer: memoryview, retries: Retries) -> None:
        entry = span.file.assembly.entry
        if stream.total != entry.bytes:
            raise DigestMismatch(
                f"{stream.total} bytes in the store, {entry.bytes} in the manifest",
                where=entry.path,
                do="push it again",
            )
        while position < span.end:
            self._reader.deadline.check(entry.path)
            wanted = min(BLOCK, span.end - position)
            count = stream.readinto(buffer[:wanted])
            if count < wanted:
                raise Unreachable("the connection was cut", where=entry.path)
            span.file.assembly.put(position, buffer[:wanted])
            position += wanted
            retries.progress()
            self._count(wanted)

    def _resume_at(self, span: Span, position: int) -> int:
        """Where to go on after a cut: behind the last whole block of this range."""
        here = [start for start, _ in span.file.assembly.missing(BLOCK) if position <= start < span.end]
        return here[0] if here else span.end

    def _finish(self, file: FileTransfer, buffer: memoryview) -> None:
        try:
            file.assembly.finish(durable=self._durable)
        except DigestMismatch:
            if not file.assembly.resumed and file.open == self._reader.open:
                raise
            # What was here, or in the cache, is damaged; the store may still be right.
            file.assembly.start_again()
            file.open = self._reader.open
            self._copy(Span(file, 0, file.assembly.entry.bytes), buffer)
            file.assembly.finish(durable=self._durable)

    def _count(self, count: int) -> None:
        with self._lock:
            self._here += count
            self.bytes_read += count

    def _fail(self, error: BaseException) -> None:
        with self._beat:
            if self._failure is None:
                self._failure = error
            self._beat.notify_all()
        self._reader.close()

    def _watch(self, threads: list[threading.Thread]) -> None:
        """Wait for the threads; break off at the deadline, or when nothing moves."""
        seen, since = -1, self._reader.deadline.clock()
        try:
            while self._running:
                with self._beat:
                    self._beat.wait_for(lambda: not self._running, WATCH)
                    here = self._here
                now = self._reader.deadline.clock()
                if here != seen:
                    seen, since = here, now
                    self._tell(here)
                elif now - since > self._limits.stall:
                    self._fail(_stalled(self._reader, self._limits.stall))
                if self._reader.deadline.left() <= 0:
                    self._fail(_late(self._reader))
        except BaseException as error:
            self._fail(error)
            for thread in threads:
                thread.join(timeout=5)
            raise

    def _tell(self, here: int) -> None:
        if self._progress is not None:
            self._progress(here, self._manifest.total_bytes)


def _stalled(reader: BundleReader, seconds: float) -> StoreTimeout:
    return StoreTimeout(
        f"nothing came for {seconds:g} s", where=str(reader.uri), do="the store is stuck: try again later"
    )


def _late(reader: BundleReader) -> StoreTimeout:
    seconds = reader.limits.seconds
    return StoreTimeout(f"not done within {seconds:g} s", where=str(reader.uri), do="allow more time, or try again")
