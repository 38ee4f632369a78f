"""The verified fetch beside `s5cmd cp` without verification: one 1 GiB bundle, one S3 server, one run.

Both read the same object from the same server into a new file, in turns, each as a process of its own.  Also
measured: memory of the fetching process, what a fetch that was killed half way sends again, and a hit in the cache.
Writes build/bench/fetch.json and the plot beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from benchmarks.plot import bars
from examples.demo.s3 import S3Server, s3_server

from tidegate.bundle.assemble import BLOCK
from tidegate.bundle.cache import Cache
from tidegate.bundle.manifest import FileEntry, Interface, Manifest, Model, TensorSpec
from tidegate.bundle.push import push
from tidegate.bundle.source import Access, Source
from tidegate.bundle.write import write_manifest

OUT = Path("build/bench")
SIZE = 2**30
ROUNDS = 9
URI = "s3://models/big/1"
FETCH = """
import sys, time
from pathlib import Path
began = time.monotonic()
from tidegate.bundle.fetch import fetch
from tidegate.bundle.source import Access, Source
fetched = fetch(Source(sys.argv[1], access=Access(ambient=True, allow_loopback=True)), Path(sys.argv[2]))
print(fetched.seconds, fetched.bytes_read)
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything is."""

    work: Path
    server: S3Server
    digest: str
    blob: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.server.credentials()}


def main() -> None:
    """Run everything and print it."""
    work = OUT / "fetch-work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with s3_server((work / "server").absolute()) as server:
            results = measure(published(work, server))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    (OUT / "fetch.json").write_text(json.dumps(results, indent=2) + "\n")
    (OUT / "fetch.svg").write_text(plot(results["rounds"]))
    print(json.dumps({key: value for key, value in results.items() if key != "rounds"}, indent=2))


def plot(rounds: list[dict[str, float]]) -> str:
    """Seconds of each round, one under the other."""
    groups = {
        f"round {number}": {"s5cmd cp": row["s5cmd"], "verified": row["fetch"]} for number, row in enumerate(rounds, 1)
    }
    return bars("Seconds to fetch 1 GiB (s5cmd verifies nothing)", groups, ["s5cmd cp", "verified"])


def published(work: Path, server: S3Server) -> Bench:
    """A bundle with one file of 1 GiB, in the server."""
    folder = work / "bundle"
    folder.mkdir()
    weights, sha256 = folder / "weights.bin", hashlib.sha256()
    with weights.open("wb") as file:
        for _ in range(SIZE // 2**24):
            content = os.urandom(2**24)
            sha256.update(content)
            file.write(content)
    (folder / "model.onnx").write_bytes(b"\x08\x09")
    small = FileEntry("model.onnx", 2, hashlib.sha256(b"\x08\x09").hexdigest())
    tensor = (TensorSpec("x", "FP32", ("batch",)),)
    files = (small, FileEntry("weights.bin", SIZE, sha256.hexdigest()))
    manifest = Manifest("big", "1", Model("model.onnx", {"": 18}, 9), Interface(tensor, tensor), files)
    digest = write_manifest(manifest, folder)
    keys = server.credentials()
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="models")
    client.close()
    push(folder, URI, access=Access(keys, allow_loopback=True))
    shutil.rmtree(folder)
    return Bench(work, server, digest, sha256.hexdigest())


def measure(bench: Bench) -> dict[str, Any]:
    """All figures; the ratio of the best rounds is the one that other load on the machine disturbs least."""
    rounds = [one_round(bench, number) for number in range(ROUNDS)]
    best = {key: min(row[key] for row in rounds) for key in ("s5cmd", "fetch")}
    middle = {key: statistics.median(row[key] for row in rounds) for key in ("s5cmd", "fetch", "process")}
    resent = killed_half_way(bench)
    return {
        "bytes": SIZE,
        "rounds": rounds,
        "s5cmdSeconds": round(middle["s5cmd"], 3),
        "fetchSeconds": round(middle["fetch"], 3),
        "processSeconds": round(middle["process"], 3),
        "ratio": round(middle["s5cmd"] / middle["fetch"], 3),
        "ratioOfBest": round(best["s5cmd"] / best["fetch"], 3),
        "ratioWithProcessStart": round(middle["s5cmd"] / middle["process"], 3),
        "rssMiB": round(max(row["rssMiB"] for row in rounds), 1),
        "resentShareAfterKill": round(resent / SIZE, 4),
        "cacheHitMs": round(cache_hit(bench) * 1000, 2),
    }


def one_round(bench: Bench, number: int) -> dict[str, float]:
    """Both once; who goes first takes turns."""
    acts = [s5cmd, fetch] if number % 2 == 0 else [fetch, s5cmd]
    row: dict[str, float] = {}
    for act in acts:
        touch_memory(bench.work / "warm")
        row |= act(bench)
    print(f"round {number + 1}: s5cmd {row['s5cmd']:.2f} s, fetch {row['fetch']:.2f} s", file=sys.stderr)
    return row


def touch_memory(path: Path) -> None:
    """Write and remove as much as will be written: on a virtual machine the first use of a page is slow for anybody."""
    with path.open("wb") as file:
        for _ in range(SIZE // 2**24):
            file.write(bytes(2**24))
    path.unlink()
    os.sync()  # what the one before has left to write is not paid for by the next


def s5cmd(bench: Bench) -> dict[str, float]:
    """`s5cmd cp` of the same object, as it comes."""
    target = bench.work / "s5cmd.bin"
    program = Path(sys.executable).parent / "s5cmd"
    source = f"s3://models/big/blobs/sha256/{bench.blob}"
    began = time.monotonic()
    subprocess.run(
        [program, "--endpoint-url", bench.server.endpoint, "cp", source, target],
        env=bench.environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - began
    target.unlink()
    return {"s5cmd": seconds}


def fetch(bench: Bench) -> dict[str, float]:
    """Ours, every byte verified; `fetch` leaves out the start of the interpreter, `process` does not."""
    target = bench.work / "fetched"
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", FETCH, URI, str(target)], env=bench.environment, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    line = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    assert child.returncode == 0
    process = time.monotonic() - began
    shutil.rmtree(target)
    scale = 1 if sys.platform == "darwin" else 1024
    return {"fetch": float(line.split()[0]), "process": process, "rssMiB": usage.ru_maxrss * scale / 2**20}


def killed_half_way(bench: Bench) -> int:
    """Bytes that the server sent twice because a fetch was killed (SIGKILL) at 50 %."""
    target = bench.work / "killed"
    before = bench.server.bytes_sent()
    child = subprocess.Popen([sys.executable, "-c", FETCH, URI, str(target)], env=bench.environment)
    while written(bench.work, target) < SIZE // 2:
        assert child.poll() is None
        time.sleep(0.002)
    child.kill()
    child.wait()
    fetch_again = subprocess.run(
        [sys.executable, "-c", FETCH, URI, str(target)], env=bench.environment, check=True, capture_output=True
    )
    assert fetch_again.returncode == 0
    shutil.rmtree(target)
    return bench.server.bytes_sent() - before - SIZE


def written(work: Path, target: Path) -> int:
    """Bytes that are here, by the journal of the fetch."""
    marks = [path.read_bytes().count(1) for path in work.glob(f".{target.name}.*/journals/*")]
    return sum(marks) * BLOCK


def cache_hit(bench: Bench) -> float:
    """Seconds to accept the bundle when it is in the cache: the best of five, each by a new cache object."""
    access = Access(bench.server.credentials(), allow_loopback=True)
    source = Source(URI, bench.digest, access=access)
    Cache(bench.work / "cache").fetch(source)
    times = []
    for _ in range(5):
        began = time.monotonic()
        found = Cache(bench.work / "cache").fetch(source)
        times.append(time.monotonic() - began)
        assert found.hit
    return min(times)


if __name__ == "__main__":
    main()
