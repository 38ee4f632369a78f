"""Manifests from files: every problem of every document, each with its place and what to write instead."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tidegate.api.names import GROUP, KIND
from tidegate.api.spec import ModelDeployment
from tidegate.api.yamltext import MAX_BYTES, Document, Unreadable, documents
from tidegate.errors import Invalid, UsageError

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILES = 10_000
Path_ = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to correct: where it is, and what to write."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.file}:{self.line}", self.field, self.message) if part)


class ManifestInvalid(Invalid):
    """A manifest says something impossible; `problems` has all of it, the text the first few."""

    reason = "ManifestInvalid"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        shown = "\n  ".join(str(problem) for problem in problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""  # noqa: PLR2004
        lead = "the manifest cannot be used" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{lead}:\n  {shown}{more}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deployment's name stands."""

    file: str
    line: int


@dataclass(slots=True)
class Checked:
    """What was found in files: deployments, what is wrong, and documents that are somebody else's."""

    deployments: list[ModelDeployment] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    passed_over: list[Problem] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)  # of each deployment, in the same order


def load_manifests(path: Path | str) -> list[ModelDeployment]:
    """The ModelDeployments of a file (`-`: standard input) or a folder.

    Raises ManifestInvalid with every problem, UsageError when there is nothing to read.
    """
    checked = check([str(path)])
    found = list(zip(checked.deployments, checked.places, strict=True))
    for number, (deployment, place) in enumerate(found):
        checked.problems += twice(deployment, place, [one for one in found[:number] if one[1].file != place.file])
    if checked.problems:
        raise ManifestInvalid(tuple(checked.problems))
    if not checked.deployments:
        raise Invalid(f"there is no {KIND} in it", where=str(path), do="write one, or name another file",
                      reason="ManifestInvalid")  # fmt: skip
    return checked.deployments


def check(paths: Iterable[str]) -> Checked:
    """Look at every document of every file; only unreadable arguments raise (UsageError)."""
    checked = Checked()
    for name, text in texts(paths):
        check_text(text, name, checked)
    return checked


def texts(paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file; a folder stands for the manifests below it."""
    for path in paths:
        if path == "-":
            yield "<stdin>", sys.stdin.buffer.read(MAX_BYTES + 1)
            continue
        for file in files(Path(path)):
            yield str(file), content(file)


def files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not found or len(found) > MAX_FILES:
        raise UsageError(f"{len(found)} manifests below it", where=str(path), do="name a folder with .yaml files")
    return found


def content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=str(path), do="name a file") from None
    except ValueError:
        raise UsageError("not a file name", where=repr(str(path)), do="name a file") from None


def check_text(text: bytes, name: str, checked: Checked) -> None:
    """Add what one file holds to `checked`."""
    try:
        for document in documents(text):
            check_document(document, name, checked)
    except Unreadable as error:
        checked.problems.append(Problem(name, error.line, "", error.message))


def check_document(document: Document, name: str, checked: Checked) -> None:
    values = document.values
    if values is None:
        return
    if not isinstance(values, Mapping):
        checked.problems.append(
            Problem(name, document.line(()), "", f"write a {KIND} object, with apiVersion and kind")
        )
        return
    if not ours(values):
        kind = f"{values.get('apiVersion', '')!s:.60} {values.get('kind', 'no kind')!s:.60}".strip()
        checked.passed_over.append(Problem(name, document.line(()), "", kind))
        return
    try:
        # The status is written by Tidegate and ignored by kubectl: nobody's mistake.
        written = {key: value for key, value in values.items() if key != "status"}
        deployment = ModelDeployment.model_validate(written, by_alias=True, by_name=False)
    except ValidationError as error:
        checked.problems.extend(problems(error, document, name))
        return
    add_deployment(deployment, document, name, checked)


def ours(values: Mapping[Any, Any]) -> bool:
    """A document that says it is for us, or that says nothing and may have forgotten to."""
    api_version, kind = str(values.get("apiVersion", "")), values.get("kind")
    return api_version.startswith(f"{GROUP}/") or (kind == KIND) or ("kind" not in values and not api_version)


def add_deployment(deployment: ModelDeployment, document: Document, name: str, checked: Checked) -> None:
    place = Place(name, document.line(("metadata", "name")))
    here = [(one, at) for one, at in zip(checked.deployments, checked.places, strict=True) if at.file == name]
    checked.problems += twice(deployment, place, here)
    checked.deployments.append(deployment)
    checked.places.append(place)


def twice(deployment: ModelDeployment, place: Place, others: Iterable[tuple[ModelDeployment, Place]]) -> list[Problem]:
    """A problem when one of `others` is the same object: the later one would silently win."""
    meta = deployment.metadata
    for other, at in others:
        if (other.metadata.namespace, other.metadata.name) == (meta.namespace, meta.name):
            message = f"{meta.name} is also in {at.file}:{at.line}: give each its own name"
            return [Problem(place.file, place.line, "metadata.name", message)]
    return []


def problems(error: ValidationError, document: Document, name: str) -> list[Problem]:
    """One problem per broken rule, in the order of the lines."""
    found = []
    for detail in error.errors(include_url=False, include_context=True):
        path = tuple(step for step in detail["loc"] if step != "[key]")
        line = document.line(path)
        found += [Problem(name, line, dotted(path), message) for message in sentence(detail).split("\n")]
    return sorted(found, key=lambda problem: problem.line)


def dotted(path: Path_) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{str(step)[:60]}"
    return text.removeprefix(".")


# What to write instead, by pydantic's name for the refusal; `{}` is its bound.
SENTENCES = {
    "literal_error": "write {}",
    "greater_than_equal": "write a number of {} or more",
    "less_than_equal": "write a number of {} or less",
    "string_too_long": "write {} characters at most",
    "string_too_short": "write {} characters at least",
    "too_long": "write {} entries at most",
    "too_short": "write {} entries at least",
    "model_type": "write fields here, not a value or a list",
    "model_attributes_type": "write fields here, not a value or a list",
    "dict_type": "write fields here, not a value or a list",
    "tuple_type": "write a list",
    "string_type": "write text; put quotes around it when it looks like a number",
    "string_pattern_mismatch": "write text that matches {}",
}
BOUNDS = ("expected", "ge", "le", "max_length", "min_length", "pattern")


def sentence(detail: ErrorDetails) -> str:
    """What to write instead."""
    if detail["type"] == "missing":
        return f"add {detail['loc'][-1]}: it has no default"
    if detail["type"] == "extra_forbidden":
        return unknown(detail["loc"])
    context = detail.get("ctx") or {}
    bound = next((context[name] for name in BOUNDS if name in context), "")
    shown = f"{bound:.15g}" if isinstance(bound, float) else str(bound)
    return SENTENCES.get(detail["type"], detail["msg"]).replace("{}", shown)


def unknown(path: Path_) -> str:
    """An unknown field, and the known one that was probably meant."""
    known = names_at(path[:-1])
    close = difflib.get_close_matches(str(path[-1])[:60], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known here are {', '.join(sorted(known))}"
    return f"there is no such field: {hint}" if known else "there is no such field"


def names_at(path: Path_) -> list[str]:
    """The fields that the model at `path` has."""
    model: type[BaseModel] | None = ModelDeployment
    for step in path:
        if isinstance(step, int) or model is None:
            continue
        field_ = next((f for n, f in model.model_fields.items() if (f.alias or n) == step), None)
        model = model_of(field_.annotation) if field_ else model
    return [f.alias or n for n, f in model.model_fields.items()] if model else []


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model within an annotation such as `tuple[Step, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        if (found := model_of(part)) is not None:
            return found
    return None
