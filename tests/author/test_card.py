"""The card and the packages of a bundle: made of facts, the same bytes each time, yours if you write one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tidegate.author.card import card_of
from tidegate.bundle.manifest import Lineage, Manifest, read_bundle_dir

NAMED = ("--name", "shapes", "--version", "1.0.0")


@pytest.fixture
def pack(tidegate: Any, script: Path) -> Any:
    """Pack the script's model, measured, into a folder `bundle`."""
    np.savez("test.npz", X=np.eye(4), y=np.arange(4))

    def run(*options: str, out: str = "bundle") -> Any:
        measured = ("--data", "test.npz", "--labels", "y")
        return tidegate("pack", "train.py:model", "-o", out, *NAMED, *measured, *options)

    return run


def _metadata(card: str) -> Any:
    return yaml.safe_load(card.removeprefix("---\n").partition("\n---\n")[0])


def test_a_card_is_made_of_the_facts(pack: Any) -> None:
    pack("--license", "Apache-2.0", "--description", "Tells corners apart.")

    card = Path("bundle/README.md").read_text()
    metadata = _metadata(card)
    digest = read_bundle_dir(Path("bundle")).manifest.metrics[0].dataset_digest
    assert metadata["license"] == "apache-2.0"
    assert metadata["pipeline_tag"] == "tabular-classification"
    [result] = metadata["model-index"][0]["results"]
    assert result["dataset"] == {"type": "test.npz", "name": "test.npz", "revision": digest}
    assert {"type": "accuracy", "value": 1.0} in result["metrics"]
    for fact in (
        "# shapes 1.0.0",
        "Tells corners apart.",
        "| input | input | FP32 [batch, 4] |",
        "- skl2onnx: ",
        digest,
    ):
        assert fact in card


def test_a_license_that_hugging_face_does_not_list_is_named(pack: Any) -> None:
    pack("--license", "Bank internal")

    metadata = _metadata(Path("bundle/README.md").read_text())
    assert (metadata["license"], metadata["license_name"]) == ("other", "Bank internal")


def test_card_and_packages_are_the_same_bytes_each_time(pack: Any) -> None:
    one, two = pack("--sbom", "-q"), pack("--sbom", "-q", out="again")

    assert one.code == 0, one.err
    assert one.out == two.out


def test_the_packages_are_listed_as_cyclonedx_with_what_each_needs(pack: Any) -> None:
    pack("--sbom")

    text = Path("bundle/sbom.cdx.json").read_text()
    document = json.loads(text)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = {part["name"]: part for part in document["components"]}
    needs = {row["ref"]: row.get("dependsOn", []) for row in document["dependencies"]}
    assert document["metadata"]["component"]["name"] == "shapes"
    assert {"cpython", "scikit-learn", "skl2onnx", "onnxruntime", "threadpoolctl"} <= set(found)
    assert found["threadpoolctl"]["bom-ref"] in needs[found["scikit-learn"]["bom-ref"]]
    assert "pytest" not in found
    assert read_bundle_dir(Path("bundle")).manifest.entry("sbom.cdx.json") is not None


def test_packages_without_the_library_name_the_extra(pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cyclonedx", None)

    ended = pack("--sbom")

    assert ended.code == 1
    assert "pip install 'tidegate[sbom]'" in ended.err
    assert not Path("bundle").exists()


def test_a_card_that_a_person_wrote_is_taken_as_it_is(pack: Any, tidegate: Any) -> None:
    Path("card.md").write_text("---\nlicense: mit\n---\n# Mine\n\n---\n\nAll I know.\n")

    pack("--card", "card.md")

    assert tidegate("inspect", "bundle", "--card").out == Path("card.md").read_text()


def test_a_readme_among_the_files_is_the_card(pack: Any) -> None:
    Path("README.md").write_text("mine")

    pack("--file", "README.md")

    assert Path("bundle/README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"---\na: [\n---\n", "card.md: the metadata is no YAML"),
        (b"---\n- a\n---\n", "card.md: the metadata between the lines of --- must be names and values"),
        (b"---\na: b\n", "card.md: the metadata between the lines of --- must be names and values"),
        (b"\xff\xfe", "card.md: it is no text in UTF-8"),
        (b"a" * (1 << 20) + b"b", "card.md: more than 1048576 bytes"),
    ],
)
def test_a_card_that_nobody_can_read_is_refused(pack: Any, content: bytes, message: str) -> None:
    Path("card.md").write_bytes(content)

    ended = pack("--card", "card.md")

    assert ended.code == 1
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not Path("bundle").exists()


def test_one_bundle_has_one_card(pack: Any) -> None:
    Path("README.md").write_text("mine")

    assert "card.md: no such file" in pack("--card", "card.md").err
    assert "has a README.md already, by --file" in pack("--file", "README.md", "--card", "README.md").err


def test_inspect_shows_the_card_of_a_bundle_in_a_store_too(pack: Any, tidegate: Any) -> None:
    pack()
    tidegate("push", "bundle", "store/shapes/1.0.0")

    shown = tidegate("inspect", "store/shapes/1.0.0")
    document = json.loads(tidegate("inspect", "store/shapes/1.0.0", "-o", "json").out)

    assert "card     README.md" in shown.out
    assert document["card"] == Path("bundle/README.md").read_text()


def test_a_bundle_without_a_card_says_so(pack: Any, tidegate: Any) -> None:
    from tidegate.bundle.write import write_manifest

    pack()
    folder = Path("bundle")
    manifest = read_bundle_dir(folder).manifest
    (folder / "README.md").unlink()
    (folder / "bundle.yaml").unlink()
    write_manifest(replace(manifest, files=tuple(e for e in manifest.files if e.path != "README.md")), folder)

    ended = tidegate("inspect", "bundle", "--card")

    assert ended.code == 1
    assert "it has no model card" in ended.err


@pytest.fixture
def facts(pack: Any) -> Manifest:
    pack()
    return read_bundle_dir(Path("bundle")).manifest


def test_a_card_tells_what_a_bundle_was_made_from(facts: Manifest) -> None:
    lineage = Lineage(("sha256:" + "a" * 64,), "quantized")

    assert f"- quantized from `sha256:{'a' * 64}`" in card_of(replace(facts, lineage=lineage))


def test_names_of_classes_break_no_table_and_large_matrices_stay_out(facts: Manifest) -> None:
    matrix = {"classes": ["a|b", "c"], "counts": [[1, 2], [3, 4]]}
    large = {"classes": list(range(21)), "counts": [[0] * 21] * 21}

    assert "| a\\|b | 1 | 2 |" in card_of(replace(facts, training={"confusionMatrix": matrix}))
    assert "Confusion" not in card_of(replace(facts, training={"confusionMatrix": large}))


def test_what_was_not_measured_is_not_in_the_metadata(facts: Manifest) -> None:
    assert set(_metadata(card_of(replace(facts, metrics=())))) == {"library_name", "tags"}
