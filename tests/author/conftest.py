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

# Its environments see the packages of the tests, so that whatever is run in one really runs.
UV = """#!{python}
import pathlib, sys, time, venv
words = sys.argv[1:]
if words[0] == "venv":
    venv.create(words[-1], with_pip=False, symlinks=True)
    [packages] = pathlib.Path(words[-1]).glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text({packages!r})
else:
    with open("{folder}/asked", "a") as asked:
        asked.write(" ".join(words[5:]) + chr(10))
    [packages] = (pathlib.Path(words[4]).parents[1]).glob("lib/python*/site-packages")
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


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A uv on the path whose installing does `then`; gives the folder that temporary environments are made in."""
    programs, temporary = tmp_path / "programs", tmp_path / "temporary"
    programs.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)

    def make(then: str = "pass") -> Path:
        packages = str(Path(joblib.__file__).parents[1])
        text = UV.format(python=sys.executable, folder=tmp_path, packages=packages, then=then.format(folder=tmp_path))
        (programs / "uv").write_text(text)
        (programs / "uv").chmod(0o755)
        return temporary

    return make
