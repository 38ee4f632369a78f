"""Host memory that the GPU copies from and to by itself: page-locked by CUDA, held as numpy arrays.

From ordinary memory the driver copies twice, by way of its own page-locked buffer.  Where CUDA gives none (no device,
or the system's limit is reached) an ordinary array stands in: slower, and right.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import Any, Final

import numpy as np

from tidegate_runtime.interfaces import Array

PORTABLE: Final = 1  # cudaHostAllocPortable: for every CUDA context of the process
LEAST: Final = 4096  # bytes; for less a page of its own is not worth it
SUCCESS: Final = 0


class PinnedMemory:
    """Gives arrays out of page-locked memory; `cuda` is CUDA's runtime library, None: there is none."""

    def __init__(self, cuda: Any | None) -> None:
        self._cuda = cuda
        if cuda is not None:
            cuda.cudaHostAlloc.argtypes = (ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_uint)
            cuda.cudaFreeHost.argtypes = (ctypes.c_void_p,)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of any content, page-locked where that can be."""
        found = self.page_locked(shape, dtype)
        return np.empty(shape, dtype) if found is None else found

    def page_locked(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """An array of any content; None: there is no such memory, or a page is too much for it.

        Its memory is given back when nobody holds it or a view of it.
        """
        size = math.prod(shape) * dtype.itemsize
        address = self._allocate(size) if self._cuda is not None and size >= LEAST else None
        if address is None:
            return None
        block = (ctypes.c_byte * size).from_address(address)
        weakref.finalize(block, self._free, address)
        array: Array = np.frombuffer(memoryview(block), dtype).reshape(shape)
        return array

    def _allocate(self, size: int) -> int | None:
        address = ctypes.c_void_p()
        assert self._cuda is not None
        failed = self._cuda.cudaHostAlloc(ctypes.byref(address), size, PORTABLE) != SUCCESS
        return None if failed else address.value

    def _free(self, address: int) -> None:
        assert self._cuda is not None
        self._cuda.cudaFreeHost(address)
