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
from pathlib import Path
from typing import Any

from tests.frameworks.case import Case

from tidegate.author import GoldenRequest, PackRequest, pack
from tidegate.author.data import read_data
from tidegate.author.frameworks import NEWEST_OPSET
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


def request(case: Case, folder: Path) -> PackRequest:
    fields: dict[str, Any] = {
        name: there if (there := inside(folder, value)) else value for name, value in case.options.items()
    }
    return PackRequest(
        out=folder / "bundle",
        name="model",
        version="1",
        data=read_data(folder / case.data) if case.data else None,
        golden=GoldenRequest(dims=case.dims),
        **fields,
    )


def inside(folder: Path, value: Any) -> Path | None:
    """The file or folder of that name, if there is one."""
    return folder / value if isinstance(value, str) and value and (folder / value).exists() else None


def refusal(case: Case, told: str) -> dict[str, Any]:
    return {"refused" if case.refused and re.search(case.refused, told) else "failed": told}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
