"""bundle.yaml: what is written is read back, and everything that could mean two things is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.bundle.errors import ManifestInvalid, Refused, TooLarge, UnsafeFile
from tidegate.bundle.manifest import (
    FileEntry,
    Golden,
    Hints,
    Interface,
    Lineage,
    Manifest,
    Metric,
    Model,
    Source,
    TensorSpec,
    Tolerance,
    parse_manifest,
)
from tidegate.bundle.sealed import Plain
from tidegate.bundle.write import render_manifest

Maker = Callable[..., Manifest]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | TEXT | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
BASE = Manifest(
    "digits",
    "1.10",
    Model("model.onnx", {"": 18, "ai.onnx.ml": 3}, 9, "1.20", "skl2onnx 1.20"),
    Interface((TensorSpec("x", "FP32", ("batch", 64)),), (TensorSpec("label", "INT64", ("batch",), optional=True),)),
    (FileEntry("model.onnx", 5, "0" * 64), FileEntry("golden/0.npz", 7, "a" * 64)),
    golden=Golden(("golden/0.npz",), (Tolerance("label", 1e-4, 1e-3, "cpu", top1=True, label_of="p"),), "heldout"),
    metrics=(Metric("accuracy", 0.97, "digits", "sha256:" + "b" * 64, 360),),
    source=Source("https://example.com/r.git", "abc", dirty=True),
    lineage=Lineage(("sha256:" + "c" * 64,), "fine-tuned"),
    hints=Hints(1 << 20, 32),
    created_at="2026-01-31T00:00:00Z",
)


@given(description=TEXT, training=st.dictionaries(TEXT, FREE, max_size=4))
def test_whatever_an_author_writes_is_read_back_and_always_gives_the_same_bytes(
    description: str, training: dict[str, object]
) -> None:
    manifest = replace(BASE, description=description, training=training)

    content = render_manifest(manifest)

    assert render_manifest(replace(parse_manifest(content))) == content
    assert parse_manifest(content).description == description


def test_every_field_of_a_manifest_survives_writing_and_reading() -> None:
    assert parse_manifest(render_manifest(BASE)) == BASE


def test_a_version_that_looks_like_a_number_stays_text(manifest: Maker) -> None:
    content = render_manifest(manifest()).replace(b'version: "1"', b"version: 1.10")

    assert parse_manifest(content).version == "1.10"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace('name: "tiny"', 'name: &a "tiny"\nlicense: *a'), "anchors and aliases"),
        (lambda text: text.replace('name: "tiny"', 'name: !!str "tiny"'), "tags are not allowed"),
        (lambda text: text + 'name: "again"\n', "stands there twice"),
        (lambda text: text + "---\nformatVersion: 1\n", "more than one document"),
        (lambda text: "%YAML 1.1\n---\n" + text, "directives"),
        (lambda text: text + '? ["a"]\n: "b"\n', "keys must be plain text"),
        (lambda text: text + 'surprise: "x"\n', "unknown field surprise"),
        (lambda text: text.replace("formatVersion: 1", "formatVersion: 2"), "formatVersion is 2"),
        (lambda text: text.replace("formatVersion: 1", 'formatVersion: "1"'), "must be an integer"),
        (lambda text: text.replace('version: "1"', 'version: "../x"'), "does not match"),
        (lambda text: text.replace('type: "FP32"', 'type: "FP12"', 1), "not one of FP32"),
        (lambda text: text.replace('"batch", 4', '"batch", -4', 1), "must hold sizes"),
        (lambda text: text.replace("bytes: 5", "bytes: -5"), "not within 0"),
        (lambda text: text.replace('file: "model.onnx"', 'file: "other.onnx"'), "not among the files"),
        (lambda text: text.replace('- name: "y"', "- name: 7"), "must be a text"),
        (lambda text: text.split("interface")[0], "interface is missing"),
        (lambda text: "", "empty"),
        (lambda text: "[" * 9, "not YAML"),
        (lambda text: "just words", "must be a mapping"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_with_its_place(
    manifest: Maker, spoil: Callable[[str], str], message: str
) -> None:
    content = spoil(render_manifest(manifest()).decode()).encode()

    with pytest.raises(ManifestInvalid, match=message):
        parse_manifest(content)


@pytest.mark.parametrize("size", [5, 2**63 - 1])
def test_an_encrypted_file_is_longer_than_what_it_decrypts_to(size: int) -> None:
    """Memory is reserved by what the manifest says, before any of its files was read."""
    sealed = FileEntry("model.onnx", 5, "0" * 64, Plain(size, "1" * 64))
    manifest = replace(BASE, files=(sealed, *BASE.files[1:]))

    with pytest.raises(
        ManifestInvalid, match=rf"files\[0\]\.plain\.bytes is {size}, an encrypted file of 5 holds less"
    ):
        render_manifest(manifest)


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a\\b", "C:x y", "bundle.yaml", "Bundle.YAML", "bundle.sig",
     "a/b/c/d/e", "x" * 200, "-rf", ".hidden", "nul\x00", "", "model.onnx", "MODEL.onnx", "model.onnx/x"],
)  # fmt: skip
def test_a_listed_path_that_is_not_plain_or_meets_another_is_refused(manifest: Maker, path: str) -> None:
    spoilt = manifest({"model.onnx": b"m", "other": b"o"})
    entries = (spoilt.files[0], FileEntry(path, 1, "0" * 64))

    with pytest.raises(UnsafeFile):
        render_manifest(replace(spoilt, files=entries))


def test_a_manifest_of_more_than_four_mebibytes_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TooLarge, match="more than the 4194304 allowed"):
        parse_manifest(b"a" * (4 * 2**20 + 1))


@pytest.mark.parametrize(
    "bomb",
    [
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n",
        b"training: " + b"[" * 5000 + b"]" * 5000,
        b"training: " + b"{a: " * 5000 + b"1" + b"}" * 5000,
        b"training:\n" + b"- 1\n" * 300_000,
    ],
    ids=["aliases", "deep lists", "deep mappings", "many values"],
)
def test_a_manifest_bomb_is_refused_quickly(bomb: bytes) -> None:
    began = time.monotonic()

    with pytest.raises(Refused):
        parse_manifest(bomb)

    assert time.monotonic() - began < 20  # seconds even on a crowded machine; without limits it would not end


def test_more_files_than_allowed_are_refused(manifest: Maker) -> None:
    head, _, rest = render_manifest(manifest()).decode().partition("files:\n")
    row = rest.split("\n  - ")[0].rstrip() + "\n"
    content = head + "files:\n" + row * 10_001

    with pytest.raises(TooLarge, match="10001 entries"):
        parse_manifest(content.encode())


def test_a_number_that_is_not_finite_is_refused() -> None:
    content = render_manifest(BASE).replace(b'atol: "0.0001"', b'atol: "1e999"')

    with pytest.raises(ManifestInvalid, match="not a finite number"):
        parse_manifest(content)
