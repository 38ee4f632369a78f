"""What Prometheus' HTTP API answers to an instant query, read with suspicion: numbers, or an error in a sentence.

PrometheusError (TidegateError)         no number came back, and why, fit to be shown in a status
 ├─ UnknownServer                       `ref` names none of the operator's settings
 ├─ PrometheusDown (also Temporary)     no answer, not in time, or not as a Prometheus answers
 ├─ PrometheusDenied                    credentials are missing, unreadable or not accepted
 └─ QueryRefused                        it cannot make sense of the query, or the result is not one number
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tidegate.errors import Temporary, TidegateError

OK = 200
REDIRECTS = range(300, 400)
BAD_QUERY = (400, 422)
DENIED = (401, 403)
SENTENCE_LIMIT = 200
PREAMBLE = 'invalid parameter "query": '


class PrometheusError(TidegateError):
    """No number came back."""


class UnknownServer(PrometheusError):
    """The object names a server that the operator does not know."""

    reason = "PrometheusUnknown"


class PrometheusDown(PrometheusError, Temporary):
    """There is no answer, or none of a Prometheus."""

    reason = "PrometheusDown"


class PrometheusDenied(PrometheusError):
    """The credentials of the operator's settings are missing or not accepted."""

    reason = "PrometheusDenied"


class QueryRefused(PrometheusError):
    """The query is no PromQL, or its result is not one number."""

    reason = "QueryRefused"


@dataclass(frozen=True, slots=True)
class Point:
    """One element of a result."""

    labels: Mapping[str, str]
    at: float  # when it was evaluated, by the server's clock
    value: float


def read_answer(status: int, body: bytes) -> tuple[str, list[Point]]:
    """The kind of the result, and its elements where that is a scalar or a vector."""
    if status != OK:
        raise _error_of(status, _said(body))
    try:
        data = orjson.loads(body)["data"]
        kind = str(data["resultType"])[:16]
        if kind == "scalar":
            return kind, [_point({}, data["result"])]
        return kind, [_point(one["metric"], one["value"]) for one in data["result"]] if kind == "vector" else []
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise PrometheusDown("its answer makes no sense: is it a Prometheus?") from None


def _point(labels: Any, value: Any) -> Point:
    at, number = value
    if not isinstance(labels, dict) or not isinstance(number, str):
        raise TypeError
    return Point(labels, float(at), float(number))


def _error_of(status: int, said: str) -> PrometheusError:
    if status in BAD_QUERY:
        return QueryRefused(said or f"the query is refused ({status})")
    if status in DENIED:
        return PrometheusDenied(f"it does not accept the operator's credentials ({status})")
    if status in REDIRECTS:
        return PrometheusDown(f"it answers {status}: redirects are not followed")
    return PrometheusDown(f"it answers {status}: {said}" if said else f"it answers {status}")


def _said(body: bytes) -> str:
    """The server's own words, on one line and not too long; nothing where they are not a Prometheus' words."""
    try:
        text = " ".join(str(orjson.loads(body)["error"]).split()).removeprefix(PREAMBLE)
    except (ValueError, KeyError, TypeError):
        return ""
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= SENTENCE_LIMIT else text[: SENTENCE_LIMIT - 1] + "…"
