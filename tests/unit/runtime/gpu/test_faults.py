"""What a GPU's failure means is read from the words of ONNX Runtime, CUDA, cuBLAS and cuDNN, as they have been seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate_runtime.errors import DeviceFull, DeviceLost
from tidegate_runtime.gpu.faults import fault, not_loaded
from tidegate_runtime.ort_errors import sentence

# From reports of users: onnxruntime 9939, 16307, 14710, 26312 and others.
FULL = [
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc((void**)&p, n);",
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running FusedMatMul node. "
    "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:331 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 8388608000",
    "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:347 void* onnxruntime::BFCArena::AllocateRawInternal("
    "size_t, bool) Available memory of 1024 is smaller than requested bytes of 4096",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=h ; expr=cublasCreate(&cublas_handle_);",
    "../rtSafe/safeRuntime.cpp (25) - Cuda Error in allocate: 2 (out of memory)",
]
LOST = [
    ("CUDA failure 700: an illegal memory access was encountered ; GPU=1 ; hostname=h ; expr=cudaMemcpyAsync()", "700"),
    ("CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=h ; expr=cudaStreamSynchronize()", "719"),
    ("CUDA failure 214: uncorrectable ECC error encountered ; GPU=0 ; hostname=h ; expr=cudaEventRecord()", "214"),
    ("CUDA failure 46: all CUDA-capable devices are busy or unavailable ; GPU=0 ; hostname=h", "46"),
    ("CUDA error executing cudaMemcpy(...): CUDA error 716 misaligned address", "716"),
]
OTHER = [
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x for the following indices",
    "CUDA failure 1: invalid argument ; GPU=0 ; hostname=h ; expr=cudaMemcpyAsync()",
    "CUDNN failure 3000: CUDNN_STATUS_NOT_SUPPORTED ; GPU=0 ; hostname=h ; expr=cudnnConvolutionForward()",
    "Exiting due to terminate flag being set to true.",
]


@pytest.mark.parametrize("text", FULL)
def test_too_little_memory_is_no_fault_of_the_model_and_passes(text: str) -> None:
    found = fault(RuntimeError(text))

    assert isinstance(found, DeviceFull)
    assert found.status == 503
    assert "hostname" not in found.message


@pytest.mark.parametrize(("text", "code"), LOST)
def test_errors_after_which_cuda_wants_a_new_process_mean_that_the_device_is_lost(text: str, code: str) -> None:
    found = fault(RuntimeError(text))

    assert isinstance(found, DeviceLost)
    assert f"CUDA error {code}" in found.message
    assert "hostname" not in found.message


@pytest.mark.parametrize("text", OTHER)
def test_other_failures_say_something_about_the_request(text: str) -> None:
    assert fault(RuntimeError(text)) is None


# What onnxruntime-gpu 1.31.1 says where there is a driver's library and no GPU.
NO_DEVICE = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 void onnxruntime::CudaCall(ERRTYPE, const char*, "
    "SUCCTYPE, int) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure 100: no CUDA-capable device is detected ; "
    "GPU=-1 ; hostname=node-7 ; file=/onnxruntime_src/cuda_execution_provider.cc ; line=300 ; expr=cudaSetDevice(id);"
)
UNKNOWN = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider_info.cc:63 static onnxruntime::CUDA"
    "ExecutionProviderInfo onnxruntime::CUDAExecutionProviderInfo::FromProviderOptions(const onnxruntime::"
    "ProviderOptions&) [ONNXRuntimeError] : 1 : FAIL : provider_options_utils.h:182 Parse Unknown provider option: "
    '"bogus".'
)
NO_TENSORRT = (
    "/onnxruntime_src/onnxruntime/python/onnxruntime_pybind_state.cc:729 void onnxruntime::python::Register"
    "TensorRTPluginsAsCustomOps(PySessionOptions&, const onnxruntime::ProviderOptions&) Please install TensorRT "
    "libraries as mentioned in the GPU requirements page"
)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (FULL[1], "too little free memory"),
        (NO_DEVICE, "cannot be used here: CUDA failure 100: no CUDA-capable device is detected: check the driver"),
        ("CUDA driver version is insufficient for CUDA runtime version", "cannot be used here"),
        (NO_TENSORRT, "cannot be used here"),
    ],
)
def test_a_model_that_does_not_load_for_the_machines_sake_is_not_blamed(text: str, what: str) -> None:
    found = not_loaded(RuntimeError(text), "its own words")

    assert found is not None
    assert found.reason == "DeviceUnavailable"
    assert what in str(found)
    assert "node-7" not in str(found)


@pytest.mark.parametrize(
    "text", [UNKNOWN, 'Failed to parse provider option "gpu_mem_limit": Failed to parse value: "x"']
)
def test_an_option_that_the_provider_does_not_take_is_whoever_gave_its(text: str) -> None:
    found = not_loaded(RuntimeError(text), sentence(RuntimeError(text), Path("/b/model.onnx")))

    assert found is not None
    assert found.reason == "Invalid"
    assert "provider option" in str(found)
    assert "onnxruntime_src" not in str(found)


def test_a_model_that_is_wrong_is_wrong_on_every_machine() -> None:
    assert not_loaded(RuntimeError("Load model failed: Protobuf parsing failed."), "") is None
