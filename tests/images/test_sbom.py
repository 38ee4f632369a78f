"""The list of what is in an image: valid, complete, and the same for the same content."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from sbom import main

WHEEL = "a" * 64
LIBRARY = b"openblas"
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
Document = dict[str, Any]


def reported(name: str, **metadata: Any) -> Document:
    archive = {"hashes": {"sha256": WHEEL}}
    return {"metadata": {"name": name, "version": "1.0", **metadata}, "download_info": {"archive_info": archive}}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes the document of packages that pip reports; `libs` go into the folder of the first one."""

    def made(*packages: Document, libs: tuple[str, ...] = ()) -> str:
        for package in packages:
            name = package["metadata"]["name"].replace(".", "_")
            folder = tmp_path / f"site/{name}-1.0.dist-info"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {package['metadata']['name']}\nVersion: 1.0\n"
            )
            digest = base64.urlsafe_b64encode(hashlib.sha256(LIBRARY).digest()).decode().rstrip("=")
            (folder / "RECORD").write_text("".join(f"{name}.libs/{one},sha256={digest},8\n" for one in libs))
            libs = ()
        (tmp_path / "report.json").write_text(json.dumps({"install": packages}))
        (tmp_path / "status").write_text(STATUS)
        (tmp_path / "native.so").write_bytes(b"elf")
        words = ["--name", "image", "--version", "1", "--report", str(tmp_path / "report.json")]
        words += ["--packages", str(tmp_path / "site"), "--debian", str(tmp_path / "status")]
        with redirect_stdout(io.StringIO()) as told:
            main([*words, "--native", str(tmp_path / "native.so")])
        return told.getvalue()

    return made


def by_name(text: str) -> dict[str, Document]:
    return {one["name"]: one for one in json.loads(text)["components"]}


def test_it_is_valid_cyclonedx_and_lists_wheels_libraries_our_c_python_and_debian(write: Callable[..., str]) -> None:
    text = write(reported("Num.Py", license_expression="BSD-3-Clause"), libs=("libblas.so",))

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = by_name(text)
    assert found.keys() == {"num-py", "native.so", "cpython", "libc6"}
    assert found["num-py"]["purl"] == "pkg:pypi/num-py@1.0"
    assert found["num-py"]["hashes"] == [{"alg": "SHA-256", "content": WHEEL}]
    [library] = found["num-py"]["components"]
    assert (library["name"], library["hashes"][0]["content"]) == ("libblas.so", hashlib.sha256(LIBRARY).hexdigest())
    assert found["native.so"]["hashes"][0]["content"] == hashlib.sha256(b"elf").hexdigest()
    assert found["libc6"]["purl"].startswith("pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=")


def test_the_same_content_is_the_same_document_and_other_content_has_another_number(write: Callable[..., str]) -> None:
    first, again, other = write(reported("a")), write(reported("a")), write(reported("a", summary="changed"))

    assert first == again
    assert json.loads(first)["serialNumber"] != json.loads(other)["serialNumber"]
    assert "timestamp" not in json.loads(first)["metadata"]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"license_expression": "MIT OR Apache-2.0"}, [{"expression": "MIT OR Apache-2.0"}]),
        ({"license": "MIT"}, [{"license": {"id": "MIT"}}]),
        (
            {"license": "Dual License", "classifier": ["License :: OSI Approved :: A", "License :: OSI Approved :: B"]},
            [{"license": {"name": "A"}}, {"license": {"name": "B"}}],
        ),
        ({"license": "Our own words\nand much more"}, [{"license": {"name": "Our own words"}}]),
        ({}, [{"license": {"name": "not stated"}}]),
    ],
)
def test_a_licence_is_what_spdx_knows_else_the_classifiers_else_the_packages_words(
    write: Callable[..., str], metadata: Document, expected: list[Document]
) -> None:
    assert by_name(write(reported("a", **metadata)))["a"]["licenses"] == expected
