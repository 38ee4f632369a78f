"""What the internal endpoints are sent, read strictly: each reader gives a value or a sentence for a 400."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import orjson

from tidegate_runtime.compare import OutputRule, Rules
from tidegate_runtime.shadow import Target
from tidegate_runtime.synthetic import MAX_COUNT, MAX_RATE

MAX_TTL = 3600.0
MAX_RULES = 256
MAX_NAME = 256


class BadDocument(Exception):
    """What was sent means nothing; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class GoldenWish:
    """Run that many golden samples at that rate."""

    rate: float
    count: int


def read_target(body: bytes) -> Target | None:
    """Where to shadow to; None when the share is 0, which ends shadowing."""
    fields = _object(body, {"target", "percent", "ttlSeconds", "token"})
    share = _number(fields, "percent", 0.0, 100.0) / 100
    if share == 0:
        return None
    host, port = _address(_string(fields, "target"))
    ttl = _number(fields, "ttlSeconds", 0.0, MAX_TTL)
    return Target(host, port, share, monotonic() + ttl, _string(fields, "token", default=""))


def read_rules(body: bytes) -> Rules:
    """What counts as a difference."""
    fields = _object(body, {"top1", "outputs"})
    rows, top1 = fields.get("outputs", []), fields.get("top1", False)
    if not isinstance(rows, list) or len(rows) > MAX_RULES or not all(isinstance(row, dict) for row in rows):
        raise BadDocument(f"outputs must be a list of at most {MAX_RULES} objects")
    if not isinstance(top1, bool):
        raise BadDocument("top1 must be true or false")
    return Rules(top1, tuple(_output_rule(row) for row in rows))


def read_golden(body: bytes) -> GoldenWish:
    """How many golden samples to run, and how fast."""
    fields = _object(body, {"rate", "count"})
    rate, count = _number(fields, "rate", 0.001, MAX_RATE), _number(fields, "count", 0, MAX_COUNT)
    if count != int(count):
        raise BadDocument("count must be a whole number")
    return GoldenWish(rate, int(count))


def _output_rule(row: dict[str, Any]) -> OutputRule:
    _only(row, {"name", "atol", "rtol"})
    return OutputRule(
        _string(row, "name"), _number(row, "atol", 0.0, math.inf, 0.0), _number(row, "rtol", 0.0, math.inf, 0.0)
    )


def _object(body: bytes, known: set[str]) -> dict[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadDocument("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise BadDocument("the body must be a JSON object")
    return _only(fields, known)


def _only(fields: dict[str, Any], known: set[str]) -> dict[str, Any]:
    if unknown := sorted(fields.keys() - known):
        raise BadDocument(f"unknown field {unknown[0][:60]!r}; known are {', '.join(sorted(known))}")
    return fields


def _number(fields: dict[str, Any], name: str, least: float, most: float, default: float | None = None) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadDocument(f"{name} must be a number from {least:g} to {most:g}")
    return float(value)


def _string(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > MAX_NAME * 16 or not value.isprintable():
        raise BadDocument(f"{name} must be text")
    return value


def _address(target: str) -> tuple[str, int]:
    """The host and port of http://ADDRESS:PORT; addresses only, so that nothing is looked up."""
    try:
        url = urlsplit(target)
        host, port = ip_address(url.hostname or ""), url.port or 0
    except ValueError:
        raise BadDocument("target must be http://ADDRESS:PORT with a numeric address") from None
    if url.scheme != "http" or not port or url.path not in ("", "/") or url.username or url.query:
        raise BadDocument("target must be http://ADDRESS:PORT and nothing more")
    if host.is_link_local or host.is_multicast or host.is_unspecified:
        raise BadDocument("target must be the address of a server")
    return str(host), port
