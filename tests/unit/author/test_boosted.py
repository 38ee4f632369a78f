"""Boosted trees in files of their own libraries, as far as that needs none of these."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.author.frameworks.boosted import _survivable


def test_the_process_that_reads_a_file_first_imports_nothing_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lightgbm.py").write_text("open('mark', 'w')")
    (tmp_path / "model.txt").write_text("tree\nversion=v4\n")

    with pytest.raises(ValueError, match="it ends the process that reads it"):
        _survivable("model.txt")

    assert not (tmp_path / "mark").exists()
