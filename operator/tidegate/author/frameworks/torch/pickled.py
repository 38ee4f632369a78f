"""Files of torch.save: weights, which need a function that builds their model, or a whole module, which is a pickle."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Any

from tidegate.author.frameworks import Converted, Found
from tidegate.author.frameworks.torch import module, onnx_export
from tidegate.author.frameworks.torch.sentences import first_line
from tidegate.author.pickles import PickleRefused
from tidegate.author.recognise import kind_of_value
from tidegate.author.request import PackRequest
from tidegate.author.zips import DAMAGED_ZIP
from tidegate.errors import Invalid

PLAIN = ("torch", "collections", "numpy")  # what state_dicts are made of
BUILD = "name the function that builds the model: tidegate pack model.py:build --weights FILE"
ALONE = f"save its weights alone, torch.save(model.state_dict(), FILE), and {BUILD}"


def convert(found: Found, request: PackRequest) -> Converted:
    """A whole module that was pickled, if that is trusted; weights alone are refused with what to do."""
    assert found.path is not None
    where = str(found.path)
    if classes := pickled_classes(found.path):
        if not request.trust_pickle:
            raise PickleRefused(
                f"this is a pickled model ({classes[0]}): reading it runs whatever code its writer put into it",
                where=where,
                do=f"{ALONE}; or say --trust-pickle",
            )
        value = _unpickled(found.path)
        if kind_of_value(value) != "torch-module":
            raise Invalid(f"it holds a {type(value).__name__}, not a model (nn.Module)", where=where, do=ALONE)
        return module.convert(Found("torch-module", value=value, folder=found.folder), request)
    raise Invalid("these are weights without their model (a state_dict)", where=where, do=BUILD)


def pickled_classes(path: Path) -> list[str]:
    """Classes outside torch's own tensors that reading this file would build.  Needs no torch, runs nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            found = dict.fromkeys(
                str(argument).replace(" ", ".")
                for opcode, argument, _ in pickletools.genops(archive.read(name))
                if opcode.name == "GLOBAL"
            )
    except DAMAGED_ZIP as error:
        reason = first_line(str(error))
        raise Invalid(f"it cannot be read: {reason}", where=str(path), do="copy it again: it is damaged") from None
    return [name for name in found if name.partition(".")[0] not in PLAIN or name.startswith("torch.nn.modules")]


def _unpickled(path: Path) -> Any:
    torch = onnx_export.require()
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # noqa: BLE001 - a pickle may raise anything
        raise Invalid(
            f"it cannot be read: {first_line(str(error))}",
            where=str(path),
            do="say where its classes can be imported from, PYTHONPATH=FOLDER, and use the torch that saved it",
        ) from None
