"""Everything that decides about the future, as a digest: two stages with the same one go on alike.

Resource versions, uids and what is made of them are names that nobody compares across runs, and nothing asks for the
number of the decisions so far; all else counts: objects with their times, the operator's memory and timers, what waits on its way, and the servers' counters.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import astuple
from functools import lru_cache
from typing import Any

import orjson

from tidegate.api.status import ModelDeploymentStatus

from .cluster_process import WATCHED, Process
from .cluster_reading import parsed
from .cluster_stage import Stage

UID = re.compile(rb"00000000-0000-4000-8000-\d{12}")
ADDRESS = re.compile(rb'"10\.(244|96)\.[0-9.]+"')


def fingerprint(stage: Stage) -> str:
    """Of all of it."""
    whole = [_objects(stage), _operator(stage.process), _servers(stage), stage.expects()]
    return hashlib.sha256(orjson.dumps(whole, default=str)).hexdigest()


def _objects(stage: Stage) -> list[Any]:
    known = stage.cluster.objects._held
    return sorted(
        [kind.kind, *key, _digest(held.text)] for kind, objects in known.items() for key, held in objects.items()
    )


@lru_cache(maxsize=8192)
def _digest(text: bytes) -> str:
    obj = parsed(text)
    metadata = {
        name: value for name, value in obj["metadata"].items() if name not in ("resourceVersion", "managedFields")
    }
    status = {name: part for name, part in (obj.get("status") or {}).items() if name != "decisions"}
    plain = orjson.dumps({**obj, "metadata": metadata, "status": status}, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(ADDRESS.sub(b'"A"', UID.sub(b"U", plain))).hexdigest()


def _servers(stage: Stage) -> list[Any]:
    counters = [[name, *astuple(one)] for name, one in sorted(stage.traffic.counters.items())]
    return [counters, str(stage.traffic.asked), stage.world.pods_made]


def _operator(process: Process | None) -> list[Any]:
    if process is None:
        return []
    held = {
        (kind.kind, key): one.version
        for kind, objects in process.cache._held.items()
        for key, one in objects.items()
        if kind in WATCHED
    }
    memories = [
        [*key, _known(memory.status), _known(memory.written), memory.written_at, _obstacles(memory)]
        for key, memory in sorted(process.reconciler._memories.items())
    ]
    late = [_behind(process, held), len(process.watch.waiting()), process.timers.dues()]
    return [*late, memories, sorted(process.queue._failures.items())]


def _known(status: ModelDeploymentStatus) -> str:
    return status.model_dump_json(exclude={"decisions"})


def _obstacles(memory: Any) -> list[str]:
    return sorted(f"{place[0].kind} {place[1]} {failure}" for place, failure in memory.obstacles.items())


def _behind(process: Process, held: dict[Any, int]) -> list[str]:
    """What the cache does not know, or knows in an older form."""
    there = {
        (kind.kind, key): int(parsed(one.text)["metadata"]["resourceVersion"])
        for kind, objects in process.api.cluster.objects._held.items()
        for key, one in objects.items()
        if process.watch._selectors[kind](parsed(one.text)["metadata"].get("labels") or {})
    }
    return sorted(f"{place}" for place in {*there, *held} if there.get(place) != held.get(place))
