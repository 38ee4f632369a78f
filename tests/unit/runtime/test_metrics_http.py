"""The HTTP of the metrics port, as far as a client without manners could make it cost memory."""

from __future__ import annotations

import asyncio

from tidegate_runtime.metrics_http import Connection, Reply, Request, Rules

LARGE = 100_000


def test_a_client_that_does_not_read_its_answers_is_not_listened_to() -> None:
    async def story() -> tuple[int, int]:
        asked = asyncio.Semaphore(0)
        count = 0

        async def respond(_: Request) -> Reply:
            nonlocal count
            count += 1
            asked.release()
            return Reply(200, b"x" * LARGE)

        rules = Rules(respond, lambda _: 0)
        server = await asyncio.get_running_loop().create_server(lambda: Connection(rules), "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())  # takes in 128 KB and no more
        try:
            while count < 200:
                writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
                await asyncio.wait_for(asked.acquire(), 1)
                await asyncio.sleep(0)  # its answer is written
        except TimeoutError:
            pass
        held = sum(transport.get_write_buffer_size() for transport in rules.connections)
        writer.close()
        server.close()
        return count, held

    count, held = asyncio.run(story())
    assert count < 200
    assert held < 3 * LARGE
