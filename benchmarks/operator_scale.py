"""Many objects: all new, all known to a new operator, all at rest."""

from __future__ import annotations

import select
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.operator_cluster import Bench, Crowd, by_kind, cpu_seconds, mebibytes, say, spent, until
from tests.control_plane.resources import Object

READY_SECONDS = 1200
REST_SECONDS = 60
Figures = dict[str, Any]


def new(bench: Bench, count: int) -> Figures:
    """From the first create to the last one Ready, each with a resolve Job."""
    running = bench.lead()
    crowd = bench.crowd(count)
    mark, before, began = bench.plane.audit.mark(), bench.programs(), time.monotonic()
    crowd.create()
    created = time.monotonic() - began
    seconds = crowd.until_ready(READY_SECONDS) - began
    cpu = spent(before, bench.programs())
    say(f"  created within {created:.1f} s; CPU seconds: {cpu}")
    bench.until_settled()
    writes = bench.requests(mark, writes=True)
    return {
        "newObjects": count,
        "newObjectsReadySeconds": round(seconds, 1),
        "newObjectsCreatedSeconds": round(created, 1),
        "newObjectsCpuSeconds": cpu,
        "writesPerNewObject": round(len(writes) / count, 2),
        "writesPerNewObjectByKind": by_kind(writes, count),
        "readsPerNewObject": round(reads_of(bench.requests(mark, writes=False)) / count, 2),
        "eventsPerNewObject": round(bench.events(mark) / count, 2),
        "rssMiBAfterNewObjects": round(mebibytes(running.pid), 1),
    }


def known(bench: Bench, count: int) -> Figures:
    """The same without the Job: what was found out of the bundle is there already, and only the rest is made.

    The objects, their records (ControllerRevisions) and the `resolution` in their status, copied from those of `new`,
    are there before the operator starts; it is timed from the moment at which it has listed everything.
    """
    source = max(bench.crowds, key=lambda one: len(one.names))
    bench.stop()
    crowd = bench.crowd(min(count, len(source.names)))
    crowd.create()
    resolve(crowd, source)
    mark = bench.plane.audit.mark()
    bench.lead()
    began, before = time.monotonic(), bench.programs()
    seconds = crowd.until_ready(READY_SECONDS) - began
    cpu = spent(before, bench.programs())
    say(f"  CPU seconds: {cpu}")
    writes = [one for one in bench.requests(mark, writes=True) if one.namespace == crowd.namespace]
    return {
        "knownObjects": len(crowd.names),
        "knownObjectsReadySeconds": round(seconds, 1),
        "knownObjectsCpuSeconds": cpu,
        "writesPerKnownObject": round(len(writes) / len(crowd.names), 2),
    }


def resolve(crowd: Crowd, source: Crowd) -> None:
    """Give each deployment of a crowd what the operator has found out for its namesake in another."""
    client = crowd.plane.client
    found = {one["metadata"]["name"]: one for one in client.list("modeldeployments", source.namespace)}
    records = {owner_of(one)["name"]: one for one in client.list("controllerrevisions", source.namespace)}
    for name in crowd.names:
        made = client.read("modeldeployments", crowd.namespace, name)
        client.patch_status(made, {"resolution": found[name]["status"]["resolution"]})
        client.create(record_for(made, records[name]))


def record_for(owner: Object, record: Object) -> Object:
    """A copy of a record that belongs to another deployment."""
    named = record["metadata"]
    about = {
        "name": named["name"],
        "namespace": owner["metadata"]["namespace"],
        "labels": named["labels"],
        "ownerReferences": [{**owner_of(record), "uid": owner["metadata"]["uid"]}],
    }
    return {**{key: record[key] for key in ("apiVersion", "kind", "revision", "data")}, "metadata": about}


def owner_of(obj: Mapping[str, Any]) -> Object:
    found: Object = obj["metadata"]["ownerReferences"][0]
    return found


def start(bench: Bench, count: int) -> Figures:
    """A new operator finds everything as it should be: until each was planned once."""
    fill(bench, count)
    bench.until_settled()
    bench.stop()
    mark, there = bench.plane.audit.mark(), bench.count()
    running = bench.running = bench.start()
    running.until_leads()
    listed = time.monotonic() - running.began
    until(lambda: running.turns() >= there, "all were looked at", 300)
    seconds = time.monotonic() - running.began
    cpu = cpu_seconds(running.pid)
    select.select([], [], [], 5.0)  # what it would still write, it writes now
    writes, reads = bench.requests(mark, writes=True), bench.requests(mark, writes=False)
    return {
        "objects": there,
        "firstReconcileSeconds": round(seconds, 1),
        "listedSeconds": round(listed, 1),
        "startCpuSeconds": round(cpu, 1),
        "rssMiB": round(mebibytes(running.pid, "VmHWM"), 1),
        "writesPerNoopResync": len(writes),
        "writesAtStartByKind": by_kind(writes),
        "eventsAtStart": bench.events(mark),
        "readsAtStart": by_kind(reads),
    }


def fill(bench: Bench, count: int) -> None:
    """So many deployments at least, made by the operator."""
    missing = count - bench.count()
    if missing <= 0:
        return
    say(f"  {missing} deployments are made first")
    bench.lead()
    crowd = bench.crowd(missing)
    crowd.create()
    crowd.until_ready(READY_SECONDS)


def rest(bench: Bench, count: int) -> Figures:
    """A minute in which nobody does anything."""
    fill(bench, count)
    running = bench.lead()
    bench.until_settled()
    mark, cpu, began = bench.plane.audit.mark(), cpu_seconds(running.pid), time.monotonic()
    select.select([], [], [], REST_SECONDS)
    used, passed = cpu_seconds(running.pid) - cpu, time.monotonic() - began
    reads = bench.requests(mark, writes=False)
    return {
        "objectsAtRest": bench.count(),
        "restSeconds": round(passed),
        "cpuPercentAtRest": round(100 * used / passed, 3),
        "writesAtRest": len(bench.requests(mark, writes=True)),
        "readsAtRest": reads_of(reads),
        "watchesAtRest": len(reads) - reads_of(reads),
        "rssMiBAtRest": round(mebibytes(running.pid), 1),
    }


def reads_of(requests: list[Any]) -> int:
    return sum(one.verb != "watch" for one in requests)
