"""File typing: what a file is, by its first and last kilobyte; the model of Google's Magika (Apache-2.0).

    pip install --no-deps magika
    python examples/models/filetype.py bundle

The model is reused as it is; what its package does before it stands here in ten lines.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import tidegate

EDGE, BLOCK, PADDING = 1024, 4096, 256
EXAMPLES = {
    "python": b"import os\n\n\ndef size(path):\n    return os.path.getsize(path)\n\n\nprint(size('a'))\n" * 4,
    "json": json.dumps([{"name": "a", "price": 2.5, "tags": ["b", "c"]}] * 9, indent=1).encode(),
    "html": b"<!DOCTYPE html>\n<html><head><title>Hello</title></head><body><p>Hello, world</p></body></html>\n" * 3,
    "c": b'#include <stdio.h>\n\nint main(void) {\n    printf("hello\\n");\n    return 0;\n}\n' * 3,
}


def tokens(content: bytes) -> list[int]:
    """The first and the last bytes without the white space around them, [2048]; 256 where there is none."""
    first, last = content[:BLOCK].lstrip()[:EDGE], content[-BLOCK:].rstrip()[-EDGE:]
    return [*first, *[PADDING] * (EDGE - len(first)), *[PADDING] * (EDGE - len(last)), *last]


def rows() -> Any:
    """The examples as the model takes them, INT32 [4, 2048]."""
    return np.array([tokens(content) for content in EXAMPLES.values()], np.int32)


def labels() -> list[str]:
    """The types of files that the model knows, in its order."""
    config = json.loads(_shipped("config.min.json").read_text())
    return list(config["target_labels_space"])


def model() -> str:
    """The ONNX file in the wheel."""
    return str(_shipped("model.onnx"))


def _shipped(name: str) -> Path:
    return Path(str(distribution("magika").locate_file(f"magika/models/standard_v3_3/{name}")))


def pack(out: Path) -> tidegate.Bundle:
    """The bundle, its golden samples made of the examples, measured on them."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "labels.txt"
        names.write_text("\n".join(labels()) + "\n")
        return tidegate.pack(
            model(),
            name="filetype",
            version=version("magika"),
            out=out,
            data=rows(),
            labels=np.array([labels().index(name) for name in EXAMPLES]),
            golden="heldout",
            files=[names],
            description="What a file is, by its first and last kilobyte: the model of Magika.",
            license="Apache-2.0",
        )


def answers(folder: Path) -> list[str]:
    """What the packed model takes the examples for."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (scores,) = session.run(None, {"bytes": rows()})
    names = (folder / "labels.txt").read_text().splitlines()
    return [names[best] for best in np.argmax(scores, axis=1)]


if __name__ == "__main__":
    made = pack(Path(sys.argv[1]))
    print(made.ref, made.digest)
    print(f"golden samples differ by {tidegate.check(made).worst:.1g} at most")
    print(*answers(Path(made.ref)))
