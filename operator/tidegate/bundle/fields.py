"""Reads one mapping of a manifest field by field: types, lengths, required keys, and no key that nobody knows.

Plain code instead of pydantic, because the model server reads manifests too and its cold start counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from tidegate.bundle.errors import ManifestInvalid, TooLarge

MAX_TEXT = 16_384
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?")

T = TypeVar("T", str, int, bool, list, dict)  # type: ignore[type-arg]


class Fields:
    """A mapping and where it stands; every read key is ticked off, `done()` refuses what is left."""

    def __init__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise ManifestInvalid(f"{place} must be a mapping", where="bundle.yaml")
        self._left: dict[str, Any] = dict(value)
        self.place = place

    def path(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def refuse(self, key: str, what: str) -> ManifestInvalid:
        return ManifestInvalid(f"{self.path(key)} {what}", where="bundle.yaml")

    def text(
        self, key: str, default: str | None = None, *, pattern: re.Pattern[str] | None = None, limit: int = MAX_TEXT
    ) -> str:
        value = self._take(key, str, default)
        if len(value) > limit:
            raise self.refuse(key, f"is longer than {limit} characters")
        if pattern and value != default and not pattern.fullmatch(value):
            raise self.refuse(key, f"is '{value[:80]}', which does not match {pattern.pattern}")
        return value

    def integer(self, key: str, default: int | None = None, *, least: int = 0, most: int = 2**63 - 1) -> int:
        value = self._take(key, int, default)
        if not least <= value <= most:
            raise self.refuse(key, f"is {value}, not within {least} … {most}")
        return value

    def number(self, key: str, default: float | None = None, *, least: float = -math.inf) -> float:
        """A number; written as quoted text, because YAML's own floats are not the same everywhere."""
        found = self._left.pop(key, default)
        if isinstance(found, str) and NUMBER.fullmatch(found):
            found = float(found)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.refuse(key, "must be a number")
        if not math.isfinite(found) or found < least:
            raise self.refuse(key, f"is {found}, which is not a finite number of at least {least}")
        return float(found)

    def flag(self, key: str, default: bool | None = None) -> bool:
        return self._take(key, bool, default)

    def mapping(self, key: str) -> Fields | None:
        """The mapping under `key`, or None when there is none."""
        found = self._left.pop(key, None)
        return None if found is None else Fields(found, self.path(key))

    def items(self, key: str, *, most: int) -> list[Any]:
        found = self._take(key, list, [])
        if len(found) > most:
            raise TooLarge(
                f"{self.path(key)} has {len(found)} entries, more than the {most} allowed", where="bundle.yaml"
            )
        return found

    def each(self, key: str, *, most: int) -> Iterator[Fields]:
        """The mappings in the list under `key`."""
        for number, item in enumerate(self.items(key, most=most)):
            yield Fields(item, f"{self.path(key)}[{number}]")

    def texts(self, key: str, *, most: int, limit: int = 1024) -> tuple[str, ...]:
        found = self.items(key, most=most)
        for item in found:
            if not isinstance(item, str) or len(item) > limit:
                raise self.refuse(key, f"must be a list of texts of at most {limit} characters")
        return tuple(found)

    def free(self, key: str) -> Mapping[str, Any]:
        """A mapping whose keys are the author's own; the whole manifest's limits bound it."""
        return self._take(key, dict, {})

    def done(self) -> None:
        if self._left:
            unknown = ", ".join(sorted(self._left))[:200]
            raise ManifestInvalid(
                f"{self.place + ': ' if self.place else ''}unknown field {unknown}",
                where="bundle.yaml",
                do="it was written by a newer tidegate, or the name is misspelt",
            )

    def _take(self, key: str, kind: type[T], default: T | None) -> T:
        if key not in self._left:
            if default is None:
                raise self.refuse(key, "is missing")
            return default
        value = self._left.pop(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.refuse(key, f"must be {_NAMES[kind]}")
        return value


_NAMES: dict[Any, str] = {str: "a text", int: "an integer", bool: "true or false", list: "a list", dict: "a mapping"}
