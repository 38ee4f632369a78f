"""So many at a time over all processes, whoever of them dies."""

from __future__ import annotations

import subprocess
import sys

from tidegate_runtime.slots import Slots

TAKES_ONE = """
import sys
from tidegate_runtime.slots import Slots
slots = Slots(int(sys.argv[1]), int(sys.argv[2]))
print(slots.take(), flush=True)
sys.stdin.readline()
"""


def test_there_are_so_many_and_what_is_given_back_can_be_had_again() -> None:
    slots = Slots(2)
    assert (slots.take(), slots.take(), slots.take()) == (0, 1, None)
    assert not slots.free
    slots.give_back(0)
    assert slots.free
    assert slots.take() == 0


def test_nobody_gets_one_of_none() -> None:
    assert Slots(0).take() is None


def test_what_another_process_has_is_taken_until_it_dies() -> None:
    slots = Slots(2)
    descriptor = slots.share()
    assert slots.take() == 0
    other = subprocess.Popen(
        [sys.executable, "-c", TAKES_ONE, "2", str(descriptor)],
        pass_fds=(descriptor,), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        assert slots.take() is None
    finally:
        other.kill()
        other.communicate()
    assert slots.take() == 1
