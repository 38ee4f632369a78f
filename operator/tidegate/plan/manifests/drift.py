"""Whether a live object still says what is wanted of it, however the server has written that down.

Only what is wanted is compared: defaults, status and what others have added are nobody's drift, and an apply could not
take them away.  The rules are those by which server-side apply merges, so that an apply always ends a difference:
lists with keys by their items, other lists and selectors whole, quantities by amount, and what is empty is not there.
Rules of a NetworkPolicy are compared word for word: one that says less allows more, and an empty selector is everybody.
So are those of a route, which are written out in full: whatever else stands in them sends requests elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.plan.manifests import quantities
from tidegate.plan.manifests.identity import Object

_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ports": ("containerPort", "port"),  # of a container, of a Service: the other one is in neither
}
_WHOLE = frozenset({"selector", "matchLabels", "nodeSelector", "labelSelector", "podSelector"})
_WORD_FOR_WORD = frozenset({"ingress", "egress", "rules"})
_AMOUNTS = frozenset({"requests", "limits"})
_AMOUNT = frozenset({"sizeLimit", "averageValue"})


def differs(wanted: object, live: object, field: str = "") -> bool:
    """Whether `live` lacks anything of `wanted`; `field` is where both stand."""
    if wanted is None:
        return False
    if field in _WORD_FOR_WORD:
        return wanted != live
    if isinstance(wanted, Mapping):
        return _map_differs(wanted, {} if live is None else live, field)
    if isinstance(wanted, list):
        return _list_differs(wanted, [] if live is None else live, field)
    if field in _AMOUNT:
        return not quantities.same(wanted, live)
    return wanted != ("" if live is None and wanted == "" else live)


def mendable(wanted: Object, live: Object) -> bool:
    """Whether an apply can make `live` what is wanted: it takes nothing away that somebody else has added.

    A Service with a second port of the same name and a budget with both bounds are invalid: such an object has to be
    made anew.
    """
    before, after = live.get("spec") or {}, wanted.get("spec") or {}
    if "maxUnavailable" in after and before.get("minAvailable") is not None:
        return False
    ports = {port.get("name"): port["port"] for port in after.get("ports") or ()}
    return all(ports.get(port.get("name"), port["port"]) == port["port"] for port in before.get("ports") or ())


def _map_differs(wanted: Mapping[str, Any], live: object, field: str) -> bool:
    if not isinstance(live, Mapping):
        return True
    if field in _WHOLE and any(value not in (None, {}, []) for name, value in live.items() if name not in wanted):
        return True
    if field in _AMOUNTS:
        return any(not quantities.same(value, live.get(name)) for name, value in wanted.items())
    return any(differs(value, live.get(name), name) for name, value in wanted.items())


def _list_differs(wanted: Sequence[Any], live: object, field: str) -> bool:
    if not isinstance(live, list):
        return True
    if keys := _KEYS.get(field):
        there = {_key(item, keys): item for item in live}
        return any(differs(item, there.get(_key(item, keys), "")) for item in wanted)
    return len(wanted) != len(live) or any(differs(one, other) for one, other in zip(wanted, live, strict=True))


def _key(item: Any, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys)
