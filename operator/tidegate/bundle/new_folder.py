"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tidegate.errors import Invalid


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out`, which must not exist, that gets its name when the block ends well, and else is removed."""
    if out.exists() or out.is_symlink():
        raise Invalid("is there already", where=str(out), do="name a new directory")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        os.rename(unfinished, out)  # noqa: PTH104  (Path.rename would say the same)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
