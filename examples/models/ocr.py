"""OCR: the text in a picture of one line; PaddleOCR's recognizer as RapidOCR ships it (both Apache-2.0).

    pip install --no-deps rapidocr-onnxruntime pillow
    python examples/models/ocr.py bundle

The characters that the model knows become labels.txt; a client needs them to read the scores.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import distribution, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from PIL import Image, ImageDraw, ImageFont

import tidegate

HEIGHT = 48
TEXT = "Tidegate 2026"


def picture(text: str) -> Any:
    """Black on white, as the model takes it: FP32 [1, 3, 48, width] from -1 to 1."""
    font = ImageFont.load_default(size=32)
    image = Image.new("RGB", (int(font.getlength(text)) + 24, HEIGHT), "white")
    ImageDraw.Draw(image).text((12, 4), text, "black", font=font)
    return (np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255 - 0.5) / 0.5


def model() -> str:
    """The ONNX file in the wheel."""
    path = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
    return str(distribution("rapidocr-onnxruntime").locate_file(path))


def characters() -> list[str]:
    """The characters that the model knows, as it keeps them itself."""
    (found,) = [entry.value for entry in onnx.load(model()).metadata_props if entry.key == "character"]
    return list(found.splitlines())


def read(scores: Any, known: list[str]) -> str:
    """Scores [1, steps, 6625] as text: the best of each step, once per run; the first is no character."""
    best = [0, *np.argmax(scores[0], axis=1)]
    return "".join([*known, " "][now - 1] for before, now in pairwise(best) if now not in (0, before))


def pack(out: Path) -> tidegate.Bundle:
    """The bundle, with the characters as labels and names for what may be of any size."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "labels.txt"
        names.write_text("\n".join(characters()) + "\n", encoding="utf-8")
        return tidegate.pack(
            model(),
            name="ocr",
            version=version("rapidocr-onnxruntime"),
            out=out,
            interface={"x": ("batch", 3, HEIGHT, "width")},
            dims={"width": 160},
            golden_count=2,
            files=[names],
            description="The text in a picture of one line: PP-OCRv4's recognizer, from RapidOCR.",
            license="Apache-2.0",
        )


if __name__ == "__main__":
    made = pack(Path(sys.argv[1]))
    print(made.ref, made.digest)
    print(f"golden samples differ by {tidegate.check(made).worst:.1g} at most")
    (scores,) = onnxruntime.InferenceSession(f"{made.ref}/model.onnx").run(None, {"x": picture(TEXT)})
    print(read(scores, (Path(made.ref) / "labels.txt").read_text(encoding="utf-8").splitlines()))
