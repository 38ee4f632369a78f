"""The server in a process whose GPU is taken from it: `python -m benchmarks.gpu_loss FILE serve …`.

When FILE appears, a kernel writes where no memory is, as a broken one of some model would; by CUDA's rules the device
is lost to the whole process then.  FILE is removed when it has happened.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from pathlib import Path
from typing import Final

ILLEGAL_ADDRESS: Final = 700
PTX: Final = b"""
.version 7.5
.target sm_75
.address_size 64
.visible .entry spoil() {
    .reg .u64 %a;
    .reg .u32 %v;
    mov.u64 %a, 16;
    mov.u32 %v, 1;
    st.global.u32 [%a], %v;
    ret;
}
"""


def lose(ordinal: int = 0) -> None:
    """Lose the device for this process; raises RuntimeError when it is still there."""
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
    for failed in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), ordinal),
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        cuda.cuCtxSetCurrent(context),
        cuda.cuModuleLoadData(ctypes.byref(module), PTX),
        cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"spoil"),
        cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None),
    ):
        if failed:
            raise RuntimeError(f"the driver answered {failed}")
    if (found := cuda.cuCtxSynchronize()) != ILLEGAL_ADDRESS:
        raise RuntimeError(f"the driver answered {found}, and not {ILLEGAL_ADDRESS}")


def wait_and_lose(file: Path) -> None:
    while not file.exists():
        time.sleep(0.05)
    lose()
    file.unlink()


def main() -> int:
    file = Path(sys.argv.pop(1))
    threading.Thread(target=wait_and_lose, args=(file,), daemon=True).start()
    from tidegate_runtime.main import main as serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
