"""An API server far away: a proxy on loopback that holds every byte back for a while, each way.

TLS passes through it unread.  A process of its own, because the threads of a busy Python process would add to its
delays: `with slow_network("127.0.0.1", 6443, seconds=0.005) as port`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

CHUNK = 65536
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.contextmanager
def slow_network(host: str, port: int, seconds: float) -> Iterator[int]:
    """The port of 127.0.0.1 behind which `host:port` is `2 * seconds` further away."""
    command = [sys.executable, "-m", "benchmarks.slow_network", host, str(port), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


async def serve(host: str, port: int, seconds: float) -> None:
    server = await asyncio.start_server(partial(carry, host, port, seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


async def carry(
    host: str, port: int, seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection, both ways, until either side has ended it."""
    far: Streams = await asyncio.open_connection(host, port)
    ways = {
        asyncio.create_task(one_way(reader, far[1], seconds)),
        asyncio.create_task(one_way(far[0], writer, seconds)),
    }
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        writer.close()
        far[1].close()


async def one_way(source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on what comes, `seconds` later and in its order."""
    on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    arriving = asyncio.create_task(arrive(on_its_way, target))
    clock = asyncio.get_running_loop().time
    try:
        while chunk := await source.read(CHUNK):
            on_its_way.put_nowait((clock() + seconds, chunk))
        await on_its_way.join()
    except OSError:
        return
    finally:
        arriving.cancel()


async def arrive(on_its_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due, chunk = await on_its_way.get()
        await asyncio.sleep(due - clock())
        target.write(chunk)
        on_its_way.task_done()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float, help="each way")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.host, given.port, given.seconds))


if __name__ == "__main__":
    main()
