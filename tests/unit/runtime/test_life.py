"""A sibling that the system has no room for is a death with a reason, and leaves nothing open behind it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tidegate_runtime.siblings import family, life, wire
from tidegate_runtime.siblings.life import NOT_STARTED, Life


class Full:
    """A call that works so often, and then finds no descriptor free."""

    def __init__(self, inner: Callable[..., Any], works: int) -> None:
        self._inner, self._works = inner, works

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if not self._works:
            raise OSError(errno.EMFILE, "Too many open files")
        self._works -= 1
        return self._inner(*arguments, **named)


def nothing(*_: object) -> None:
    """Nobody listens."""


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths


@pytest.mark.parametrize(
    ("module", "name", "works"),
    [(socket, "socketpair", 0), (socket, "socketpair", 1), (os, "pipe", 0), (asyncio, "create_subprocess_exec", 0)],
)
def test_without_room_for_its_descriptors_a_process_has_failed_to_start(
    module: Any, name: str, works: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        one, before = Life(nothing, nothing), open_descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(module, name, Full(getattr(module, name), works))
            assert await one.live(None) == NOT_STARTED  # type: ignore[arg-type]

        assert one.failed == wire.Failed("SiblingDied", "a process cannot be started: Too many open files")
        assert open_descriptors() == before

    asyncio.run(scene())


def test_a_process_that_has_ended_leaves_no_descriptor_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "PROGRAM", ("-c", "import sys; sys.exit(7)"))

    async def scene() -> None:
        before = open_descriptors()
        one = Life(nothing, nothing)
        assert await one.live(wire.Drain()) == 7  # type: ignore[arg-type]
        assert open_descriptors() == before

    asyncio.run(scene())


def test_a_process_whose_end_is_wanted_while_it_is_started_does_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "PROGRAM", ("-c", "import time; time.sleep(3600)"))

    async def scene() -> None:
        one = Life(nothing, nothing)
        living = asyncio.create_task(one.live(wire.Drain()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        one.kill()
        assert await asyncio.wait_for(living, 60) == -signal.SIGKILL

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "was ended by SIGKILL"),
        (-(signal.SIGRTMIN + 3), f"was ended by signal {signal.SIGRTMIN + 3}"),
        (3, "exited with 3"),
    ],
)
def test_whatever_ended_a_process_is_told(code: int, words: str) -> None:
    assert f"a process of --workers {words}" in str(family._reason(Life(nothing, nothing), code))
