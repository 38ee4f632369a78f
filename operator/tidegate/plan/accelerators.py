"""What the nodes have of an accelerator, and the sentences about it: counts, for whoever is called at night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.api.runtime import Accelerator

MOST_NAMED = 3  # resources that there are instead of a missing one


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it was seen a moment ago."""

    name: str
    has: Mapping[str, int]  # allocatable, of extended resources
    closed: str = ""  # why it takes no new pod: cordoned, not ready
    taken: Mapping[str, int] | None = None  # what its pods ask for; None: not counted


Nodes = Sequence[Node] | None  # None: nobody may read them


def shortage(wanted: Accelerator, waiting: int, nodes: Nodes) -> str:
    """How many servers wait for how much, and what there is."""
    having = _having(wanted, nodes)
    if nodes is not None and not having:
        return f"no node has {wanted.resource}{_instead(wanted.resource, nodes)}"
    servers, each = ("1 server waits", "") if waiting == 1 else (f"{waiting} servers wait", " each")
    found = f", {_free(wanted, having)}" if nodes is not None else ""
    return f"{servers} for {wanted.count} {wanted.resource}{each}{found}"


def remedy(wanted: Accelerator, nodes: Nodes) -> str:
    """What a person may do about a shortage."""
    if nodes is not None and not _having(wanted, nodes):
        return "correct runtime.accelerator.resource, or look at its device plugin"
    return "free or add some, or look at nodeSelector and tolerations"


def bound(wanted: Accelerator, places: Iterable[str], nodes: Nodes) -> str:
    """Why what servers on these nodes hold would be lost with them, for them and for others; empty: it would not."""
    if nodes is None:
        return ""
    known = {node.name: node for node in nodes}
    found = ((place, _lost(wanted, known.get(place))) for place in sorted(places))
    return next(
        (f"no server is stopped, none could start again on {place}, which {why}" for place, why in found if why), ""
    )


def _lost(wanted: Accelerator, node: Node | None) -> str:
    if node is None:
        return "is gone"
    if node.closed:
        return f"is {node.closed}"
    has, taken = node.has.get(wanted.resource, 0), (node.taken or {}).get(wanted.resource, 0)
    if has < wanted.count:
        return f"has {has} {wanted.resource} now"
    # One that became unhealthy stays with its pod, and counts there: what the next pod to stop gives back is owed.
    return f"has {has} {wanted.resource} now, and {taken} are held" if has < taken else ""


def _having(wanted: Accelerator, nodes: Nodes) -> list[Node]:
    return [node for node in nodes or () if node.has.get(wanted.resource)]


def _instead(resource: str, nodes: Sequence[Node]) -> str:
    """The same vendor's resources: a slice of another size, or a name that is nearly the one that was written."""
    vendor = resource.partition("/")[0] + "/"
    there = sorted({name for node in nodes for name, count in node.has.items() if count and name.startswith(vendor)})
    return f", there is {', '.join(there[:MOST_NAMED])}" if there else ""


def _free(wanted: Accelerator, having: Sequence[Node]) -> str:
    """What is left on nodes that take pods: in all, and on the best one where a server needs several."""
    name = wanted.resource
    open_ = [node for node in having if not node.closed]
    total = sum(node.has[name] for node in open_)
    where = f"on {len(open_)} node{'' if len(open_) == 1 else 's'}{_closed(having)}"
    left = [max(0, node.has[name] - node.taken.get(name, 0)) for node in open_ if node.taken is not None]
    if len(left) < len(open_):
        return f"{total} in all {where}"
    best = f", at most {max(left)} on one" if wanted.count > 1 and len(left) > 1 else ""
    return f"{sum(left)} of {total} free {where}{best}"


def _closed(having: Sequence[Node]) -> str:
    counts = Counter(node.closed for node in having if node.closed)
    return "".join(f", {count} more {why}" for why, count in sorted(counts.items()))
