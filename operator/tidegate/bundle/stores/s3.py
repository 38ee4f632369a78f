"""Bundles in S3, or in anything that speaks its protocol.

Reading is plain ranged HTTP with a signature from botocore: no client object, so that it starts quickly, is quick,
and connects only to addresses that were judged.  Writing is boto3's: multipart, retries, conditions.
"""

from __future__ import annotations

import email.utils
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tidegate.bundle.addresses import is_here
from tidegate.bundle.errors import BundleError, Conflict, Denied, NotFound, Unreachable
from tidegate.bundle.repository import LayoutRepository
from tidegate.bundle.shelf import LayoutShelf
from tidegate.bundle.source import Access
from tidegate.bundle.stores import Listed
from tidegate.bundle.stores.s3_encryption import CUSTOMER_KEY, Encryption, encryption_in
from tidegate.bundle.stores.web import WebReader, refusal_for
from tidegate.bundle.transport import Response
from tidegate.bundle.uri import BundleUri
from tidegate.errors import Invalid

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
MAX_SKEW = 300  # seconds; S3 refuses above 900
WRONG_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthFailure"})
TEMPORARY = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling"})
KEY_MISSING = frozenset({"InvalidArgument", "InvalidRequest", "400"})  # what a file of SSE-C answers without its key
PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the bucket is and who asks; from the credentials, or for `ambient` access from the environment too."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    token: str

    def __repr__(self) -> str:
        return f"Keys({self.endpoint or 'AWS'}, {self.region})"


def keys_for(access: Access) -> Keys:
    """The keys in the credentials; only ambient access looks anywhere else."""
    if not access.ambient:
        return _keys_in(access.credentials)
    keys = _keys_in({**os.environ, **access.credentials})
    if keys.access_key and (keys.region or keys.endpoint) and "AWS_PROFILE" not in os.environ:
        return keys  # nothing left to ask botocore for, whose session takes half a second
    return _from_session(keys)


def encryption_for(access: Access, keys: Keys) -> Encryption:
    """How files are encrypted at rest, looked up where the keys are."""
    given = {**os.environ, **access.credentials} if access.ambient else access.credentials
    parts = urlsplit(keys.endpoint or "https://")
    return encryption_in(given, protected=parts.scheme == "https" or is_here(parts.netloc))


def _keys_in(given: Mapping[str, str]) -> Keys:
    return Keys(
        given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL", ""),
        given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION", ""),
        given.get("AWS_ACCESS_KEY_ID", ""),
        given.get("AWS_SECRET_ACCESS_KEY", ""),
        given.get("AWS_SESSION_TOKEN", ""),
    )


def _from_session(keys: Keys) -> Keys:
    """What profiles, roles and identities of this machine add."""
    import botocore.session

    session = botocore.session.get_session()
    region = keys.region or str(session.get_config_variable("region") or "")
    found = None if keys.access_key and "AWS_PROFILE" not in os.environ else session.get_credentials()
    if found is None:
        return Keys(keys.endpoint, region, keys.access_key, keys.secret_key, keys.token)
    frozen = found.get_frozen_credentials()
    return Keys(keys.endpoint, region, frozen.access_key, frozen.secret_key, frozen.token or "")


class S3Store(WebReader):
    """Reads one bucket."""

    def __init__(self, uri: BundleUri, access: Access) -> None:
        self._keys = keys_for(access)
        self._encryption = encryption_for(access, self._keys)
        self._bucket = uri.place
        self._region = self._keys.region or "us-east-1"
        scheme, host, port, self._prefix = _endpoint(self._keys, self._bucket, self._region)
        super().__init__(scheme, host, port, access)

    def target(self, path: str) -> str:
        return f"{self._prefix}/{path}"

    def ranged(self, path: str) -> bool:  # noqa: ARG002
        return True

    def headers(self, method: str, path: str, extra: Mapping[str, str]) -> Mapping[str, str]:
        extra = {**extra, **self._encryption.headers()}
        if not self._keys.access_key:
            return extra
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        request = AWSRequest(method, self.where(path), headers={**extra, "X-Amz-Content-SHA256": EMPTY_SHA256})
        request.context["payload_signing_enabled"] = True
        keys = Credentials(self._keys.access_key, self._keys.secret_key, self._keys.token or None)
        S3SigV4Auth(keys, "s3", self._region).add_auth(request)
        return dict(request.headers.items())

    def refusal(self, response: Response, body: bytes, path: str) -> BundleError:
        match = CODE.search(body)
        code = match[1].decode() if match else ""
        if code in KEY_MISSING and not self._encryption.customer_key:
            return _wants_key(self.where(path))
        return _refusal(code, self.where(path), response.headers.get("Date")) or refusal_for(response, self.where(path))


def _endpoint(keys: Keys, bucket: str, region: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path prefix: the bucket in the path for other servers, in the name for AWS."""
    if not keys.endpoint:
        return "https", f"{bucket}.s3.{region}.amazonaws.com", 443, ""
    parts = urlsplit(keys.endpoint)
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        raise Invalid("must be http:// or https:// and a host", where="AWS_ENDPOINT_URL") from None
    if parts.username or parts.query or not parts.hostname:
        raise Invalid("must hold a host and nothing secret", where="AWS_ENDPOINT_URL")
    return parts.scheme, parts.hostname, port, f"{parts.path.rstrip('/')}/{bucket}"


def _refusal(code: str, where: str, date: str | None) -> BundleError | None:
    if code == "NoSuchBucket":
        return NotFound("no such bucket", where=where, do="create it, or check its name and the endpoint")
    if code in ("NoSuchKey", "404"):
        return NotFound("not there", where=where, do="check the address and the version")
    skew = _skew(date)
    if code == "RequestTimeTooSkewed" or (code and abs(skew) > MAX_SKEW and code not in TEMPORARY):
        off = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the store's" if date else "wrong"
        return Denied(f"this machine's clock is {off}", where=where, do="set the clock", reason="ClockSkewed")
    if code in WRONG_KEYS:
        return Denied(f"the keys are not accepted ({code})", where=where, do="check AWS_ACCESS_KEY_ID and its secret")
    if code in ("AccessDenied", "403"):
        return Denied(
            "these keys may not do this, or the file is encrypted with another key",
            where=where,
            do="check the bucket's policy, that keys are given, and the key of SSE-C if there is one",
        )
    if code in TEMPORARY:
        return Unreachable(f"answered {code}", where=where, do="the store is in trouble: try again later")
    if code in ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"):
        return Denied("the bucket is in another region", where=where, do="set AWS_REGION")
    return None


def _wants_key(where: str) -> Denied:
    what = "is encrypted with a key of its owner's own (SSE-C), or the request is not understood"
    return Denied(what, where=where, do=f"give the key in {CUSTOMER_KEY}")


def _skew(date: str | None) -> float:
    """By how many seconds the store's clock is ahead of ours."""
    try:
        there = email.utils.parsedate_to_datetime(date or "")
    except ValueError:
        return 0.0
    return (there - datetime.now(UTC)).total_seconds()


class S3Writer:
    """Writes one bucket, for `push`."""

    def __init__(self, uri: BundleUri, access: Access) -> None:
        self._bucket = uri.place
        self._keys = keys_for(access)
        self._encryption = encryption_for(access, self._keys)
        self._client = _client(self._keys, access.ca)

    def size(self, path: str) -> int | None:
        try:
            with self._told(path):
                return int(self._client.head_object(**self._named(path))["ContentLength"])
        except NotFound:
            return None

    def write(self, path: str, source: Path, sent: Callable[[int], None]) -> None:
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=64 * 2**20, multipart_chunksize=32 * 2**20, max_concurrency=4)
        with self._told(path):
            self._client.upload_file(
                str(source), self._bucket, path, ExtraArgs=self._encryption.writing(), Callback=sent, Config=parts
            )

    def current(self, path: str) -> tuple[bytes, str] | None:
        try:
            with self._told(path):
                found = self._client.get_object(**self._named(path))
                return found["Body"].read(2**24), found["ETag"]
        except NotFound:
            return None

    def put(self, path: str, content: bytes, *, seen: str | None) -> None:
        condition = {"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen}
        with self._told(path):
            self._client.put_object(
                Bucket=self._bucket, Key=path, Body=content, **condition, **self._encryption.writing()
            )

    def listed(self, below: str) -> Iterator[Listed]:
        with self._told(below):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=below):
                for row in page.get("Contents", ()):
                    yield Listed(row["Key"], row["Size"], row["LastModified"].timestamp())

    def delete(self, path: str) -> None:
        with self._told(path):
            self._client.delete_object(Bucket=self._bucket, Key=path)

    def close(self) -> None:
        self._client.close()

    def _named(self, path: str) -> dict[str, Any]:
        """A stored file, as boto3 is asked for it."""
        return {"Bucket": self._bucket, "Key": path, **self._encryption.reading()}

    def _told(self, path: str) -> AbstractContextManager[None]:
        """The client's errors as those of a bundle, about this file."""
        return _clear_errors(f"s3://{self._bucket}/{path}", has_key=bool(self._encryption.customer_key))


def repository(uri: BundleUri, access: Access) -> LayoutRepository:
    """Where to publish in S3."""
    return LayoutRepository(S3Writer(uri, access), uri)


def shelf(place: BundleUri, access: Access) -> LayoutShelf:
    """What lies in a bucket, or below a prefix of it."""
    return LayoutShelf(S3Writer(place, access), place)


def _client(keys: Keys, ca: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 5},
        s3={"addressing_style": "path"} if keys.endpoint else {},
        ignore_configured_endpoint_urls=True,  # of a profile: reading knows them not, and keys go where we judged it
        request_checksum_calculation="when_required",
        signature_version="s3v4",
    )
    return boto3.client(
        "s3",
        endpoint_url=keys.endpoint or None,
        region_name=keys.region or "us-east-1",
        aws_access_key_id=keys.access_key or None,
        aws_secret_access_key=keys.secret_key or None,
        aws_session_token=keys.token or None,
        verify=_verify_with(ca),
        config=config,
    )


def _verify_with(ca: str) -> str | None:
    if "-----BEGIN" in ca:
        raise Invalid("give the CA as a path to push", where="AWS_CA_BUNDLE")
    return ca or None


@contextmanager
def _clear_errors(where: str, *, has_key: bool) -> Iterator[None]:
    import boto3.exceptions
    import botocore.exceptions

    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _client_refusal(error.response, where, has_key=has_key) from None
    except botocore.exceptions.NoCredentialsError:
        raise Denied("no credentials", where=where, do="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
    except boto3.exceptions.S3UploadFailedError as error:
        cause = error.__context__
        response = cause.response if isinstance(cause, botocore.exceptions.ClientError) else {}
        raise _client_refusal(response, where, has_key=has_key) from None
    except botocore.exceptions.BotoCoreError as error:
        what = f"the store does not answer ({type(error).__name__})"
        raise Unreachable(what, where=where, do="check AWS_ENDPOINT_URL and the network") from None


def _client_refusal(response: Mapping[str, Any], where: str, *, has_key: bool) -> BundleError:
    code = str(response.get("Error", {}).get("Code", ""))
    about = response.get("ResponseMetadata", {})
    if code in CHANGED:
        return Conflict("another push was here meanwhile", where=where, do="look at what is there now")
    known = _refusal(code, where, about.get("HTTPHeaders", {}).get("date"))
    if known:
        return known
    if code in KEY_MISSING and not has_key:
        return _wants_key(where)
    status = about.get("HTTPStatusCode", 0)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in PASSING:
        return Denied(f"answered {status} ({code})", where=where, do="check the bucket, and what these keys may do")
    return Unreachable(f"the upload failed ({code or 'no answer'})", where=where, do="try again later")
