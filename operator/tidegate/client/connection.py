"""Requests to one HTTP server over kept connections. No redirects, no proxies, no cookies."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import BadStatusLine, RemoteDisconnected

import urllib3

from tidegate.client.certificate import Certificate
from tidegate.client.errors import (
    ClientError,
    NotConnected,
    NotTrusted,
    RequestRefused,
    ServerBusy,
    ServerFailed,
    TimedOut,
    Unanswered,
)
from tidegate.client.messages import LONGEST_SENTENCE, MOST_ANSWER, REVISION
from tidegate.errors import Invalid

OK = 200
FAILED = 500  # and above: not the client's fault
BUSY = 429
LOST = (502, 503)  # a proxy's words for a server that it lost, before the run or after it
OUT_OF_TIME = (408, 504)
KEPT = 32  # connections, for as many threads
NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # OpenSSL's words for bytes of another protocol
# And for a server that wants a certificate, or another one; TLS 1.2 tells the first case like any other failure.
NOT_LET_IN = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE")


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; `path` begins with a slash and is quoted."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """Kept connections to the server at `url`, for any number of threads."""

    def __init__(self, url: str, headers: Mapping[str, str], certificate: Certificate | None = None) -> None:
        self.url = _server(url)
        self._headers = dict(headers)
        self._pool = urllib3.PoolManager(maxsize=KEPT, ssl_context=certificate.context() if certificate else None)

    def close(self) -> None:
        self._pool.clear()

    def once(self, request: Request, *, timeout: float) -> Reply:
        """The answer with status 200 to one try, which begins within `timeout` seconds; raises ClientError."""
        where = f"{self.url}{request.path}"
        try:
            response = self._pool.urlopen(
                request.method, where, body=request.body or None, headers={**self._headers, **request.headers},
                timeout=timeout, retries=False, redirect=False, preload_content=False,
            )  # fmt: skip
            body = response.read(MOST_ANSWER + 1)
        except urllib3.exceptions.HTTPError as error:
            raise _broken(error, where) from None
        if len(body) > MOST_ANSWER:
            response.close()
            raise ServerFailed(f"the answer is longer than {MOST_ANSWER} bytes", where=where, status=response.status)
        reply = Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, body)
        if reply.status != OK:
            raise _refusal(reply, where)
        return reply


def has_credentials(url: str) -> bool:
    """Whether the address of a server or a model holds a user or a password."""
    return "@" in url.partition("/v2/models/")[0]


def no_credentials(url: str) -> None:
    """Raise Invalid where there are some, which would not be sent; without the address, for errors are printed."""
    if has_credentials(url):
        raise Invalid("an address holds no credentials", do="send them with the header authorization")


def _server(url: str) -> str:
    """The address without a slash at its end."""
    no_credentials(url)
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError:
        parts = urllib3.util.Url()
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise Invalid(
            "not the address of a server", where=url, do="write http://HOST:PORT, https://HOST or grpc://HOST:PORT"
        )
    return url.rstrip("/")


def _broken(error: urllib3.exceptions.HTTPError, where: str) -> ClientError:
    """What it means that the exchange ended by this error."""
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return NotConnected(f"no connection: {_reason(error)}", where=where, do="is the server running there?")
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return TimedOut("no answer in time", where=where)
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NotTrusted(cause.verify_message, where=where, do="SSL_CERT_FILE may name an authority of yours")
    if isinstance(cause, ssl.SSLError) and cause.reason in NOT_LET_IN:
        return NotTrusted("the server does not take the client's certificate", where=where,
                          do="give one that it knows: client_cert, --client-cert CERT KEY")  # fmt: skip
    if isinstance(cause, ssl.SSLError) and cause.reason in NOT_TLS:
        return ServerFailed("the answer is not TLS", where=where, do="the server there speaks http://")
    if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
        return ServerFailed("the answer is not HTTP/1.1", where=where, do="is this the gRPC port?")
    return Unanswered(f"the connection broke before the answer: {_reason(error)}", where=where)


def _cause(error: Exception) -> BaseException | None:
    """What urllib3 has wrapped."""
    return error.__cause__ or next((one for one in error.args if isinstance(one, Exception)), None)


def _reason(error: Exception) -> str:
    """The operating system's own words, without urllib3's objects and addresses."""
    return str(_cause(error) or "") or type(error).__name__


def _refusal(reply: Reply, where: str) -> ClientError:
    """An answer with another status than 200 as an error."""
    what, status = _sentence(reply), reply.status
    later = reply.headers.get("retry-after", "")
    if status == BUSY or (status in LOST and (later or REVISION in reply.headers)):
        return ServerBusy(what, where=where, status=status, retry_after=float(later) if later.isdigit() else 1.0)
    if status in LOST:
        return Unanswered(what, where=where, status=status)
    if status in OUT_OF_TIME:
        return TimedOut(what, where=where, status=status)
    if status >= FAILED:
        return ServerFailed(what, where=where, status=status)
    return RequestRefused(what, where=where, status=status)


def _sentence(reply: Reply) -> str:
    """What the server says about it: `{"error": …}`, or its first line."""
    try:
        said = json.loads(reply.body).get("error")
    except (ValueError, AttributeError, RecursionError):
        said = None
    text = said if isinstance(said, str) else reply.body.decode(errors="replace").strip().partition("\n")[0]
    return text[:LONGEST_SENTENCE] or f"status {reply.status}"
