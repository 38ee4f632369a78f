"""What the driver tells about the GPU of this server: who it is, its memory, how busy it is, failed memory checks.

NVML counts the machine's GPUs, CUDA those that the process may see.  This server uses CUDA's first; which one of
NVML's that is follows from the variables by which Kubernetes and people choose.  Slices of a GPU (MIG) tell their
memory, and not how busy they are: what is not told is absent, never 0.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

LOG = logging.getLogger(__name__)
UUIDS: Final = ("GPU-", "MIG-")


@dataclass(frozen=True, slots=True)
class Reading:
    """At one moment; bytes, and a share from 0 to 1. None: this GPU does not tell."""

    memory_used: int
    memory_total: int
    utilization: float | None
    ecc_errors: int | None  # memory checks that failed beyond repair since the driver started


def chosen(environment: Mapping[str, str]) -> int | str:
    """CUDA's first GPU: its number among NVML's in the order of their bus, or its UUID (a slice's: MIG-…)."""
    first = _first(environment, "CUDA_VISIBLE_DEVICES")
    if first:
        return int(first) if first.isdecimal() else first
    # What the container was given. Its numbers are the node's, where NVML here counts from 0 what the container sees.
    given = _first(environment, "NVIDIA_VISIBLE_DEVICES")
    return given if given.startswith(UUIDS) else 0


def _first(environment: Mapping[str, str], variable: str) -> str:
    return environment.get(variable, "").split(",")[0].strip()


class Gpu:
    """The GPU that this server runs on."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self.name = str(nvml.nvmlDeviceGetName(handle))
        self.uuid = str(nvml.nvmlDeviceGetUUID(handle))
        self.driver = str(nvml.nvmlSystemGetDriverVersion())

    def read(self) -> Reading | None:
        """A reading; None when the driver does not answer any more."""
        nvml = self._nvml
        memory = self._ask(lambda: nvml.nvmlDeviceGetMemoryInfo(self._handle))
        if memory is None:
            return None
        rates = self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(self._handle))
        kinds = (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC)
        errors = self._ask(lambda: nvml.nvmlDeviceGetTotalEccErrors(self._handle, *kinds))
        busy = None if rates is None else rates.gpu / 100
        return Reading(int(memory.used), int(memory.total), busy, None if errors is None else int(errors))

    def _ask(self, question: Callable[[], Any]) -> Any | None:
        try:
            return question()
        except self._nvml.NVMLError:  # not supported, or gone
            return None


def find_gpu(environment: Mapping[str, str]) -> Gpu | None:
    """The GPU of this process by NVML; None where there is no driver, or the package nvidia-ml-py is missing."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        LOG.warning("no figures of the GPU: nvidia-ml-py is not installed")
        return None
    return open_gpu(nvml, chosen(environment))


def open_gpu(nvml: Any, choice: int | str) -> Gpu | None:
    """The GPU `choice` names; of one that is cut into slices its first slice, which is the one that CUDA takes."""
    try:
        nvml.nvmlInit()
        if isinstance(choice, str):
            return Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(choice))
        whole = nvml.nvmlDeviceGetHandleByIndex(choice)
        return Gpu(nvml, _first_slice(nvml, whole) or whole)
    except nvml.NVMLError as error:
        LOG.warning("no figures of the GPU: %s", error)
        return None


def _first_slice(nvml: Any, whole: Any) -> Any | None:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(whole)
        if current != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        return nvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, 0)
    except nvml.NVMLError:  # a GPU that cannot be cut, or is not
        return None
