"""A server on this machine's GPU is told what the manifest says of it; and its GPU's failure is told as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.unit.plan.manifests.parts import record, runtime_of, wanted

from tidegate.internal.calls import Answer
from tidegate.local.children import Lifeline
from tidegate.local.servers import Workplace, not_alive, serve_command
from tidegate_runtime.settings import Settings, parse

OPTIONS = {"use_tf32": "0", "gpu_mem_limit": "4294967296"}


def told(folder: Path, device: str, *, overridden: str | None = None, options: Mapping[str, str] = OPTIONS) -> Settings:
    """What a server reads from the command line that it is started with; `overridden` is the runner's own flag."""
    place = Workplace("m", folder, Lifeline(3, 4), "t", folder / "token", overridden, lambda: None, lambda *_: None)
    runtime = runtime_of(device=device, accelerator={}, providerOptions=options)
    one = wanted(dataclasses.replace(record(), runtime=runtime))
    command = serve_command(place, one, folder / "bundle", folder / "last-words")
    return parse(command[command.index("serve") + 1 :], {})


def test_provider_options_reach_the_server_and_tensorrts_engines_stay_with_the_run(tmp_path: Path) -> None:
    cuda, tensorrt = told(tmp_path, "cuda"), told(tmp_path, "tensorrt")

    assert cuda.provider_options == tensorrt.provider_options == OPTIONS
    assert (cuda.engine_cache, tensorrt.engine_cache) == (None, tmp_path / "engines")


def test_a_server_that_is_moved_to_the_processor_is_not_told_of_a_gpu(tmp_path: Path) -> None:
    moved = told(tmp_path, "tensorrt", overridden="cpu")

    assert (moved.device, moved.provider_options, moved.engine_cache) == ("cpu", {}, None)


def test_a_server_that_is_moved_to_cuda_is_not_told_of_tensorrt(tmp_path: Path) -> None:
    options = OPTIONS | {"trt_fp16_enable": "1"}

    assert told(tmp_path, "tensorrt", options=options).provider_options == options
    assert told(tmp_path, "tensorrt", overridden="cuda", options=options).provider_options == OPTIONS


@pytest.mark.parametrize(
    ("said", "reason", "message"),
    [
        (Answer(503, b"DeviceLost: the GPU failed: for good\n"), "DeviceLost", "the GPU failed: for good"),
        (Answer(503, b"RunStuck: a run goes on\n"), "RunStuck", "a run goes on"),
        (Answer(503, b"Failed\n"), "RunStuck", "the server no longer answers its liveness probe"),
        (None, "RunStuck", "the server no longer answers its liveness probe"),
    ],
)
def test_why_a_server_is_ended_is_what_its_liveness_probe_says(said: Answer | None, reason: str, message: str) -> None:
    failure = not_alive(said)

    assert (failure.reason, failure.message) == (reason, message)
