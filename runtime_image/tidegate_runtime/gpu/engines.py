"""TensorRT's engines kept on disk: minutes of building once for a model on a GPU, not at each start.

ONNX Runtime names an engine by the graph alone: weights, driver and version of TensorRT are not in that name, and an
engine of other weights is loaded without a word.  So each combination has a folder of its own.
A folder gets its name only after the engines in it have run; what a killed process leaves half-written is never read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

LOG = logging.getLogger(__name__)
BUILDING: Final = ".building-"  # and the process's id: the end of a folder's name until its engines have run


@dataclass(frozen=True, slots=True)
class Maker:
    """What an engine depends on beside the model: it runs on no other GPU, and with no other version."""

    gpu: str
    driver: str
    onnxruntime: str
    tensorrt: str


def folder_name(digest: str, maker: Maker, options: Mapping[str, str]) -> str:
    """A name for the engines of a bundle, by a GPU and by the options that they are built with; readable in part."""
    of = json.dumps([digest, asdict(maker), sorted(options.items())])
    gpu = re.sub(r"[^a-z0-9]+", "-", maker.gpu.lower()).strip("-")
    return f"{digest.removeprefix('sha256:')[:12]}-{gpu}-{hashlib.sha256(of.encode()).hexdigest()[:16]}"


class Engines:
    """One folder: `path` is where TensorRT reads and writes, `reused` whether engines are there already.

    Raises OSError where it cannot be made.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._kept = root / name
        self._building = root / f"{name}{BUILDING}{os.getpid()}"
        self.reused = self._kept.is_dir()
        self.path = self._kept if self.reused else self._building
        _remove_left_behind(root, name)
        self._clear()

    def _clear(self) -> None:
        shutil.rmtree(
            self._building, ignore_errors=True
        )  # in a container a process has the id of its killed forerunner
        if not self.reused:
            self._building.mkdir(parents=True)

    def keep(self) -> None:
        """The engines have run: the next start finds them. Another process may have been quicker; theirs stay."""
        if self.reused:
            return
        try:
            self._building.rename(self._kept)
        except OSError as error:
            if not self._kept.is_dir():
                LOG.warning("engines are not kept: %s", error.strerror)

    def start_anew(self) -> None:
        """What is kept does not load: build again. Raises OSError where it cannot be removed."""
        if self._kept.exists():
            shutil.rmtree(self._kept)
        self.reused, self.path = False, self._building
        self._clear()


def _remove_left_behind(root: Path, name: str) -> None:
    """What killed processes were building."""
    for folder in root.glob(f"{name}{BUILDING}*"):
        number = folder.name.rpartition("-")[2]
        if number.isdecimal() and not _is_alive(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another account
    return True
