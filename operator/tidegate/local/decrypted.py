"""Encrypted bundles while they are served: decrypted in memory, once each, and gone when the run is.

A run that was killed cannot take its folder away; the next one does.  Whose run still lives is told by a lock, which
the kernel lets go with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path

from tidegate.bundle.encryption import MEMORY, decrypt, parse_identities, require_memory
from tidegate.bundle.manifest import BundleDir

PREFIX = "tidegate-plain-"


class DecryptedBundles:
    """Plain bundles by the digest of the encrypted one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None
        self._held = -1
        self._plain: dict[str, Path] = {}

    def path(self, bundle: BundleDir, key: bytes, where: str) -> Path:
        """Where the bundle lies that was encrypted into this one; `where` is the place of the age `key`."""
        with self._lock:
            if bundle.digest not in self._plain:
                require_memory(bundle, MEMORY)
                target = self._folder() / bundle.digest.removeprefix("sha256:")
                self._plain[bundle.digest] = decrypt(bundle.path, target, parse_identities(key, where), where).path
            return self._plain[bundle.digest]

    def close(self) -> None:
        """Take everything away; no server may need it any more."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            os.close(self._held)
            self._root = None

    def _folder(self) -> Path:
        if self._root is None:
            _sweep()
            self._root = Path(tempfile.mkdtemp(dir=MEMORY, prefix=PREFIX))
            self._held = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._held, fcntl.LOCK_SH)
        return self._root


def _sweep() -> None:
    """Remove what killed runs of this user left."""
    for left in MEMORY.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if left.lstat().st_uid != os.geteuid():
                continue
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)
