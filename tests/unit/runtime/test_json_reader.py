"""Arrays of numbers out of JSON: what `_json_numbers` lifts and orjson reads is what orjson alone would have read."""

from __future__ import annotations

import ctypes
import json
import mmap
import tracemalloc
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.runtime.fake_model import FakeModel

from tidegate_runtime import json_reader
from tidegate_runtime.errors import RequestError, TooLarge
from tidegate_runtime.json_reader import WIDE, JsonReader, Lifted, document, lifted, plain
from tidegate_runtime.oip_codec import InferCodec
from tidegate_runtime.predict_codec import PredictCodec
from tidegate_runtime.signature import Signature

READER = JsonReader(1 << 40)
MEMBER = b'{"":'
numbers = st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False) | st.just(0)
arrays = st.recursive(st.lists(numbers, max_size=9), lambda inner: st.lists(inner, max_size=4), max_leaves=12)
others = st.none() | st.booleans() | st.text(max_size=8)
names = st.sampled_from(["data", "shape", "x"]) | st.text(max_size=3)
documents = st.recursive(
    numbers | others | arrays,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)
styles = st.sampled_from(
    [{"separators": (",", ":")}, {}, {"indent": 1}, {"indent": "\t", "separators": (" ,", " :\r\n")}]
)


@pytest.fixture(autouse=True)
def built() -> None:
    assert json_reader.is_native(), "_json_numbers is not built: see what `make` said of the C compiler"


@pytest.fixture(params=["native", "orjson"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "orjson":
        monkeypatch.setattr(json_reader, "native", None)
    return str(request.param)


def restored(value: Any, found: list[Lifted]) -> Any:
    """The document with its arrays where they were."""
    if lifted(value, found) is not None:
        return plain(value, found)
    if isinstance(value, dict):
        return {key: restored(inner, found) for key, inner in value.items()}
    return [restored(inner, found) for inner in value] if isinstance(value, list) else value


def alike(found: Any, expected: Any) -> bool:
    """Whether these are the same values; a whole number among fractions is the double nearest to it."""
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(alike(found[key], expected[key]) for key in found)
    return bool(found == (float(expected) if type(found) is float and type(expected) is int else expected))


def floats(text: bytes) -> list[float]:
    """The numbers of a list that is lifted as fractions."""
    rest, found = READER.lift(MEMBER + text + b"}")
    assert len(found) == 1, rest
    buffer, kind, _, low, high = found[0]
    values = np.frombuffer(buffer, WIDE[kind])
    assert kind == "d"
    assert (low, high) == (values.min(), values.max())
    return [float(value) for value in values]


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(names, documents, max_size=4), styles)
def test_with_its_arrays_put_back_it_is_the_same_document(asked: dict[str, Any], style: dict[str, Any]) -> None:
    text = json.dumps(asked, **style).encode()

    rest, found = READER.lift(text)

    assert alike(restored(document(rest, found), found), orjson.loads(text))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,.-+eE0123456789 \\n', max_size=60).map(str.encode), st.data())
def test_what_is_not_json_is_not_made_json(wrong: bytes, data: st.DataObject) -> None:
    text = MEMBER + b"[1.5,[" + wrong + b"],2]," + wrong + b'"x":[1,2.5' + wrong + b"3]}"
    try:
        expected = orjson.loads(text)
    except orjson.JSONDecodeError:
        expected = None

    rest, found = READER.lift(text)

    if expected is None:
        with pytest.raises(RequestError, match="not valid JSON"):
            document(rest, found)
    else:
        assert alike(restored(document(rest, found), found), expected)


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.from_regex(r"-?(0|[1-9][0-9]{0,20})\.[0-9]{1,25}([eE][+-]?[0-9]{1,3})?", fullmatch=True), min_size=1)
)
def test_fractions_are_the_doubles_nearest_to_them(texts: list[str]) -> None:
    near = [text for text in texts if abs(float(text)) < 1e308]

    assert list(map(repr, floats(("[0.5," + ",".join(near or ["1.5"]) + "]").encode())))[1:] == [
        repr(float(text)) for text in near or ["1.5"]
    ]


@settings(max_examples=300, deadline=None)
@given(st.integers(1 << 53, (1 << 54) - 1), st.integers(1, 5))
def test_halfway_between_two_doubles_the_even_one_is_taken(mantissa: int, power: int) -> None:
    text = format(Decimal(mantissa) / 2**power, "f")
    assert Fraction(text) == Fraction(mantissa, 2**power)

    assert floats(f"[0.5,{text},-{text}]".encode())[1:] == [float(text), -float(text)]


@pytest.mark.parametrize("width", range(1, 19))
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("separator", [",", ", ", " ,", "\n,\t"])
def test_numbers_of_every_length_are_read(width: int, sign: str, separator: str) -> None:
    digits = "9876543210123456789"[:width]
    fractions = [f"{sign}{first}.{digits}" for first in range(10)]
    whole = [f"{sign}{digits}"] * 130  # more than two windows

    assert floats(f"[{separator.join(fractions)}]".encode()) == [float(text) for text in fractions]
    rest, found = READER.lift(MEMBER + b"[" + separator.join(whole).encode() + b"]}")
    assert plain(document(rest, found)[""], found) == [int(sign + digits)] * 130


@pytest.mark.parametrize(
    ("text", "kind", "sizes", "low", "high"),
    [
        ("[1,2,3]", "i", (3,), 1, 3),
        ("[[1,2],[-3,4],[5,6]]", "i", (3, 2), -3, 6),
        (" [ [ [ 1 ] ] ] ", "i", (1, 1, 1), 1, 1),
        ("[1,2.5]", "d", (2,), 1.0, 2.5),
        ("[-0,-0.0]", "d", (2,), 0.0, 0.0),
        ("[9223372036854775807]", "i", (1,), 2**63 - 1, 2**63 - 1),
        ("[-9223372036854775808]", "i", (1,), -(2**63), -(2**63)),
        ("[5,18446744073709551615]", "u", (2,), 5, 2**64 - 1),
        ("[18446744073709551615,0.5]", "d", (2,), 0.5, 2.0**64),
        ("[1e5]", "d", (1,), 1e5, 1e5),
    ],
)
def test_what_is_lifted_is_told_with_its_kind_its_sizes_and_its_ends(
    text: str, kind: str, sizes: tuple[int, ...], low: float, high: float
) -> None:
    _, found = READER.lift(MEMBER + text.encode() + b"}")

    assert [array[1:] for array in found] == [(kind, sizes, low, high)]


@pytest.mark.parametrize(
    "text",
    ["[]", "[[]]", "[1,]", "[,1]", "[1 2]", "[1,[2]]", "[[1],2]", "[[1],[2,3]]", "[[1],[[2]]]", "[01]", "[-]", "[1.]",
     "[.5]", "[1e]", "[+1]", "[1e400]", "[true]", "[null,1]", '["1"]', "[{}]", "[1", "[1,2", "[[1],[2]", "[1]]", "[NaN]",
     "[-9223372036854775809]", "[18446744073709551616]", "[-1,18446744073709551615]", "[18446744073709551615,-1]",
     "[" * 17 + "1" + "]" * 17, "[0x1]", "[1_000]", "[1.5.2]", "[--1]", "[1e5.5]", "[1\x0b]"],
)  # fmt: skip
def test_what_is_not_plainly_numbers_in_a_box_stays_in_the_text(text: str) -> None:
    whole = MEMBER + text.encode() + b"}"
    rest, found = READER.lift(whole)

    assert [array[2] for array in found] == ([(1,)] if text == "[1]]" else [])
    assert found or rest == whole


def test_only_members_are_lifted_and_a_shape_stays() -> None:
    text = MEMBER + b'{"shape":[1,2],"a":[[1,2],{"b":[3]}]},"c":["[1]",[1]]}'

    rest, found = READER.lift(text)

    assert [array[0] for array in found] == [np.array([3]).tobytes()]
    assert document(rest, found)["c"] == ["[1]", [1]]


@pytest.mark.parametrize("spaces", [0, 16])
def test_nothing_outside_of_the_text_is_read(spaces: int) -> None:
    """A page that nobody may read lies before and behind it: whoever does ends the process."""
    page, libc = mmap.PAGESIZE, ctypes.CDLL(None)
    text = (
        MEMBER + b" " * spaces + b"[" + b"0.12345678,-1.234567890123456,12,12345678901," * 3 + b'1],"y":[[1,2],[3,4]]}'
    )
    memory = mmap.mmap(-1, 3 * page)
    view = np.frombuffer(memory, np.uint8)
    for fence in (0, 2 * page):
        assert libc.mprotect(ctypes.c_void_p(view.ctypes.data + fence), ctypes.c_size_t(page), 0) == 0

    for cut in range(len(text)):
        for piece in (text[cut:], text[: len(text) - cut]):
            for at in (page, 2 * page - len(piece)):
                view[at : at + len(piece)] = np.frombuffer(piece, np.uint8)

                assert READER.lift(view[at : at + len(piece)].data) == READER.lift(piece)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * (3 << 20) + b"1]",
        b'{"a":[' + b"{}," * (2 << 20) + b"{}]}",
        b'{"a":[' + b'{"b":[1]},' * (1 << 19) + b"0]}",
        b'{"inputs":{"name":[' + b"1.5," * (2 << 20) + b"1]}}",
        b"{" + b",".join(b'"%d":0' % n for n in range(1 << 19)) + b"}",
    ],
)
def test_a_body_of_more_values_than_allowed_is_refused_before_they_cost_memory(reader: str, body: bytes) -> None:
    with pytest.raises(TooLarge, match="holds more than 1000 values"):
        JsonReader(1000).lift(body)


def test_an_array_of_more_numbers_than_allowed_costs_no_memory_of_its_own() -> None:
    body = MEMBER + b"[" + b"1," * (1 << 20) + b"1]}"
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            JsonReader(1000).lift(body)
        assert tracemalloc.get_traced_memory()[1] < len(body) / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [b'{"data":["a","b"]}', b"", b'{"data":[1,"'])
def test_a_text_without_arrays_of_numbers_is_not_copied(text: bytes) -> None:
    assert READER.lift(text)[0] is text


def test_of_many_rows_with_few_numbers_each_most_stay_in_the_text() -> None:
    """Lifted and given back each costs three times what orjson takes for it."""
    asked = {"instances": [{"x": [number, 0.5]} for number in range(1000)], "large": [1.5] * 100}
    text = json.dumps(asked).encode()

    rest, found = READER.lift(text)

    assert [array[2] for array in found] == [(2,)] * 64 + [(100,)]
    assert alike(restored(document(rest, found), found), asked)


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_what_clients_of_tensorflow_serving_send_is_lifted(form: str) -> None:
    rest, found = READER.lift(json.dumps({form: [[1, 2.5], [3, 4]]}).encode())

    assert [array[2] for array in found] == [(2, 2)], rest


def test_a_mark_that_is_too_long_is_refused() -> None:
    from tidegate_runtime._json_numbers import lift

    with pytest.raises(ValueError, match="mark"):
        lift(MEMBER + b"[1]}", "m" * 60, 1000)


# -- both ways through the codecs

members = st.sampled_from(["id", "parameters", "outputs", "inputs", "x"])
tensors = st.fixed_dictionaries(
    {
        "name": st.just("x"),
        "shape": st.sampled_from([[1, 2], [2, 2], [0, 2], [3]]),
        "datatype": st.sampled_from(["FP32", "FP32", "FP32", "INT8"]),
        "data": arrays | st.lists(numbers, min_size=2, max_size=4) | documents,
    },
    optional={"parameters": arrays | documents | st.dictionaries(st.just("binary_data_size"), arrays)},
)


def outcome(codec: Any, asked: Any, *further: Any) -> Any:
    try:
        found = codec.decode(json.dumps(asked).encode(), *further)
    except RequestError as error:
        return error.status, error.message
    return {name: (array.dtype, array.shape, array.tolist()) for name, array in found.feeds.items()}


def both(make: Any, asked: Any, *further: Any) -> tuple[Any, Any]:
    signature = Signature(FakeModel(), most_rows=64)
    native = outcome(make(signature), asked, *further)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "native", None)
        return native, outcome(make(signature), asked, *further)


@settings(max_examples=500, deadline=None)
@given(st.lists(tensors, min_size=1, max_size=2), st.dictionaries(members, documents | arrays, max_size=3))
def test_open_inference_requests_are_the_same_in_both_ways(inputs: Any, more: Any) -> None:
    native, other = both(
        lambda signature: InferCodec(FakeModel(), signature, 1 << 20), {"inputs": inputs, **more}, None
    )

    assert native == other


@pytest.mark.parametrize("key", [r"s\u0068ape", r"dat\u0061", r"\u006eame"])
def test_keys_that_are_written_with_escapes_are_the_same_keys(reader: str, key: str) -> None:
    body = rb'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
    escaped = body.replace(orjson.loads(f'"{key}"').encode(), key.encode())

    found = InferCodec(FakeModel(), Signature(FakeModel(), most_rows=64), 1 << 20).decode(escaped, None)

    assert found.feeds["x"].tolist() == [[1.0, 2.0]]


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["instances", "inputs"]),
    arrays | documents | st.dictionaries(st.just("x"), arrays) | st.lists(st.dictionaries(st.just("x"), arrays)),
)
def test_predict_requests_are_the_same_in_both_ways(form: str, values: Any) -> None:
    native, other = both(lambda signature: PredictCodec(signature, 1 << 20), {form: values})

    assert native == other
