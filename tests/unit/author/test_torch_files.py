"""PyTorch's files, told apart and read as far as that needs no torch."""

from __future__ import annotations

import json
import pickle
import pickletools
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidegate.author import PackRequest
from tidegate.author.extras import MissingExtra
from tidegate.author.frameworks import Found
from tidegate.author.frameworks.torch import onnx_export, pickled
from tidegate.author.frameworks.torch.exported import saved_by
from tidegate.author.pickles import PickleRefused
from tidegate.author.recognise import kind_of_file
from tidegate.errors import Invalid


class Network:
    """Stands for a class of the user's in a pickle."""


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    def write(entries: dict[str, bytes], name: str = "model.pt") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as file:
            for entry, content in entries.items():
                file.writestr(f"model/{entry}", content)
        return path

    return write


def test_the_three_zips_of_pytorch_are_told_apart_whatever_they_are_called(archive: Callable[..., Path]) -> None:
    exported = archive({"archive_format": b"pt2", "models/model.json": b"{}"}, "a.zip")
    script = archive({"data.pkl": b"", "code/__torch__.py": b""}, "b.zip")
    saved = archive({"data.pkl": b"", "data/0": b""}, "c.zip")

    assert [kind_of_file(path) for path in (exported, script, saved)] == [
        "torch-exported",
        "torchscript",
        "torch-pickle",
    ]


def test_a_zip_that_is_cut_off_is_damaged_also_when_it_holds_a_whole_one(
    tmp_path: Path, archive: Callable[..., Path]
) -> None:
    inner = archive({"data.pkl": b"example"}, "inner.pt")
    outer = archive({"archive_format": b"pt2", "sample_inputs/model.pt": inner.read_bytes(), "rest": b"x" * 500})
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(outer.read_bytes()[:-600])

    assert kind_of_file(cut) == "damaged-zip"


def test_an_exported_program_says_which_torch_saved_it(tmp_path: Path, archive: Callable[..., Path]) -> None:
    told = archive({"models/model.json": json.dumps({"torch_version": "2.11.0"}).encode()})
    silent = archive({"models/model.json": b"[]"}, "silent.pt2")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"PK")

    assert [saved_by(path) for path in (told, silent, damaged)] == ["2.11.0", "", ""]


def test_an_exported_program_is_refused_unread_until_it_is_trusted(
    packed: Any, archive: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = archive({"archive_format": b"pt2", "models/model.json": b"{}"}, "model.pt2")

    with pytest.raises(PickleRefused, match=r"an exported program, with pickles in it.*--trust-pickle"):
        packed(path)
    with pytest.raises(MissingExtra, match=r"tidegate\[torch\]"):
        packed(path, trust_pickle=True)


def test_an_exported_program_in_an_mlflow_folder_is_refused_as_well(
    packed: Any, archive: Callable[..., Path], tmp_path: Path
) -> None:
    archive({"archive_format": b"pt2", "models/model.json": b"{}"}, "model.pt2")
    (tmp_path / "MLmodel").write_text("flavors: {pytorch: {model_data: model.pt2}}")

    with pytest.raises(PickleRefused, match=r"model\.pt2: this is an exported program"):
        packed(tmp_path)


def test_weights_alone_are_refused_with_what_to_do(archive: Callable[..., Path]) -> None:
    path = archive({"data.pkl": pickle.dumps(OrderedDict(weight=1), protocol=2)})

    with pytest.raises(Invalid, match=r"weights without their model.*--weights FILE"):
        pickled.convert(Found("torch-pickle", path), request(path))


def test_a_pickled_model_is_refused_unread(archive: Callable[..., Path]) -> None:
    content = pickle.dumps(Network(), protocol=2)
    path = archive({"data.pkl": content})

    assert any(opcode.name == "GLOBAL" for opcode, _, _ in pickletools.genops(content))
    with pytest.raises(PickleRefused, match=r"a pickled model \(.*Network\).*--trust-pickle"):
        pickled.convert(Found("torch-pickle", path), request(path))


def test_a_checkpoint_that_is_no_module_is_refused_with_what_to_do(
    archive: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive({"data.pkl": pickle.dumps(Network(), protocol=2)})
    torch = SimpleNamespace(load=lambda *_, **__: {"epoch": 3, "model": Network()})
    monkeypatch.setattr(onnx_export, "require", lambda: torch)

    with pytest.raises(Invalid, match=r"it holds a dict, not a model \(nn\.Module\).*state_dict.*--weights FILE"):
        pickled.convert(Found("torch-pickle", path), replace(request(path), trust_pickle=True))


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"ctorch\n", b"\x80\x02X\xff\xff"])
def test_a_pickle_that_is_damaged_is_refused(packed: Any, archive: Callable[..., Path], content: bytes) -> None:
    with pytest.raises(Invalid, match=r"model\.pt: it cannot be read: .*: copy it again"):
        packed(archive({"data.pkl": content}))


def test_a_program_that_is_encrypted_does_not_say_which_torch_saved_it(
    archive: Callable[..., Path], entries_with: Any
) -> None:
    assert saved_by(entries_with(archive({"models/model.json": b"{}"}), 8, 1)) == ""


def request(path: Path) -> PackRequest:
    return PackRequest(path.parent / "bundle", "model", "1")
