"""What the pages say exists: links lead somewhere, manifests in them are in order, commands and targets are real."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tidegate.api.load import Checked, check_text
from tidegate.cli.group import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_manifests_in_pages_are_in_order(page: Path) -> None:
    for block in re.findall(r"```yaml[^\n]*\n(.*?)```", page.read_text(), re.S):
        if re.search(r"^kind: ModelDeployment", block, re.M):  # elsewhere it may be named
            checked = Checked()
            check_text(block.encode(), page.name, checked)
            assert [str(problem) for problem in checked.problems] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_in_shell_blocks_exist(page: Path) -> None:
    blocks = "\n".join(re.findall(r"```sh[^\n]*\n(.*?)```", page.read_text(), re.S))
    named = set(re.findall(r"^\s*tidegate ([a-z]+)", blocks, re.M))

    assert named - set(COMMANDS) == set()


def test_the_manifest_of_the_readme_fits_in_ten_lines() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)

    assert len(block.splitlines()) <= 10


def test_the_two_commands_of_the_readme_are_targets() -> None:
    targets = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert re.search(r"make demo\s", targets)
    assert re.search(r"make test\s", targets)
