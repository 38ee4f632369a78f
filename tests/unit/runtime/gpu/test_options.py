"""What the execution providers are told follows from the model's sizes, the settings and what the user asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate.bundle.golden import GoldenSample
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid
from tidegate_runtime.devices import CUDA, TENSORRT
from tidegate_runtime.gpu.options import Wanted, bindable, most_rows, no_graph, options, wants_graphs

IMAGE = TensorSpec("x", "FP32", ("N", 3, 224, 224))
SCORES = TensorSpec("y", "FP32", ("N", 1000))
OPEN = Interface((IMAGE,), (SCORES,))
FIXED = Interface((TensorSpec("x", "FP32", (8, 3, 224, 224)),), (TensorSpec("y", "FP32", (8, 1000)),))
SEQUENCE = Interface((TensorSpec("ids", "INT64", ("N", "sequence")),), (SCORES,))


def wanted(device: str = "cuda", interface: Interface = OPEN, **more: Any) -> Wanted:
    return Wanted(device, interface, **{"given": {}, "most_rows": 32, "graphs": False, **more})


def test_cuda_alone_is_told_nothing_of_tensorrt() -> None:
    assert list(options(wanted())) == [CUDA]
    assert list(options(wanted("tensorrt"))) == [TENSORRT, CUDA]


def test_the_arena_grows_by_what_is_needed() -> None:
    assert options(wanted())[CUDA]["arena_extend_strategy"] == "kSameAsRequested"


def test_convolutions_are_searched_through_only_where_no_request_pays_for_a_new_shape() -> None:
    assert options(wanted(interface=FIXED))[CUDA]["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert options(wanted(interface=OPEN))[CUDA]["cudnn_conv_algo_search"] == "HEURISTIC"


def test_each_provider_gets_its_own_of_what_the_user_asked_for_above_our_defaults() -> None:
    given = {
        "use_tf32": "0",
        "gpu_mem_limit": "1073741824",
        "trt_fp16_enable": "1",
        "cudnn_conv_algo_search": "DEFAULT",
    }

    found = options(wanted("tensorrt", given=given))

    assert found[CUDA] | {"use_tf32": "0", "gpu_mem_limit": "1073741824"} == found[CUDA]
    assert found[CUDA]["cudnn_conv_algo_search"] == "DEFAULT"
    assert found[TENSORRT]["trt_fp16_enable"] == "1"
    assert "use_tf32" not in found[TENSORRT]
    assert "trt_fp16_enable" not in found[CUDA]


@pytest.mark.parametrize("name", ["device_id", "user_compute_stream", "trt_cuda_graph_enable", "gpu_external_alloc"])
def test_what_the_server_decides_is_not_the_users_to_set(name: str) -> None:
    with pytest.raises(Invalid, match=f"'{name}' is set by the server"):
        options(wanted(given={name: "1"}))


@pytest.mark.parametrize("name", ["trt_engine_cache_path", "trt_extra_plugin_lib_paths", "trt_ep_context_file_path"])
def test_no_option_names_a_file(name: str) -> None:
    with pytest.raises(Invalid, match=f"'{name}' is set by the server"):
        options(wanted("tensorrt", given={name: "/etc/passwd"}))


def test_an_option_of_tensorrt_without_tensorrt_is_no_silent_nothing() -> None:
    with pytest.raises(Invalid, match=r"'trt_fp16_enable' is TensorRT's: use device: tensorrt"):
        options(wanted("cuda", given={"trt_fp16_enable": "1"}))


def test_graphs_are_switched_on_in_the_provider_that_runs_the_model() -> None:
    cuda = options(wanted(interface=FIXED, graphs=True))
    tensorrt = options(wanted("tensorrt", FIXED, graphs=True))

    assert cuda[CUDA]["enable_cuda_graph"] == "1"
    assert tensorrt[TENSORRT]["trt_cuda_graph_enable"] == "1"
    assert "enable_cuda_graph" not in tensorrt[CUDA]


@pytest.mark.parametrize(("value", "wished"), [("1", True), ("true", True), ("True", True), ("0", False), ("", False)])
def test_a_wish_for_graphs_is_the_servers_to_grant(value: str, wished: bool) -> None:
    given = {"enable_cuda_graph": value}

    assert wants_graphs(given) is wished
    assert "enable_cuda_graph" not in options(wanted(given=given))[CUDA]
    assert not wants_graphs({})


def test_engines_are_built_for_one_row_to_a_full_batch() -> None:
    found = options(wanted("tensorrt", most_rows=16))[TENSORRT]

    assert found["trt_profile_min_shapes"] == "x:1x3x224x224"
    assert found["trt_profile_opt_shapes"] == found["trt_profile_max_shapes"] == "x:16x3x224x224"


def test_all_inputs_of_open_size_are_in_the_profile_and_no_others() -> None:
    inputs = (IMAGE, TensorSpec("mean", "FP32", (3,)), TensorSpec("weight", "FP32", ("N",)))

    found = options(wanted("tensorrt", Interface(inputs, (SCORES,))))[TENSORRT]

    assert found["trt_profile_min_shapes"] == "x:1x3x224x224,weight:1"
    assert found["trt_profile_max_shapes"] == "x:32x3x224x224,weight:32"


def test_a_model_of_fixed_sizes_needs_no_profile() -> None:
    assert not any("profile" in name for name in options(wanted("tensorrt", FIXED))[TENSORRT])


def test_sizes_that_only_the_user_knows_are_asked_for() -> None:
    with pytest.raises(Invalid, match=r"the input 'ids' leaves 'sequence' open.*trt_profile_min_shapes"):
        options(wanted("tensorrt", SEQUENCE))

    given = {f"trt_profile_{which}_shapes": "ids:1x1" for which in ("min", "opt", "max")}
    assert options(wanted("tensorrt", SEQUENCE, given=given))[TENSORRT] | given == options(
        wanted("tensorrt", SEQUENCE, given=given)
    )[TENSORRT]  # fmt: skip


def test_engines_and_their_timings_are_kept_in_the_folder() -> None:
    found = options(wanted("tensorrt", engines="/engines/a"))[TENSORRT]

    assert (found["trt_engine_cache_enable"], found["trt_engine_cache_path"]) == ("1", "/engines/a")
    assert (found["trt_timing_cache_enable"], found["trt_timing_cache_path"]) == ("1", "/engines/a")
    assert "trt_engine_cache_enable" not in options(wanted("tensorrt"))[TENSORRT]


def test_a_golden_sample_larger_than_a_batch_widens_the_profile() -> None:
    sample = GoldenSample({"x": np.zeros((40, 3, 1, 1), np.float32)}, {})

    assert most_rows(32, OPEN, [sample]) == 40
    assert most_rows(64, OPEN, [sample]) == 64
    assert most_rows(32, OPEN, []) == 32
    assert most_rows(4, FIXED, [GoldenSample({"x": np.zeros((8, 3, 1, 1), np.float32)}, {})]) == 4


@pytest.mark.parametrize(
    ("interface", "why"),
    [
        (FIXED, ""),
        (OPEN, "fixed sizes"),
        (Interface(FIXED.inputs, (SCORES,)), "fixed sizes"),
        (Interface((*FIXED.inputs, TensorSpec("t", "FP32", (1,), optional=True)), FIXED.outputs), "optional"),
        (Interface((TensorSpec("text", "BYTES", (1,)),), FIXED.outputs), "texts"),
        (Interface(FIXED.inputs, (TensorSpec("y", "BF16", (8,)),)), "BF16"),
    ],
)
def test_only_a_model_whose_runs_are_all_alike_is_recorded_as_a_graph(interface: Interface, why: str) -> None:
    found = no_graph(interface)

    assert why in found
    assert bool(found) is bool(why)


def test_texts_and_bf16_cannot_lie_in_bound_memory() -> None:
    assert bindable(OPEN)
    assert not bindable(Interface((TensorSpec("text", "BYTES", ("N",)),), (SCORES,)))
    assert not bindable(Interface((IMAGE,), (TensorSpec("y", "BF16", ("N",)),)))
