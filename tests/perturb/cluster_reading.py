"""Objects of a fake cluster, read and never changed: most of them are the same from one look to the next."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import orjson
from tests.fakes.cluster import FakeCluster
from tests.fakes.fields import Object
from tests.fakes.kubelet import is_ready

from tidegate.cluster.api import Key
from tidegate.plan.manifests.identity import Kind


@lru_cache(maxsize=8192)
def parsed(text: bytes) -> Object:
    """An object; whoever changed it would change it for everybody."""
    found: Object = orjson.loads(text)
    return found


def held(cluster: FakeCluster, kind: Kind, key: Key) -> bytes | None:
    found = cluster.objects.held(kind, *key)
    return found.text if found else None


def all_of(cluster: FakeCluster, kind: Kind, namespace: str) -> Iterator[Object]:
    """By name."""
    for key, one in sorted(cluster.objects._held.get(kind, {}).items()):
        if key[0] == namespace:
            yield parsed(one.text)


def everything(cluster: FakeCluster) -> Iterator[Object]:
    for objects in cluster.objects._held.values():
        for one in objects.values():
            yield parsed(one.text)


def serves(pod: Object) -> bool:
    """Whether requests may reach it."""
    return is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
