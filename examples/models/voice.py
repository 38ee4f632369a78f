"""Voice activity: the chance that there is speech in the last 32 ms; the model of Silero VAD (MIT).

    pip install --no-deps silero-vad
    python examples/models/voice.py bundle

A server keeps nothing between requests, so the client carries the state: `stateN` of one answer is `state` of the next
request.  A request is 512 samples at 16 kHz with the 64 before them.
"""

from __future__ import annotations

import sys
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import tidegate

RATE, BEFORE, STEP = 16_000, 64, 512


def sound(seconds: float) -> Any:
    """Half silence, half a voice-like sound: a buzz of 120 Hz through the resonances of three vowels in turn."""
    count = int(seconds * RATE)
    time = np.arange(count) / RATE
    pitch = 120 + 15 * np.sin(2 * np.pi * 3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    vowels = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240]])
    formants = vowels[(time * 5).astype(int) % 3]
    voice = np.zeros(count)
    for harmonic in range(1, 30):
        gain = np.exp(-(((harmonic * pitch[:, None] - formants) / 120) ** 2)).sum(axis=1)
        voice += (gain + 0.02) * np.sin(harmonic * phase) / harmonic**0.5
    voice *= 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time)  # syllables
    voice[: count // 2] = 0
    noise = np.random.default_rng(0).standard_normal(count)
    return (0.2 * voice + 0.0005 * noise).astype(np.float32)


def model() -> str:
    """The ONNX file in the wheel for 16 kHz."""
    return str(distribution("silero-vad").locate_file("silero_vad/data/silero_vad_16k_op15.onnx"))


def chances(path: str, heard: Any) -> Any:
    """The chance of speech in each step of what a client hears, [steps]; the state goes from answer to request."""
    session = onnxruntime.InferenceSession(path)
    state, found = np.zeros((2, 1, 128), np.float32), []
    for start in range(BEFORE, len(heard) - STEP, STEP):
        frame = heard[None, start - BEFORE : start + STEP]
        output, state = session.run(None, {"input": frame, "state": state, "sr": np.array(RATE)})
        found.append(output[0, 0])
    return np.array(found)


def pack(out: Path) -> tidegate.Bundle:
    """The bundle, with names for what may be batched."""
    return tidegate.pack(
        model(),
        name="voice",
        version=version("silero-vad"),
        out=out,
        interface={"input": ("batch", BEFORE + STEP), "state": (2, "batch", 128)},
        description="The chance of speech in 32 ms of sound: the model of Silero VAD, its state carried by the client.",
        license="MIT",
    )


if __name__ == "__main__":
    made = pack(Path(sys.argv[1]))
    print(made.ref, made.digest)
    print(f"golden samples differ by {tidegate.check(made).worst:.1g} at most")
    silence, voice = np.array_split(chances(f"{made.ref}/model.onnx", sound(4)), 2)
    print(f"speech in silence {silence.mean():.2f}, in the voice {voice.mean():.2f}")
