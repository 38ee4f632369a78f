"""Packs the cases of one framework where it is installed; a line of JSON per case, so that a crash costs one of them.

python -m tests.frameworks.inside FRAMEWORK FIRST COUNT
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.frameworks.case import Case

import tidegate
from tidegate.author import GoldenRequest, PackRequest, pack
from tidegate.author.data import read_data
from tidegate.author.frameworks import NEWEST_OPSET
from tidegate.author.request import GENERATED
from tidegate.bundle.manifest import Lineage
from tidegate.bundle.verify import verify_dir
from tidegate.errors import TidegateError


def main(framework: str, first: int, count: int) -> None:
    cases: list[Case] = importlib.import_module(f"tests.frameworks.cases_{framework}").cases()
    for case in cases[first : first + count]:
        began = time.monotonic()
        row = {"format": case.format, "model": case.model, "expected": case.refused, **outcome(case)}
        print(json.dumps({**row, "seconds": round(time.monotonic() - began, 1)}), flush=True)


def outcome(case: Case) -> dict[str, Any]:
    """What became of it: `parity`, or `refused`, or what went wrong as `failed`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            source = case.make(folder)
        except Exception as error:
            return {"failed": f"the case itself: {type(error).__name__}: {error}"}
        os.chdir(folder)
        try:
            packed = pack(source, request(case, folder))
            if case.tuned and (wrong := wrong_about_tuned(case, case.tuned, folder)):
                return {"failed": wrong}
        except TidegateError as error:
            return refusal(case, f"{error.reason}: {error}".replace(f"{folder}/", ""))
        except Exception as error:
            return {"failed": f"a bug: {type(error).__name__}: {error}"}
        finally:
            os.chdir("/")
        if case.refused:
            return {"failed": "it was packed, and had to be refused"}
        manifest = verify_dir(packed.bundle.path).manifest
        if manifest.model.opset.get("", 0) > NEWEST_OPSET:
            return {"failed": f"operator set {manifest.model.opset['']}: ONNX Runtime 1.20 cannot run it"}
        return {"parity": dict(manifest.parity.get("original", {})), "notes": packed.notes}


def wrong_about_tuned(case: Case, tuned: Callable[[Path], str], folder: Path) -> str:
    """Pack the model that was trained on; what is not as it should be about its lineage and its changes, or nothing."""
    first = tidegate.inspect(folder / "bundle")
    again = replace(request(case, folder), out=folder / "tuned", version="2", parent=first.ref)
    lineage = pack(tuned(folder), again).bundle.manifest.lineage
    if lineage != Lineage((first.digest,), "fine-tuned"):
        return f"its lineage is {lineage}"
    found = tidegate.diff(first, folder / "tuned")
    moved = {layer.name: layer.relative for layer in found.layers}
    as_meant = set(moved) == set(case.moved) and all(moved.values()) and found.accepted
    return "" if as_meant else f"diff lists {moved}, and breaks {found.broken}"


def request(case: Case, folder: Path) -> PackRequest:
    fields: dict[str, Any] = {
        name: there if (there := inside(folder, value)) else value for name, value in case.options.items()
    }
    return PackRequest(
        out=folder / "bundle",
        name="model",
        version="1",
        data=read_data(folder / case.data) if case.data else None,
        golden=GoldenRequest(str(folder / case.golden) if case.golden else GENERATED, dims=case.dims),
        **fields,
    )


def inside(folder: Path, value: Any) -> Path | None:
    """The file or folder of that name, if there is one."""
    return folder / value if isinstance(value, str) and value and (folder / value).exists() else None


def refusal(case: Case, told: str) -> dict[str, Any]:
    return {"refused" if case.refused and re.search(case.refused, told) else "failed": told}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
