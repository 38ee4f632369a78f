"""What reading somebody's zip may raise: zipfile and its decompressors have no error in common."""

from __future__ import annotations

import lzma
import zipfile
import zlib

# RuntimeError: it is encrypted, compressed in a way that is not known here, or the JSON in it is nested too deeply.
DAMAGED_ZIP: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
