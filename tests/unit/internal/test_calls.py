from __future__ import annotations

import asyncio

import pytest

from tidegate.internal.calls import ANSWER_LIMIT, Address, Answer, NoAnswer, call


def answered(raw: bytes, *, hang: bool = False, deadline: float = 5.0) -> Answer:
    """What a call makes of a server that sends these bytes, and then closes or (with `hang`) stays silent."""

    async def main() -> Answer:
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            if hang:
                await over.wait()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            port = server.sockets[0].getsockname()[1]
            return await call(Address(port=port), "GET", "/", deadline=deadline)
        finally:
            over.set()
            server.close()
            await server.wait_closed()

    return asyncio.run(main())


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ndo\r\n2\r\nne\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\ndone",
    ],
)
def test_every_way_to_end_a_body_is_understood(raw: bytes) -> None:
    assert answered(raw) == Answer(200, b"done")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (ANSWER_LIMIT + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    ],
)
def test_an_answer_that_makes_no_sense_is_no_answer(raw: bytes) -> None:
    with pytest.raises(NoAnswer):
        answered(raw)


def test_a_server_that_stays_silent_is_given_up_in_time() -> None:
    with pytest.raises(NoAnswer, match="TimeoutError"):
        answered(b"HTTP/1.1 200 OK\r\n", hang=True, deadline=0.05)


def test_a_port_where_nobody_listens_is_no_answer() -> None:
    with pytest.raises(NoAnswer):
        asyncio.run(call(Address(port=1), "GET", "/"))


def test_a_token_is_sent_and_never_shown() -> None:
    address = Address(port=1, token="hunter2")

    assert "hunter2" not in repr(address)
    assert "hunter2" not in str(address)
