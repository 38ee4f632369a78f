"""What a GPU's failure means: too little memory passes, a device that is lost stays lost for this process.

ONNX Runtime's errors are told apart by their text only; the forms are those of its cuda_call.cc and bfc_arena.cc.
"""

from __future__ import annotations

import re
from typing import Final

from tidegate.errors import Invalid
from tidegate_runtime.devices import DeviceUnavailable
from tidegate_runtime.errors import DeviceFull, DeviceLost

FULL: Final = re.compile(
    r"CUDA (?:failure|error) ?\(?2\b|out of memory|Failed to allocate memory for requested buffer|"
    r"bfc_arena.cc.*Available memory of|CU(?:BLAS|DNN|FFT|SOLVER)_STATUS_ALLOC_FAILED|STATUS_HOST_ALLOCATION_FAILED",
    re.IGNORECASE,
)
# cudaError_t after which, by CUDA's documentation, a process must end to use the device again, or never will on it.
LASTING: Final = {
    35: "the driver is too old", 46: "no device is free", 100: "there is no device", 101: "there is no such device",
    209: "there are no kernels for such a device", 214: "memory failed its check (ECC)",
    220: "the link between GPUs failed (NVLink)", 222: "the driver is too old for the kernels",
    700: "memory was accessed where none is", 702: "a kernel ran for too long", 710: "a kernel's assertion failed",
    714: "the hardware's stack failed", 715: "an instruction was illegal", 716: "an address was misaligned",
    717: "an address lay in the wrong space", 718: "the program counter was wrong", 719: "a kernel failed",
    721: "memory failed its check (ECC, contained)", 802: "the system is not ready",
    803: "driver and system do not match", 804: "the driver is too old for this device",
    999: "the driver does not say why",
}  # fmt: skip
CODE: Final = re.compile(r"CUDA (?:failure|error) ?\(?(\d+)\b")
OPTION: Final = re.compile(r'(?:Unknown|Failed to parse) provider option:? ".*')
# At load whatever the driver, the libraries or the memory refuse is the machine's: another one may do.
FAILED_CALL: Final = re.compile(r"CU\w+ failure \d+: [^;\[\]]+(?= ;)")
MACHINE: Final = re.compile(r"CU(?:DA|BLAS|DNN) (?:failure|error)|Please install|CUDA driver version", re.IGNORECASE)


def fault(error: Exception) -> DeviceFull | DeviceLost | None:
    """What a failed run on a GPU says about the GPU; None: it says something about the request or the model."""
    text = str(error)
    if (code := CODE.search(text)) and (why := LASTING.get(int(code[1]))):
        return DeviceLost(f"the GPU is lost to this server, which will be restarted: {why} (CUDA error {code[1]})")
    if FULL.search(text):
        return DeviceFull("the GPU is out of memory for this run: send fewer rows, or try again later")
    return None


def before_requests(found: DeviceFull | DeviceLost) -> DeviceUnavailable:
    """The same before any request came: the machine's fault, for which no model is refused."""
    return DeviceUnavailable(found.message, do="use another machine, or free this one's GPU")


def not_loaded(error: Exception, sentence: str) -> DeviceUnavailable | Invalid | None:
    """Whose fault a model is that did not load on a GPU: the machine's, the options', or (None) the model's own.

    `sentence` has the error's words; of a failed call of CUDA only what failed is told, not on which host.
    """
    text = str(error)
    words = (FAILED_CALL.findall(text) or [sentence])[-1].rstrip(". ")
    if FULL.search(text):
        return DeviceUnavailable(
            f"the GPU has too little free memory for this model: {words}",
            do="free it, or set the provider option gpu_mem_limit of its other users lower",
        )
    if MACHINE.search(text):
        return DeviceUnavailable(
            f"the GPU cannot be used here: {words}", do="check the driver and the libraries, or use device: cpu"
        )
    if option := OPTION.search(sentence):
        return Invalid(option[0].rstrip("."), do="give the provider another value, or leave the option out")
    return None
