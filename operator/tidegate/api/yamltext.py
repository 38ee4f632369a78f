"""Manifests as text: YAML as kubectl reads it, with limits, and with the line of every part.

PyYAML's own loader differs from kubectl's where manifests are concerned: it takes `1e-3` for text, `2026-01-01` for a
date and the last of two equal keys.  Aliases are followed, but not into a document that grows beyond its text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES = 1024 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 64
MAX_DOCUMENTS = 200


class Unreadable(Exception):
    """The text is not a manifest that could be judged; `line` counts from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its values, and the nodes that know their lines."""

    values: Any
    node: Node

    def line(self, path: tuple[int | str, ...]) -> int:
        """The line of the part that `path` leads to, or of the nearest part around it."""
        node, line = self.node, self.node.start_mark.line
        for step in path:
            found = child(node, step)
            if found is None:
                break
            node, line = found
        return int(line) + 1


def child(node: Node, step: int | str) -> tuple[Node, int] | None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == str(step):
                return value, key.start_mark.line
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark.line
    return None


class Loader(yaml.SafeLoader):
    """YAML 1.1 as Go's reader resolves it: no dates, no base 60, exponents without a point."""


Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$", "yYnNtTfFoO"),
    ("int", r"^[-+]?(?:0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("merge", r"^<<$", "<"),
):  # fmt: skip
    letters = [*first.replace("\0", ""), *([""] if "\0" in first else [])]
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), letters)


def construct_int(loader: yaml.SafeLoader, node: ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if len(text) > 40:  # noqa: PLR2004  (no field takes more; Python refuses to convert very long ones)
        raise Unreadable("a number of that length has no meaning here", node.start_mark.line + 1)
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if digits.lower().startswith(("0x", "0o")):
        return sign * int(digits, 0)
    return sign * int(digits, 8 if len(digits) > 1 and digits.startswith("0") else 10)


def construct_float(loader: yaml.SafeLoader, node: ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    value = math.inf if text.strip("+-") == ".inf" else math.nan if text == ".nan" else float(text)
    if not math.isfinite(value):
        raise Unreadable("infinity and not-a-number do not exist in a manifest", node.start_mark.line + 1)
    return value


Loader.add_constructor("tag:yaml.org,2002:int", construct_int)
Loader.add_constructor("tag:yaml.org,2002:float", construct_float)


def documents(text: bytes) -> Iterator[Document]:
    """The documents of one file, in order; raises Unreadable where the rest makes no sense."""
    if len(text) > MAX_BYTES:
        raise Unreadable(f"the file has {len(text)} bytes: {MAX_BYTES} are the limit")
    try:
        loader = Loader(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unreadable("the file is not UTF-8 text", text[: error.start].count(b"\n") + 1) from None
    except yaml.YAMLError as error:
        raise unreadable(error) from None
    try:
        yield from composed(loader)
    except yaml.YAMLError as error:
        raise unreadable(error) from None
    except RecursionError:
        raise Unreadable(f"the file is nested deeper than {MAX_DEPTH} levels") from None
    finally:
        loader.dispose()


def composed(loader: Loader) -> Iterator[Document]:
    for number in range(MAX_DOCUMENTS + 1):
        if not loader.check_node():
            return
        node = loader.get_node()
        assert node is not None
        if number == MAX_DOCUMENTS:
            raise Unreadable(f"more than {MAX_DOCUMENTS} documents: write several files", node.start_mark.line + 1)
        expanded(node, {}, 0)
        yield Document(constructed(loader, node), node)


def constructed(loader: Loader, node: Node) -> Any:
    try:
        return loader.construct_document(node)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"a value cannot be read: {error}", node.start_mark.line + 1) from None


def expanded(node: Node, seen: dict[int, int], depth: int) -> int:
    """How many nodes the document has with its aliases followed; looks for equal keys on the way."""
    if seen.get(id(node)) == -1:
        raise Unreadable("an alias leads into itself", node.start_mark.line + 1)
    if id(node) in seen:
        return seen[id(node)]
    if depth > MAX_DEPTH:
        raise Unreadable(f"nested deeper than {MAX_DEPTH} levels", node.start_mark.line + 1)
    seen[id(node)] = -1
    size = 1 + sum(expanded(part, seen, depth + 1) for part in parts(node))
    if size > MAX_NODES:
        raise Unreadable(f"more than {MAX_NODES} values, aliases followed", node.start_mark.line + 1)
    seen[id(node)] = size
    return size


def parts(node: Node) -> list[Node]:
    if isinstance(node, SequenceNode):
        return list(node.value)
    if not isinstance(node, MappingNode):
        return []
    keys: set[str] = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode) or key.tag.rpartition(":")[2] not in ("str", "bool", "int", "merge"):
            raise Unreadable("a key must be plain text", line)
        if key.value in keys:
            raise Unreadable(f"the key {key.value[:60]!r} is there twice", line)
        keys.add(key.value)
    return [part for pair in node.value for part in pair]


def unreadable(error: yaml.YAMLError) -> Unreadable:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    return Unreadable(f"not YAML: {str(what)[:200]}", mark.line + 1 if mark else 1)
