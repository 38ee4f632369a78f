"""A bundle looked at where it lies: its manifest at once, single files only when they are asked for."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.bundle.errors import DigestMismatch, ModelInvalid, TooLarge
from tidegate.bundle.manifest import FileEntry, Manifest
from tidegate.bundle.reader import BundleReader, Resolved
from tidegate.bundle.source import Access, Limits, Source

if TYPE_CHECKING:
    import onnx

MOST = 2 << 30  # bytes of a graph: what protobuf can hold
CARD, CARD_BYTES = "README.md", 1 << 20
LABELS = "labels.txt"
LABEL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Opened:
    """A bundle whose manifest was read."""

    resolved: Resolved
    reader: BundleReader

    @property
    def manifest(self) -> Manifest:
        return self.resolved.manifest

    def graph(self) -> onnx.ModelProto:
        """The graph, without its weights."""
        import onnx

        entry = self._entry(self.manifest.model.file)
        content, model = self._bytes(entry, MOST), onnx.ModelProto()
        try:
            model.ParseFromString(content)
        except Exception as error:
            raise ModelInvalid("this is no ONNX model", where=f"{self.resolved.uri}: {entry.path}") from error
        return model

    def content(self, entry: FileEntry) -> bytes:
        """A whole file of the bundle, held against its digest."""
        return self._bytes(entry, MOST)

    def card(self) -> str:
        """The model card, where there is one."""
        if self.manifest.entry(CARD) is None:
            return ""
        return self._bytes(self._entry(CARD), CARD_BYTES).decode("utf-8", "replace")

    def labels(self) -> list[str]:
        """The lines of labels.txt, where there is one."""
        if self.manifest.entry(LABELS) is None:
            return []
        return self._bytes(self._entry(LABELS), LABEL_BYTES).decode("utf-8", "replace").splitlines()

    def _entry(self, path: str) -> FileEntry:
        entry = self.manifest.entry(path)
        assert entry is not None  # the manifest's reader made sure of it
        return entry

    def _bytes(self, entry: FileEntry, most: int) -> bytes:
        """A whole file, held against its digest."""
        if entry.bytes > most:
            raise TooLarge(f"{entry.bytes} bytes, more than {most}", where=entry.path)
        content = bytearray(entry.bytes)
        view, done = memoryview(content), 0
        stream = self.reader.open(entry, 0, entry.bytes)
        with contextlib.closing(stream):
            while done < entry.bytes and (count := stream.readinto(view[done:])):
                done += count
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise DigestMismatch("not the bytes that the manifest lists", where=f"{self.resolved.uri}: {entry.path}")
        return bytes(content)


@contextlib.contextmanager
def opened(ref: str) -> Iterator[Opened]:
    """The bundle at a directory or address, with what credentials the environment offers."""
    reader = BundleReader(Source(ref, access=Access(allow_loopback=True, ambient=True)), Limits())
    try:
        yield Opened(reader.resolve(), reader)
    finally:
        reader.close()
