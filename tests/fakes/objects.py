"""What the fake etcd holds: every object as text, all its former states, and one counter for all changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson

from tidegate.plan.manifests.identity import Kind

from .fields import Object
from .ownership import Owner, Owners
from .selectors import Selector

Key = tuple[str, str]  # namespace, name
Tell = Callable[[Kind, bytes | None, bytes | None, str], None]
FIRST_VERSION = 990  # soon 1000: whoever compares versions as text is found out


@dataclass(slots=True)
class Held:
    """An object as it is, and who owns what of it."""

    text: bytes
    owners: Owners = field(default_factory=dict)
    times: dict[Owner, str] = field(default_factory=dict)

    @property
    def obj(self) -> Object:
        return read(self.text)


def read(text: bytes) -> Object:
    found: Object = orjson.loads(text)
    return found


def copied(obj: Object) -> Object:
    return read(orjson.dumps(obj))


def key_of(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


class Objects:
    """All objects by kind, namespace and name; every change is numbered and told."""

    def __init__(self, tell: Tell) -> None:
        self.version = FIRST_VERSION
        self.uids: set[str] = set()
        self._tell = tell
        self._held: dict[Kind, dict[Key, Held]] = {}
        self._past: dict[Kind, dict[Key, list[tuple[int, bytes | None]]]] = {}

    def held(self, kind: Kind, namespace: str, name: str) -> Held | None:
        return self._held.get(kind, {}).get((namespace, name))

    def find(self, kind: Kind, namespace: str, name: str, at: int | None = None) -> Object | None:
        """The object, or what it was when the counter stood at `at`."""
        if at is None:
            held = self.held(kind, namespace, name)
            return held.obj if held else None
        text = _state(self._past.get(kind, {}).get((namespace, name), []), at)
        return read(text) if text else None

    def all(self, kind: Kind, namespace: str | None = None, at: int | None = None) -> Iterator[Object]:
        """The objects of a kind, by namespace and name as a list shows them."""
        known = self._held if at is None else self._past
        for key in sorted(known.get(kind, {})):
            if namespace in (None, key[0]) and (obj := self.find(kind, *key, at)):
                yield obj

    def matching(
        self, kind: Kind, selector: Selector, namespace: str | None = None, at: int | None = None
    ) -> list[Object]:
        """Those whose labels are selected."""
        return [obj for obj in self.all(kind, namespace, at) if selector(obj["metadata"].get("labels") or {})]

    def kinds(self) -> list[Kind]:
        return list(self._held)

    def put(self, kind: Kind, obj: Object, held: Held | None, new: Held) -> None:
        """Keep `obj` in the place of `held`; gives it its version."""
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        new.text = orjson.dumps(obj)
        key = key_of(obj)
        self._held.setdefault(kind, {})[key] = new
        self.uids.add(obj["metadata"]["uid"])
        self._past.setdefault(kind, {}).setdefault(key, []).append((self.version, new.text))
        self._tell(kind, held.text if held else None, new.text, str(self.version))

    def remove(self, kind: Kind, obj: Object) -> None:
        self.version += 1
        key = key_of(obj)
        held = self._held[kind].pop(key)
        self.uids.discard(obj["metadata"]["uid"])
        self._past[kind][key].append((self.version, None))
        self._tell(kind, held.text, None, str(self.version))


def _state(states: list[tuple[int, bytes | None]], at: int) -> bytes | None:
    return next((text for version, text in reversed(states) if version <= at), None)
