"""What a store holds, as a person asks: every version with its manifest, and which was made from which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from tidegate.bundle.errors import NoBundle, TooLarge, Unreachable
from tidegate.bundle.fetch import resolve
from tidegate.bundle.reader import Resolved
from tidegate.bundle.source import Access, Source
from tidegate.bundle.stores import open_shelf
from tidegate.bundle.uri import parse_place
from tidegate.errors import TidegateError

MOST = 10_000
WORKERS = 8


@dataclass(frozen=True, slots=True)
class Held:
    """One version in a store: what is there, or what is wrong with it."""

    uri: str
    resolved: Resolved | None
    problem: str = ""

    @property
    def digest(self) -> str:
        return self.resolved.digest if self.resolved else ""

    @property
    def parents(self) -> tuple[str, ...]:
        lineage = self.resolved.manifest.lineage if self.resolved else None
        return lineage.parents if lineage else ()


def catalog(place: str, access: Access, *, most: int = MOST) -> list[Held]:
    """Every version at an address, by address; one that cannot be read says why.

    Raises Unreachable when the store does not answer, TooLarge beyond `most` versions.
    """
    shelf = open_shelf(parse_place(place), access)
    try:
        addresses = sorted(islice(shelf.versions(), most + 1))
    finally:
        shelf.close()
    if len(addresses) > most:
        raise TooLarge(f"more than {most} versions", where=place, do="name a part of the store")
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda uri: _held(uri, access), addresses)
        return [held for held in found if held is not None]


def _held(uri: str, access: Access) -> Held | None:
    """What is at one address; None for what never was a bundle, such as an image of a program."""
    try:
        return Held(uri, resolve(Source(uri, access=access)))
    except NoBundle:
        return None
    except Unreachable:
        raise
    except TidegateError as error:
        return Held(uri, None, str(error))


def lineage(found: Sequence[Held]) -> Iterator[tuple[int, Held]]:
    """The versions as a tree, each below the first of its parents that is here too: (depth, version)."""
    first = {held.digest: held.uri for held in reversed(found) if held.digest}
    below: dict[str, list[Held]] = {}
    for held in found:
        parent = next((first[digest] for digest in held.parents if digest in first), "")
        below.setdefault(parent if parent != held.uri else "", []).append(held)
    waiting = [(0, held) for held in reversed(below.get("", []))]
    while waiting:
        depth, held = waiting.pop()
        yield depth, held
        waiting += [(depth + 1, child) for child in reversed(below.get(held.uri, []))]
