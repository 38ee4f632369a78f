"""The model card: README.md of a bundle, with Hugging Face's metadata on top, made of nothing but the manifest's facts.

A card that a person wrote is taken as it is; only its metadata must be readable.  The same facts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tidegate.author.difference import shape_of
from tidegate.author.opened import CARD, CARD_BYTES
from tidegate.bundle.manifest import Manifest, Metric
from tidegate.errors import Invalid

MOST_CLASSES = 20  # of a confusion matrix that still fits a page
FENCE = "---\n"
# Hugging Face has a list of its own of what `license` may be; everything else is `other` with a name.
LICENSES = frozenset(
    """
    apache-2.0 mit afl-3.0 agpl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear cc cc0-1.0
    cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1
    gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mpl-2.0 openrail postgresql unlicense wtfpl zlib
    """.split()  # noqa: SIM905 - a line of its own for each would be forty
)


def write_card(manifest: Manifest, folder: Path, given: Path | None) -> None:
    """README.md into `folder`, unless it holds one already: the given card, else the one of the facts."""
    path = folder / CARD
    if given is not None and path.exists():
        raise Invalid("the bundle has a README.md already, by --file", where=str(given), do="give it once, by --card")
    if not path.exists():
        path.write_text(card_of(manifest) if given is None else read_card(given), encoding="utf-8", newline="\n")


def read_card(path: Path) -> str:
    """A card that a person wrote; raises Invalid for one whose metadata nobody can read."""
    if not path.is_file():
        raise Invalid("no such file", where=str(path), do="--card takes a Markdown file")
    if path.stat().st_size > CARD_BYTES:
        raise Invalid(f"more than {CARD_BYTES} bytes", where=str(path), do="a card is a page of text")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Invalid("it is no text in UTF-8", where=str(path)) from None
    if text.startswith(FENCE):
        _require_metadata(text, path)
    return text


def _require_metadata(text: str, path: Path) -> None:
    metadata, end, _ = text.removeprefix(FENCE).partition(f"\n{FENCE}")
    try:
        found = yaml.safe_load(metadata) if end else None
    except yaml.YAMLError as error:
        raise Invalid(f"the metadata is no YAML: {' '.join(str(error).split())[:160]}", where=str(path)) from None
    if not isinstance(found, dict):
        raise Invalid("the metadata between the lines of --- must be names and values", where=str(path))


def card_of(manifest: Manifest) -> str:
    """The card that follows from the facts."""
    metadata = yaml.safe_dump(_metadata(manifest), sort_keys=False, allow_unicode=True, width=120)
    sections = [part for part in _sections(manifest) if part]
    return f"{FENCE}{metadata}{FENCE}\n" + "\n".join(sections)


def _metadata(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if manifest.license:
        known = manifest.license.lower().removesuffix("-only").removesuffix("-or-later")
        found["license"] = known if known in LICENSES else "other"
        if known not in LICENSES:
            found["license_name"] = manifest.license
    found |= {"library_name": "onnx", "tags": ["onnx", "tidegate"]}
    measured = [metric for metric in manifest.metrics if metric.samples]
    if measured:
        task = _task(manifest)
        found |= {
            "pipeline_tag": task,
            "metrics": [metric.name for metric in manifest.metrics],
            "model-index": [{"name": manifest.name, "results": list(_results(measured, task))}],
        }
    return found


def _task(manifest: Manifest) -> str:
    kinds = {tensor.element_type for tensor in manifest.interface.inputs}
    subject = "image" if "images" in manifest.preprocessing else "text" if kinds == {"BYTES"} else "tabular"
    return f"{subject}-{'classification' if 'accuracy' in manifest.metric_values() else 'regression'}"


def _results(measured: Sequence[Metric], task: str) -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys(metric.dataset for metric in measured):
        mine = [metric for metric in measured if metric.dataset == name]
        yield {
            "task": {"type": task},
            "dataset": {"type": name, "name": name, "revision": mine[0].dataset_digest},
            "metrics": [{"type": metric.name, "value": round(metric.value, 6)} for metric in mine],
        }


def _sections(manifest: Manifest) -> Iterator[str]:
    yield f"# {manifest.name} {manifest.version}\n"
    yield manifest.description and f"{manifest.description}\n"
    yield _interface(manifest)
    yield _metrics(manifest)
    yield _confusion(manifest.training.get("confusionMatrix"))
    yield _listed("Preprocessing", manifest.preprocessing)
    yield _listed("Training", {name: value for name, value in manifest.training.items() if name != "confusionMatrix"})
    yield _proofs(manifest)
    yield _origin(manifest)
    yield _listed("Made with", manifest.environment)


def _interface(manifest: Manifest) -> str:
    sides = [("input", tensor) for tensor in manifest.interface.inputs]
    sides += [("output", tensor) for tensor in manifest.interface.outputs]
    return _table("Interface", ["", "name", "type and shape"], [(side, one.name, shape_of(one)) for side, one in sides])


def _metrics(manifest: Manifest) -> str:
    rows = [
        (
            metric.name,
            f"{metric.value:.4f}",
            f"{metric.samples} rows of {metric.dataset}" if metric.samples else "given",
        )
        for metric in manifest.metrics
    ]
    text = _table("Metrics", ["metric", "value", "measured on"], rows)
    digests = {metric.dataset: metric.dataset_digest for metric in manifest.metrics if metric.dataset_digest}
    return text + "".join(f"\n{_cell(name)} is `{digest}`.\n" for name, digest in digests.items())


def _confusion(matrix: Mapping[str, Any] | None) -> str:
    if not matrix or len(matrix["classes"]) > MOST_CLASSES:
        return ""
    names = [str(name) for name in matrix["classes"]]
    rows = [(name, *counts) for name, counts in zip(names, matrix["counts"], strict=True)]
    return _table("Confusion matrix", ["right class ↓, answer →", *names], rows)


def _proofs(manifest: Manifest) -> str:
    lines = []
    if original := manifest.parity.get("original"):
        lines.append(
            f"Compared with {original['against']} on {original['rows']} rows: {original['mismatchedRows']} differ, the "
            f"worst difference of the others is {original['worstDifference']}."
        )
    if manifest.golden:
        lines.append(f"{len(manifest.golden.files)} golden samples ({manifest.golden.source}) must be answered alike.")
    if damage := manifest.parity.get("goldenDamage"):
        lines.append(f"They notice {damage['noticed']} of {damage['tried']} damages tried on the weights.")
    return _section("Proofs", [f"- {line}" for line in lines])


def _origin(manifest: Manifest) -> str:
    lines = []
    if lineage := manifest.lineage:
        lines.append(f"{lineage.action or 'made'} from {', '.join(f'`{parent}`' for parent in lineage.parents)}")
    if source := manifest.source:
        dirty = ", with changes that were not committed" if source.dirty else ""
        lines.append(f"code: {source.repository or 'a repository without an address'} at `{source.commit}`{dirty}")
    lines += [f"producer: {manifest.model.producer}"] * bool(manifest.model.producer)
    lines += [f"license: {manifest.license}"] * bool(manifest.license)
    return _section("Origin", [f"- {line}" for line in lines])


def _listed(title: str, values: Mapping[str, Any]) -> str:
    return _section(title, [f"- {_cell(name)}: {_plain(value)}" for name, value in values.items()])


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return _cell(value)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [" | ".join(_cell(cell) for cell in row) for row in rows]
    if not lines:
        return ""
    head = [" | ".join(map(_cell, columns)), " | ".join(["---"] * len(columns))]
    return _section(title, [f"| {line} |" for line in (*head, *lines)])


def _section(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines) + "\n" if lines else ""


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
