"""Page-locked arrays are CUDA's while somebody holds them, and ordinary ones where CUDA has none to give."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest

from tidegate_runtime.gpu.pinned import PinnedMemory

OUT_OF_MEMORY = 2


class PretendedCuda:
    """`libcudart`, as it is documented: cudaHostAlloc writes an address and answers 0, or an error's number."""

    def __init__(self, *, gives: bool = True) -> None:
        self.held: dict[int, Any] = {}
        self.flags: list[int] = []

        def allocate(where: Any, size: int, flags: int) -> int:
            if not gives:
                return OUT_OF_MEMORY
            block = ctypes.create_string_buffer(size)
            where._obj.value = ctypes.addressof(block)
            self.held[ctypes.addressof(block)] = block
            self.flags.append(flags)
            return 0

        def free(address: int) -> int:
            del self.held[address]
            return 0

        self.cudaHostAlloc, self.cudaFreeHost = allocate, free


def test_memory_is_held_as_long_as_an_array_or_a_view_of_it() -> None:
    cuda = PretendedCuda()
    array = PinnedMemory(cuda).empty((100, 20), np.dtype(np.float32))
    array[:] = 7
    view = array[3:5]

    del array
    gc.collect()
    assert len(cuda.held) == 1
    assert view.tolist() == [[7.0] * 20] * 2
    del view
    gc.collect()
    assert cuda.held == {}


def test_a_page_is_not_locked_for_a_few_numbers() -> None:
    cuda = PretendedCuda()

    array = PinnedMemory(cuda).empty((1, 4), np.dtype(np.float32))

    assert array.shape == (1, 4)
    assert cuda.held == {}


@pytest.mark.parametrize("cuda", [None, PretendedCuda(gives=False)])
def test_where_cuda_gives_none_an_ordinary_array_stands_in(cuda: Any) -> None:
    array = PinnedMemory(cuda).empty((100, 20), np.dtype(np.int64))

    array[:] = 1
    assert array.sum() == 2000
