"""The `tidegate` command in this process, a script that trains a small model, and a pretended uv."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tidegate.cli import main as entry

SCRIPT = """
import numpy as np
from sklearn.linear_model import LogisticRegression

def model():
    points = np.eye(4).repeat(5, axis=0)
    return LogisticRegression().fit(points, np.arange(4).repeat(5))

def broken():
    raise RuntimeError("no data today")

number = 7
"""

UV = """#!{python}
import pathlib, sys, time, venv
words = [word for word in sys.argv[1:] if word != "--quiet"]
if words[0] == "venv":
    [_, _, _, folder] = words
    venv.create(folder, with_pip=False, symlinks=True)
    [packages] = pathlib.Path(folder).glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text({packages!r})
else:
    [_, _, _, program, *wanted] = words
    with open({asked!r}, "a") as asked:
        asked.write(" ".join(wanted) + chr(10))
    [packages] = pathlib.Path(program).parents[1].glob("lib/python*/site-packages")
    {then}
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def tidegate(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Run the command line as its entry point does, inside a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tidegate", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            entry.main()
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    path = tmp_path / "model.joblib"
    joblib.dump(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), path)
    return path


@dataclass(frozen=True, slots=True)
class PretendedUv:
    """A uv on the path, whose environments see the packages of the tests; they are made in `temporary`."""

    folder: Path

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    @property
    def asked(self) -> list[str]:
        """What it was asked to install, call by call."""
        return (self.folder / "asked").read_text().splitlines()

    def does(self, then: str = "pass") -> None:
        """Installing is this: a statement that may use `wanted` and the folder `packages` of the environment."""
        packages, asked = str(Path(joblib.__file__).parents[1]), str(self.folder / "asked")
        program = self.folder / "bin" / "uv"
        program.write_text(UV.format(python=sys.executable, packages=packages, asked=asked, then=then))
        program.chmod(0o755)


@pytest.fixture
def uv(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> PretendedUv:
    pretended = PretendedUv(tmp_path_factory.mktemp("uv"))
    (pretended.folder / "bin").mkdir()
    pretended.temporary.mkdir()
    pretended.does()
    monkeypatch.setenv("PATH", f"{pretended.folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(pretended.temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    return pretended
