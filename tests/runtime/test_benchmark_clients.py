"""The benchmark's own clients against a real server: they count answers, and notice those of the wrong kind."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from benchmarks import grpc_load
from benchmarks.cells import Raw, WrongAnswer, check_answer, pressed
from benchmarks.forms import FORMS
from benchmarks.models import BenchModel, synthetic, tiny
from benchmarks.packages import NotInstalled
from benchmarks.peers.systems import BARE, OURS, System
from benchmarks.processes import Launch, Started
from benchmarks.runtime import Found, measure_model, served
from benchmarks.soak import streams, turn

from tidegate.protocol import open_inference_pb2 as messages


@pytest.fixture(scope="module")
def server() -> Iterator[Started]:
    with served(OURS, tiny()) as started:
        yield started


@pytest.mark.parametrize("protocol", OURS.protocols)
def test_each_protocol_gets_the_answer_of_a_raw_run_and_is_counted(server: Started, protocol: str) -> None:
    check_answer(server, tiny(), protocol, Raw(tiny()).answer())

    result, cpu = pressed(server, tiny(), protocol, 4, 0.2)

    assert result.requests == len(result.latencies) > 4
    assert 0 < cpu < 10
    assert server.rss_mib() > 20


@pytest.mark.parametrize("model", [tiny(), synthetic()], ids=lambda model: model.name)
def test_the_bare_server_answers_as_a_raw_run_does_whatever_the_size_of_a_request(model: BenchModel) -> None:
    with served(BARE, model) as bare:
        check_answer(bare, model, "binary", Raw(model).answer())

        result, _ = pressed(bare, model, "binary", 4, 0.2)

    assert result.requests == len(result.latencies) > 4


def test_other_numbers_than_a_raw_run_gives_are_not_compared(server: Started) -> None:
    with pytest.raises(WrongAnswer, match="other numbers"):
        check_answer(server, tiny(), "binary", Raw(tiny()).answer() + 1)


def test_a_peer_that_cannot_be_had_or_does_not_start_is_told_of_and_the_others_are_measured() -> None:
    def not_there(model: BenchModel, folder: Path) -> Launch:
        raise NotInstalled("no wheel for this machine")

    def ends(model: BenchModel, folder: Path) -> Launch:
        return Launch([sys.executable, "-c", "print('no such flag')"], 1)

    systems = [System("absent", ("json",), not_there), System("broken", ("json",), ends), OURS]
    found = Found()

    measure_model(tiny(), systems, Namespace(rounds=1, scale=0.05), found)

    assert found.missing == {
        "absent, tiny": "no wheel for this machine",
        "broken, tiny": "did not answer: no such flag",
    }
    assert [(cell.system, cell.protocol) for cell in found.cells] == [(OURS.name, form) for form in OURS.protocols]


def test_a_grpc_call_that_is_refused_is_an_error_of_the_load(server: Started) -> None:
    refused = messages.ModelInferRequest(model_name="another").SerializeToString()

    assert server.grpc is not None
    result = uvloop.run(grpc_load.load("127.0.0.1", server.grpc, refused, 2, 0.1))

    assert result.errors == result.requests > 0


def test_a_grpc_message_larger_than_the_windows_of_the_server_goes_over_in_parts(server: Started) -> None:
    unknown = b"\xa2\x06\xe0\xa7\x12" + bytes(300_000)  # a field that the protocol does not have

    assert server.grpc is not None
    result = uvloop.run(grpc_load.load("127.0.0.1", server.grpc, FORMS["grpc"].write(tiny()) + unknown, 2, 0.2))

    assert result.errors == 0
    assert result.requests > 0


def test_a_turn_of_the_soak_sends_every_kind_of_request(server: Started) -> None:
    sent = streams(tiny(), rows=16)

    assert uvloop.run(turn(server, sent, 0.2)) > len(sent)
