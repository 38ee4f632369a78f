"""Damaged requests: what is in `corpus/`, cut, joined and sprinkled with what parsers fear, for as long as wanted.

FUZZ_SECONDS is how long all fuzz tests take together: a minute in `make test`, as long as wanted in `make fuzz`.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from random import Random
from typing import Final, ParamSpec

from google.protobuf import text_format
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper
from tests.runtime import small_bundles as small
from tritonclient.grpc.service_pb2 import ModelInferRequest

TESTS: Final = 4  # that share the time
SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "60")) / TESTS
CORPUS: Final = Path(__file__).parent / "corpus"
FEARED: Final = (
    *(b"", b"\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b'"', b"\\"),
    *(b"-1", b"-0", b"1.5", b"1e999", b"4611686018427387904", b"9223372036854775808", b"18446744073709551616"),
    *(b"1" * 400, b"NaN", b"Infinity"),
    *(b"null", b"true", b"{}", b"[]", b"[[]]", b",", b"[" * 3000, b'{"a":' * 3000, b"[1," * 3000, b" " * 3000),
    *(b"\r\n", b"\r\n\r\n", b"\n", b":", b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n", b"chunked"),
    *(b"content-encoding: gzip\r\n", b"expect: 100-continue\r\n", b"connection: close\r\n", b"HTTP/2.0", b"%00", b"/../"),
    *(b"inference-header-content-length: 5\r\n", b'"binary_data_size":4', b'"data":', b'"shape":[2,2]', b'"x"', b'"FP32"'),
    *(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\x0b" * 200, b"\x2a\x80\x80\x80\x80\x08", b"\x3a\x00"),
)  # fmt: skip
P = ParamSpec("P")


def for_its_time(test: Callable[P, None]) -> Callable[P, None]:
    """The hypothesis test again and again, each time with other examples, while there is time."""

    @functools.wraps(test)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> None:
        until = time.monotonic() + SECONDS
        while True:
            test(*args, **kwargs)
            if time.monotonic() > until:
                return

    return repeated


def messages(kind: str) -> list[bytes]:
    """The corpus of HTTP messages ("http") or of gRPC messages ("grpc"), as they go over the wire."""
    if kind == "http":
        return [path.read_bytes() for path in sorted((CORPUS / kind).iterdir())]
    texts = [path.read_text() for path in sorted((CORPUS / kind).iterdir())]
    return [text_format.Parse(text, ModelInferRequest()).SerializeToString() for text in texts]


@functools.cache
def words_of(content: bytes) -> list[bytes]:
    """Texts in quotes, words, numbers, and every other byte alone."""
    return re.findall(rb'"(?:[^"\\]|\\.)*"|[\w.+-]+|[^\w]', content, re.DOTALL)


SORTS: Final = {"number": rb"-?\d", "text": rb'"', "word": rb"[A-Za-z]", "mark": rb"[\s!-~]", "byte": rb""}


def sort_of(word: bytes) -> str:
    """Which others a parser would take in its place."""
    return next(sort for sort, begins in SORTS.items() if re.match(begins, word))


def by_sort(words: Collection[bytes]) -> dict[str, list[bytes]]:
    return {sort: [word for word in words if sort_of(word) == sort] for sort in SORTS}


SMALL: Final = [message for kind in ("http", "grpc") for message in messages(kind) if len(message) < 2000]
KNOWN: Final = by_sort(sorted({word for message in SMALL for word in words_of(message)}))
FEARED_LIKE: Final = {sort: words or list(FEARED) for sort, words in by_sort(FEARED).items()}


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds`, damaged or as it is."""
    return damage(draw(dice), draw(st.sampled_from(seeds)))


# Chosen by hypothesis one by one, places and words would hardly vary (measured: 2 % of the bodies were valid JSON).
dice: Final = st.randoms(use_true_random=True)


def damage(random: Random, content: bytes) -> bytes:
    """Up to three words of `content` taken out, or replaced by one of their sort, something feared, or anything."""
    words = list(words_of(content))
    for _ in range(random.choice((1, 1, 1, 2, 3, 0))):
        at = random.randrange(len(words) + 1)
        size = random.choice((1, 1, 1, 1, 1, 1, 0, 2, 40))
        sort = sort_of(b"".join(words[at : at + 1]))
        pieces = (KNOWN[sort], FEARED_LIKE[sort], FEARED, [random.randbytes(3)])
        words[at : at + size] = [random.choice(random.choices(pieces, (4, 4, 2, 1))[0])]
    return b"".join(words)


def with_true_length(message: bytes) -> bytes:
    """The message with a `content-length` that fits: its damage then reaches what reads the body."""
    head, end, body = message.partition(b"\r\n\r\n")
    return re.sub(rb"(\r\ncontent-length: )\d+", rb"\g<1>%d" % len(body), head, count=1) + end + body


def sorts() -> ModelProto:
    """What the corpus talks to: a tensor for each way of reading values, all given back as they are."""
    ports: dict[str, tuple[int, str, list[int | str]]] = {
        "x": (TensorProto.FLOAT, "y", ["N", "M"]),
        "id": (TensorProto.UINT64, "id_out", ["N"]),
        "text": (TensorProto.STRING, "text_out", ["N"]),
        "flag": (TensorProto.BOOL, "flag_out", ["N"]),
    }
    return small.model(
        [helper.make_node("Identity", [name], [given]) for name, (_, given, _) in ports.items()],
        [small.value(name, number, shape) for name, (number, _, shape) in ports.items()],
        [small.value(given, number, shape) for number, given, shape in ports.values()],
        {},
    )
