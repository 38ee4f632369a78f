"""What a GPU's failure means: too little memory passes, a device that is lost stays lost for this process.

ONNX Runtime's errors are told apart by their text only; the forms are those of its cuda_call.cc and bfc_arena.cc.
"""

from __future__ import annotations

import re
from typing import Final

from tidegate_runtime.devices import DeviceUnavailable
from tidegate_runtime.errors import DeviceFull, DeviceLost

FULL: Final = re.compile(
    r"CUDA (?:failure|error) ?\(?2\b|out of memory|Failed to allocate memory for requested buffer|"
    r"bfc_arena.cc.*Available memory of|CU(?:BLAS|DNN|FFT|SOLVER)_STATUS_ALLOC_FAILED|STATUS_HOST_ALLOCATION_FAILED",
    re.IGNORECASE,
)
# cudaError_t after which, by CUDA's documentation, the process must end to use the device again; and its absence.
STICKY: Final = {
    46: "no device is free", 100: "there is no device", 101: "there is no such device",
    214: "memory failed its check (ECC)", 220: "the link between GPUs failed (NVLink)",
    700: "memory was accessed where none is", 702: "a kernel ran for too long", 710: "a kernel's assertion failed",
    714: "the hardware's stack failed", 715: "an instruction was illegal", 716: "an address was misaligned",
    717: "an address lay in the wrong space", 718: "the program counter was wrong", 719: "a kernel failed",
    721: "memory failed its check (ECC, contained)", 802: "the system is not ready",
    999: "the driver does not say why",
}  # fmt: skip
CODE: Final = re.compile(r"CUDA (?:failure|error) ?\(?(\d+)\b")
# At load whatever the driver, the libraries or the memory refuse is the machine's: another one may do.
MACHINE: Final = re.compile(r"CU(?:DA|BLAS|DNN) (?:failure|error)|Please install|CUDA driver version", re.IGNORECASE)


def fault(error: Exception) -> DeviceFull | DeviceLost | None:
    """What a failed run on a GPU says about the GPU; None: it says something about the request or the model."""
    text = str(error)
    if (code := CODE.search(text)) and (why := STICKY.get(int(code[1]))):
        return DeviceLost(f"the GPU is lost to this server, which will be restarted: {why} (CUDA error {code[1]})")
    if FULL.search(text):
        return DeviceFull("the GPU is out of memory for this run: send fewer rows, or try again later")
    return None


def before_requests(found: DeviceFull | DeviceLost) -> DeviceUnavailable:
    """The same before any request came: the machine's fault, for which no model is refused."""
    return DeviceUnavailable(found.message, do="use another machine, or free this one's GPU")


def unavailable(error: Exception, sentence: str) -> DeviceUnavailable | None:
    """The machine's share in a model that did not load on a GPU, `sentence` being its words; None: the model's."""
    if FULL.search(str(error)):
        return DeviceUnavailable(
            f"the GPU has too little free memory for this model: {sentence}",
            do="free it, or set the provider option gpu_mem_limit of its other users lower",
        )
    if MACHINE.search(str(error)):
        return DeviceUnavailable(
            f"the GPU cannot be used here: {sentence}", do="check the driver and the libraries, or use device: cpu"
        )
    return None
