"""YAML without its surprises, for bundle.yaml.

Built on the parser's events: no aliases (no billion laughs), no tags, no duplicate keys, one document, and a plain
scalar is an integer, true, false or null, or else the text that stands there: `1.10` stays "1.10" and `no` stays "no".
Size, depth and the number of values are limited before anything is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tidegate.bundle.errors import ManifestInvalid, TooLarge

MAX_DEPTH = 16
MAX_VALUES = 200_000
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def load(content: bytes, *, limit: int, where: str) -> Any:
    """The one document in `content` as dicts, lists, str, int, bool and None."""
    if len(content) > limit:
        raise TooLarge(f"{len(content)} bytes, more than the {limit} allowed", where=where)
    try:
        return _Builder(content.decode("utf-8"), where).document()
    except UnicodeDecodeError as error:
        raise ManifestInvalid(f"not UTF-8 at byte {error.start}", where=where) from None
    except yaml.YAMLError as error:
        raise ManifestInvalid(f"not YAML: {_first_line(error)}", where=where) from None


def _first_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f" (line {mark.line + 1})" if mark else ""
    return f"{getattr(error, 'problem', None) or 'cannot be parsed'}{place}"


class _Builder:
    def __init__(self, text: str, where: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        self._where = where
        self._values = 0

    def document(self) -> Any:
        next(self._events)  # stream start
        first = next(self._events)
        if not isinstance(first, yaml.DocumentStartEvent):
            raise ManifestInvalid("empty", where=self._where)
        if first.version or first.tags:
            raise self._refusal("directives are not allowed", first)
        value = self._value(next(self._events), 0)
        next(self._events)  # document end
        last = next(self._events)
        if not isinstance(last, yaml.StreamEndEvent):
            raise self._refusal("more than one document", last)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            raise TooLarge(f"more than {MAX_VALUES} values or {MAX_DEPTH} levels", where=self._where)
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise self._refusal("anchors and aliases are not allowed", event)
        if event.tag:
            raise self._refusal("tags are not allowed", event)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        return self._mapping(depth) if isinstance(event, yaml.MappingStartEvent) else self._sequence(depth)

    def _sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
                raise self._refusal("keys must be plain text", event)
            if event.value in items:
                raise self._refusal(f"the key '{event.value[:60]}' stands there twice", event)
            items[event.value] = self._value(next(self._events), depth + 1)
        return items

    def _refusal(self, what: str, event: Any) -> ManifestInvalid:
        return ManifestInvalid(f"{what} (line {event.start_mark.line + 1})", where=self._where)


def _scalar(event: Any) -> str | int | bool | None:
    text: str = event.value
    if event.style:  # quoted or block: text as it stands
        return text
    if text in WORDS:
        return WORDS[text]
    return int(text) if INTEGER.fullmatch(text) else text
