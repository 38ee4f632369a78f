"""The parsers under a rain of damaged requests: tensors that fit the model come out, or one refusal with a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.runtime import small_bundles as small
from tests.runtime.fuzzing import damage, damaged, dice, for_its_time, messages, sorts
from tests.unit.runtime.fake_model import FakeModel

from tidegate_runtime.errors import RequestError, RunFailed
from tidegate_runtime.oip_codec import InferCodec
from tidegate_runtime.predict_codec import PredictCodec
from tidegate_runtime.signature import Signature

GRAPH = sorts().graph
MODEL = FakeModel(inputs=small.specs(GRAPH.input), outputs=small.specs(GRAPH.output))
SIGNATURE = Signature(MODEL, most_rows=1024)
INFER, PREDICT = InferCodec(MODEL, SIGNATURE, most_numbers=1 << 16), PredictCodec(SIGNATURE, most_numbers=1 << 16)
MANY = settings(max_examples=300, deadline=None)


def bodies(path: bytes) -> list[tuple[bytes, int | None]]:
    """The plain bodies that the corpus sends to `path`, and how long their JSON parts are."""
    found = []
    for message in messages("http"):
        head, _, body = message.partition(b"\r\n\r\n")
        if path in head.split(b"\r\n")[0] and b"encoding" not in head:
            length = re.search(rb"inference-header-content-length: (\d+)", head)
            found.append((body, int(length[1]) if length else None))
    return found


INFER_BODIES, PREDICT_BODIES = bodies(b"/infer"), bodies(b":predict")


@st.composite
def damaged_bodies(draw: st.DrawFn) -> tuple[bytes, int | None]:
    """A body and the length of its JSON part, which is seldom wrong: what is in the body is then looked at."""
    random = draw(dice)
    body, length = random.choice(INFER_BODIES)
    if length is None:
        return damage(random, body), random.choice((*[None] * 9, 20))
    text, rest = damage(random, body[:length]), damage(random, body[length:])
    return text + rest, len(text) + random.choice((*[0] * 9, 1, -1, 200))


def outputs(feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """What the model would answer; first, that it may be given these feeds at all."""
    assert feeds.keys() == SIGNATURE.inputs.keys()
    for name, array in feeds.items():
        port = SIGNATURE.inputs[name]
        assert array.dtype == port.carrier.dtype
        assert array.flags.aligned
        assert port.count(array.shape) == array.size
    assert all(type(text) is str for text in feeds["text"].ravel())
    assert feeds["flag"].view(np.uint8).max(initial=0) <= 1
    assert len({len(array) for array in feeds.values()}) == 1
    return [feeds[port.name] for port in SIGNATURE.inputs_in_order]


def check(refusal: RequestError) -> None:
    assert 400 <= refusal.status < 500
    assert 0 < len(refusal.message) < 2000


@pytest.mark.parametrize(("body", "length"), INFER_BODIES)
def test_the_corpus_is_understood_as_it_is(body: bytes, length: int | None) -> None:
    inference = INFER.decode(body, length)
    INFER.encode(inference, outputs(inference.feeds))


@pytest.mark.parametrize("body", [body for body, _ in PREDICT_BODIES])
def test_the_corpus_of_v1_is_understood_as_it_is(body: bytes) -> None:
    prediction = PREDICT.decode(body)
    PREDICT.encode(prediction, outputs(prediction.feeds))


@for_its_time
@MANY
@given(damaged_bodies())
def test_a_damaged_body_is_read_or_refused(asked: tuple[bytes, int | None]) -> None:
    body, length = asked
    try:
        inference = INFER.decode(body, length)
    except RequestError as refusal:
        check(refusal)
        return
    try:
        answer, text = INFER.encode(inference, outputs(inference.feeds))
    except RunFailed as failed:
        assert failed.message.startswith("NonFiniteOutput")
        return
    assert json.loads(answer[:text])["model_name"] == MODEL.name


@for_its_time
@MANY
@given(damaged([body for body, _ in PREDICT_BODIES]))
def test_a_damaged_body_of_v1_is_read_or_refused(body: bytes) -> None:
    try:
        prediction = PREDICT.decode(body)
    except RequestError as refusal:
        check(refusal)
        return
    json.loads(PREDICT.encode(prediction, outputs(prediction.feeds)))


def test_what_fuzzing_finds_no_second_try_can_hide(request: pytest.FixtureRequest) -> None:
    fuzzing = [item for item in request.session.items if item.path.name.startswith("test_fuzz_")]

    assert [item.name for item in fuzzing if item.get_closest_marker("flaky") is not None] == []
