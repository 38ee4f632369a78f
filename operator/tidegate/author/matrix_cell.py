"""One cell of `tidegate matrix`: runs in an environment that has numpy and some ONNX Runtime, and nothing of Tidegate.

It is started as a script with the path of a request (JSON), writes the answers beside it and prints a line of JSON.
Nothing here may need a recent numpy or ONNX Runtime: old ones are what it is for.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BF16 = 16
ONLY_FATAL = 4
LENGTH = 400  # characters of a reason


def main(request_file: Path) -> None:
    """Carry the request out; whatever happens is one line on stdout."""
    try:
        told = run(json.loads(request_file.read_text(encoding="utf-8")), request_file.parent)
    except Exception as error:  # noqa: BLE001 - an old library may raise anything, and all of it is an answer
        told = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:LENGTH]}
    print(json.dumps(told))  # noqa: T201


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Load the model as the request says, ask it each sample, and store what it answers."""
    import onnxruntime

    told: dict[str, Any] = {"onnxruntime": onnxruntime.__version__}
    if request["provider"] not in onnxruntime.get_available_providers():
        return {**told, "error": f"this ONNX Runtime has no {request['provider']}"}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.log_severity_level = ONLY_FATAL
    try:
        session = onnxruntime.InferenceSession(request["model"], options, providers=[request["provider"]])
        if session.get_providers()[0] != request["provider"]:
            return {**told, "error": f"{request['provider']} cannot be used here: it fell back to the CPU"}
        began = time.perf_counter()
        samples = enumerate(request["samples"])
        answers = [ask(session, request, names, folder / f"input{number}.npz") for number, names in samples]
        told["milliseconds"] = round((time.perf_counter() - began) * 1000, 3)
    except Exception as error:  # noqa: BLE001
        return {**told, "error": " ".join(str(error).split())[:LENGTH]}
    for number, given in enumerate(answers):
        stored = {f"o{place}": as_plain(array) for place, array in enumerate(given)}
        np.savez(folder / f"output{number}.npz", **stored)
    return told


def ask(session: Any, request: dict[str, Any], names: list[str], path: Path) -> list[Any]:
    """The answer to one sample, whose inputs are `names`."""
    with np.load(path) as stored:
        arrays = [stored[f"i{place}"] for place in range(len(stored.files))]
    fed = {name: as_fed(array, request["types"][name]) for name, array in zip(names, arrays)}  # noqa: B905
    answer: list[Any] = session.run(request["outputs"], fed)
    return answer


def as_fed(array: Any, element_type: str) -> Any:
    """Texts as objects; BF16, which numpy does not have, as ONNX Runtime's own value."""
    if element_type == "BYTES":
        return array.astype(object)
    if element_type == "BF16":
        import onnxruntime

        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, BF16)
    return array


def as_plain(array: Any) -> Any:
    """As a file without pickles can hold it."""
    found = np.asarray(array)
    return found.astype(str) if found.dtype.kind == "O" else found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
