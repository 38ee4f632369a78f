"""Which names a bundle may use, and how a file of one is opened: plain, relative, no links.

The names in a manifest come from strangers.  They are checked as text here, before any of them meets a file system.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from tidegate.bundle.errors import NotFound, TooLarge, UnsafeFile

MANIFEST_NAME = "bundle.yaml"
SIGNATURE_NAME = "bundle.sig"
MAX_SIGNATURE_BYTES = 256 * 2**10
MAX_PATH = 255
MAX_DEPTH = 4
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")


def check_paths(paths: list[str]) -> None:
    """Refuse what is not a plain relative path, names ours, or would meet another on a disk that ignores case."""
    seen: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        names = path.split("/")
        if len(names) > MAX_DEPTH or len(path) > MAX_PATH or not all(map(FILE_NAME.fullmatch, names)):
            raise UnsafeFile(f"'{path[:120]}' is not a plain relative path", where=MANIFEST_NAME)
        low = path.lower()
        if low in (MANIFEST_NAME, SIGNATURE_NAME) or low in seen:
            raise UnsafeFile(f"'{path}' is listed twice or not a name for a listed file", where=MANIFEST_NAME)
        seen.add(low)
        folders.update("/".join(names[:depth]).lower() for depth in range(1, len(names)))
    if both := seen & folders:
        raise UnsafeFile(f"'{min(both)}' is both a file and a folder", where=MANIFEST_NAME)


def read_plain_file(path: Path, *, limit: int, absent: str = "check the path") -> bytes:
    """The bytes of a regular file that is no link, when it holds at most `limit`; `absent`: what to do without it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("no such file", where=str(path), do=absent) from None
    except OSError as error:
        raise UnsafeFile(f"cannot be opened as a plain file: {error.strerror}", where=str(path)) from None
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise UnsafeFile("not a regular file", where=str(path))
        content = (
            b"" if about.st_size > limit else file.read(limit + 1)
        )  # nothing is read in vain; it may grow meanwhile
    if max(about.st_size, len(content)) > limit:
        raise TooLarge(f"more than the {limit} bytes allowed", where=str(path))
    return content
