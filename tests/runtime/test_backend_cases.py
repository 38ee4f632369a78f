"""ONNX's backend test cases through every protocol: the bits of a plain session, or a reason that the docs give.

All of them go through the server's parsers and its way of loading and running, some through a real server;
`make backend-cases` puts every one through it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.runtime import every_backend_case
from tests.runtime.backend_cases import (
    FORMS,
    RANDOM,
    RUNTIME,
    TYPE,
    Case,
    LeftOut,
    carries,
    cases,
    differences,
    expected,
    write_bundle,
)
from tests.runtime.conftest import Running
from tests.runtime.every_backend_case import Served
from tests.runtime.grpc_client import Client
from tests.runtime.loaded_elsewhere import Elsewhere

PAGE = (Path(__file__).resolve().parents[2] / "docs/protocols.md").read_text()
SECTION = PAGE.split("\n## What is not carried\n")[1].split("\n## ")[0]
TITLES = {
    "over_json": "JSON", "over_binary": "binary", "over_grpc_raw": "gRPC, raw", "over_grpc_typed": "gRPC, typed",
}  # fmt: skip
THROUGH_A_SERVER = (
    "test_add_uint8",
    "test_ai_onnx_ml_label_encoder_string_int",
    "test_and_bcast4v4d",
    "test_attention_4d_fp16",
    "test_bitwise_not_2d",
    "test_castlike_FLOAT_to_BFLOAT16",
    "test_constant",
    "test_equal_string",
    "test_expand_shape_model1",
    "test_if",
    "test_isinf",
    "test_lstm_defaults",
    "test_max_uint64",
    "test_nonzero_example",
    "test_reduce_sum_empty_set",
    "test_shape",
    "test_size",
    "test_split_zero_size_splits_opset18",
    "test_string_concat_utf8",
    "test_top_k",
    "test_where_long_example",
)


@dataclass
class Outcomes:
    """What became of all cases."""

    differences: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    forms: Counter[str] = field(default_factory=Counter)  # how many cases were compared in each


@pytest.fixture(scope="module")
def all_cases() -> dict[str, Case]:
    return {case.name: case for case in cases()}


@pytest.fixture(scope="module")
def outcomes(all_cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    elsewhere, found, root = Elsewhere(), Outcomes(), tmp_path_factory.mktemp("cases")
    for name, case in all_cases.items():
        try:
            known = expected(case)
        except LeftOut as reason:
            found.left_out[str(reason)].append(name)
            continue
        found.forms.update(form.__name__ for form in FORMS if carries(form, known))
        elsewhere.load(write_bundle(known, root / name))
        found.differences += differences(known, elsewhere)
    elsewhere.end()
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_case_gives_the_bits_of_a_plain_session_in_every_form(outcomes: Outcomes) -> None:
    assert outcomes.differences == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_docs_say_how_many_cases_there_are_and_why_some_are_left_out(
    all_cases: dict[str, Case], outcomes: Outcomes
) -> None:
    assert f" {len(all_cases)} operators and small models " in SECTION
    for form, title in TITLES.items():
        assert f"\n| {title} | {outcomes.forms[form]} |" in SECTION
    for reason in (TYPE, RUNTIME, RANDOM):
        assert f"\n| {reason} | {len(outcomes.left_out[reason])} |" in SECTION


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_docs_name_every_case_that_is_left_out(outcomes: Outcomes) -> None:
    assert every_backend_case.PAGE.read_text() == every_backend_case.page(outcomes.left_out)


@pytest.mark.parametrize("name", THROUGH_A_SERVER)
def test_a_case_gives_the_same_bits_through_a_real_server(
    all_cases: dict[str, Case], serve: Callable[..., Running], tmp_path: Path, name: str
) -> None:
    known = expected(all_cases[name])
    server = serve(write_bundle(known, tmp_path / "b"), "--grpc-port", "0")
    with Client(server.grpc) as client:
        assert differences(known, Served(server, client)) == []
    assert server.end() == 0
