"""The rules of the house that no linter knows: names, sizes, and the one file that must never exist."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("operator/**/*.py"), *ROOT.glob("runtime_image/**/*.py")])
VAGUE = re.compile(r"(utils?|helpers?|common|misc|managers?)\.py")


def function_lengths() -> dict[str, int]:
    lengths = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{path.relative_to(ROOT)}:{node.name}"] = (node.end_lineno or node.lineno) - node.lineno + 1
    return lengths


def test_the_folder_operator_is_not_a_package_that_shadows_the_standard_library() -> None:
    assert not (ROOT / "operator/__init__.py").exists()
    seen = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.__file__)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert str(ROOT) not in seen


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in SOURCES if VAGUE.fullmatch(path.name)] == []


def test_every_source_file_fits_in_400_lines() -> None:
    assert {str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > 400} == {}


def test_functions_are_short() -> None:
    lengths = function_lengths()
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert statistics.median(lengths.values()) <= 12
    assert statistics.quantiles(lengths.values(), n=10)[8] <= 40


def test_every_module_says_why_it_exists() -> None:
    assert [
        str(p.relative_to(ROOT)) for p in SOURCES if p.read_text() and not ast.get_docstring(ast.parse(p.read_text()))
    ] == []


def test_metrics_server_is_built_with_the_versions_that_kubernetes_is_built_with() -> None:
    modules = ROOT / "tests/control_plane/modules"
    required = set(re.findall(r"^\t(\S+) (v\S+)", (modules / "kubernetes/go.mod").read_text(), re.MULTILINE))
    replaced = re.findall(r"^\t\S+ => (\S+) (\S+)$", (modules / "metrics-server/go.mod").read_text(), re.MULTILINE)
    assert replaced
    assert sorted(set(replaced) - required) == []
