"""Who owns which fields of an object, and what an apply makes of that: the rules of server-side apply.

An owner is a manager *and* the kind of write: what a POST brought is owned by (manager, Update), and a later apply of
the same manager that leaves such a field out does not take it away.  Real servers do the same (tests/contract).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fields import ITEM, Object, Path, covers, fields_v1, flat, merged, owned_part, without


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """One entry of `managedFields`."""

    manager: str
    operation: str  # Update or Apply
    subresource: str = ""


Owners = dict[Owner, frozenset[Path]]


class Clash(Exception):
    """An apply without force wants another value for fields that others own."""

    def __init__(self, fields: Mapping[Owner, frozenset[Path]]) -> None:
        self.fields = dict(fields)
        named = ", ".join(f'"{owner.manager}": {_dotted(path)}' for owner in fields for path in sorted(fields[owner]))
        super().__init__(f"Apply failed with conflicts: conflict with {named}")


def _dotted(path: Path) -> str:
    return "".join("." + step[2:] if step.startswith("f:") else f"[{step[2:]}]" for step in path)


def after_create(sent: Object, stored: Object, who: Owner, chosen: frozenset[Path]) -> Owners:
    """A POST owns the defaults too, but not what the server chose; an apply owns what it sent."""
    asked = flat(owned_part(sent)).keys()
    if who.operation == "Apply":
        return {who: frozenset(asked)}
    return {who: frozenset(flat(owned_part(stored)).keys() - (chosen - asked))}


def after_update(owners: Owners, old: Object, new: Object, who: Owner) -> Owners:
    """Whoever changes a field by a PUT takes it from all others; what is gone has no owner."""
    before, after = flat(owned_part(old)), flat(owned_part(new))
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    gone = before.keys() - after.keys()
    left = {owner: paths - changed - gone for owner, paths in owners.items()}
    left[who] = left.get(who, frozenset()) | changed
    return {owner: paths for owner, paths in left.items() if paths}


def after_apply(live: Object, owners: Owners, wanted: Object, manager: str, *, force: bool) -> tuple[Object, Owners]:
    """The object with what is wanted, less what this manager alone had applied and does not want any more."""
    mine = Owner(manager, "Apply")
    asked, here = flat(owned_part(wanted)), flat(owned_part(live))
    changed = {path for path, value in asked.items() if value is not ITEM and here.get(path, ITEM) != value}
    clashes = {owner: hit for owner, paths in owners.items() if owner != mine and (hit := paths & changed)}
    if clashes and not force:
        raise Clash(clashes)
    others = {owner: paths - changed for owner, paths in owners.items() if owner != mine}
    made = merged(live, _sent(wanted))
    made = _pruned(made, owners.get(mine, frozenset()) - asked.keys(), asked, others)
    return made, {owner: paths for owner, paths in (others | {mine: frozenset(asked)}).items() if paths}


def _sent(wanted: Object) -> Object:
    part = owned_part(wanted)
    return {name: value for name, value in part.items() if value is not None}


def _pruned(obj: Object, left_out: frozenset[Path], asked: Mapping[Path, Any], others: Owners) -> Object:
    for path in sorted(left_out, key=len):  # an item goes before its fields
        kept = covers(path, asked) or any(covers(path, paths) for paths in others.values())
        if not kept and not _is_key(path):
            obj = without(obj, path)
    return obj


def _is_key(path: Path) -> bool:
    """A field that names its item: it goes with the item or not at all."""
    return len(path) > 1 and path[-2].startswith("k:") and f'"{path[-1][2:]}":' in path[-2]


def managed_fields(owners: Owners, api_version: str, times: Mapping[Owner, str]) -> list[Object]:
    """The entries as a server shows them."""
    return [
        {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": api_version,
            "time": times.get(owner, ""),
            "fieldsType": "FieldsV1",
            "fieldsV1": fields_v1(owners[owner]),
            **({"subresource": owner.subresource} if owner.subresource else {}),
        }
        for owner in sorted(owners)
    ]
