"""Where values stand inside an object: what server-side apply owns, merges and takes away.

A path is a tuple of steps written as in `managedFields`: `f:NAME` for a field, `k:{…}` for the item of a list that has
keys, `v:…` for the item of a set.  Whatever is not listed here as keyed is atomic, as in the API's own definitions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]

KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
KEYED = frozenset({*KEYS, "ports"})
CONTAINER_PORT = ("containerPort", "protocol")
SERVICE_PORT = ("port", "protocol")
KEY_DEFAULTS = {"protocol": "TCP"}
SETS = frozenset({"finalizers"})
ATOMIC_ITEMS = frozenset({"ownerReferences", "imagePullSecrets"})
ATOMIC_MAPS = frozenset(
    {
        "selector", "labelSelector", "nodeSelector", "podSelector", "fieldRef", "resourceFieldRef", "secretKeyRef",
        "configMapKeyRef", "requiredDuringSchedulingIgnoredDuringExecution",
    }
)  # fmt: skip
# What the server itself writes, or what names the object: nobody owns it.
SYSTEM = frozenset(
    {
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
        "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generateName",
    }
)  # fmt: skip
ITEM = object()  # the value of an item's own path


class Whole(dict[str, Any]):
    """A map that is one value, whatever its name."""


def owned_part(obj: Mapping[str, Any]) -> Object:
    """The fields that somebody may own: neither the identity nor what the server writes, and no status."""
    part = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "status", "metadata")}
    if obj["kind"] == "ControllerRevision" and "data" in part:
        part["data"] = Whole(part["data"])
    metadata = {name: value for name, value in obj.get("metadata", {}).items() if name not in SYSTEM}
    return {**part, "metadata": metadata} if metadata else part


def flat(value: Any, name: str = "", at: Path = ()) -> dict[Path, Any]:
    """Every leaf with its path, and every item of a keyed list."""
    found: dict[Path, Any] = {}
    _flatten(value, name, at, found)
    return found


def _flatten(value: Any, name: str, at: Path, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value and not _is_atomic(name, value):
        for field, inner in value.items():
            _flatten(inner, field, (*at, "f:" + field), found)
    elif isinstance(value, list) and name in SETS:
        found.update({(*at, "v:" + json.dumps(item)): item for item in value})
    elif isinstance(value, list) and name in KEYED:
        keys = keys_of(name, value)
        for item in value:
            path = (*at, item_step(keys, item))
            found[path] = item if name in ATOMIC_ITEMS else ITEM
            for field, inner in () if name in ATOMIC_ITEMS else item.items():
                _flatten(inner, field, (*path, "f:" + field), found)
    else:
        found[at] = value


def _is_atomic(name: str, value: Object) -> bool:
    return name in ATOMIC_MAPS or isinstance(value, Whole)


def keys_of(name: str, items: list[Any]) -> tuple[str, ...]:
    """What tells the items of a keyed list apart."""
    if name == "ports":
        return CONTAINER_PORT if any("containerPort" in item for item in items) else SERVICE_PORT
    return KEYS[name]


def item_step(keys: tuple[str, ...], item: Mapping[str, Any]) -> str:
    named = {key: item.get(key, KEY_DEFAULTS.get(key)) for key in keys}
    return "k:" + json.dumps(named, separators=(",", ":"))


def merged(live: Any, wanted: Any, name: str = "") -> Any:
    """`live` with everything that `wanted` says; what only `live` says stays."""
    if isinstance(live, dict) and isinstance(wanted, dict) and not _is_atomic(name, wanted):
        return live | {field: merged(live.get(field), value, field) for field, value in wanted.items()}
    if isinstance(live, list) and isinstance(wanted, list):
        if name in SETS:
            return [*live, *(item for item in wanted if item not in live)]
        if name in KEYED:
            return _merged_items(live, wanted, name)
    return wanted


def _merged_items(live: list[Any], wanted: list[Any], name: str) -> list[Any]:
    keys = keys_of(name, [*live, *wanted])
    items = {item_step(keys, item): item for item in live}
    for item in wanted:
        step = item_step(keys, item)
        items[step] = item if name in ATOMIC_ITEMS else merged(items.get(step), item)
    return list(items.values())


def without(value: Any, path: Path, name: str = "") -> Any:
    """`value` less what stands at `path`."""
    step, rest = path[0], path[1:]
    if isinstance(value, dict) and step.startswith("f:"):
        field = step[2:]
        if field not in value:
            return value
        kept = {other: inner for other, inner in value.items() if other != field}
        return {**kept, field: without(value[field], rest, field)} if rest else kept
    if isinstance(value, list):
        return [item for old in value if (item := _without_item(old, step, rest, name, value)) is not ITEM]
    return value


def _without_item(item: Any, step: str, rest: Path, name: str, items: list[Any]) -> Any:
    same = "v:" + json.dumps(item) == step if name in SETS else item_step(keys_of(name, items), item) == step
    if not same:
        return item
    return without(item, rest) if rest else ITEM


def covers(path: Path, others: Iterable[Path]) -> bool:
    """Whether one of the others is `path` or stands below it."""
    length = len(path)
    return any(other[:length] == path for other in others)


def fields_v1(paths: Iterable[Path]) -> Object:
    """The paths as the tree that `managedFields` shows."""
    tree: Object = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        if path and path[-1][0] == "k":
            node["."] = {}
    return tree
