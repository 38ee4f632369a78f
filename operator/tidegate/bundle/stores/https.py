"""Bundles on any web server, read only.  Credentials come from a docker config JSON and go to their own host only."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tidegate.bundle.errors import BundleError, Denied
from tidegate.bundle.source import Access
from tidegate.bundle.stores.web import WebReader
from tidegate.bundle.uri import BundleUri

DOCKER_CONFIG = ".dockerconfigjson"
HTTPS_PORT = 443


class HttpsStore(WebReader):
    """One host, certificate verified, redirects off."""

    def __init__(self, uri: BundleUri, access: Access) -> None:
        host, _, port = uri.place.partition(":")
        super().__init__("https", host, int(port or HTTPS_PORT), access)
        self._authorization = _authorization(uri.place, access.credentials)

    def headers(self, method: str, path: str, extra: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        return {**extra, "Authorization": self._authorization} if self._authorization else extra

    def ranged(self, path: str) -> bool:
        try:
            response = self._request("HEAD", path, {})
        except BundleError:
            return False
        response.close()
        return response.status == HTTPStatus.OK and response.headers.get("Accept-Ranges") == "bytes"


def _authorization(place: str, credentials: Mapping[str, str]) -> str:
    """The Authorization header for this host, or nothing when the credentials are for others."""
    text = credentials.get(DOCKER_CONFIG)
    if not text:
        return ""
    try:
        found: Any = json.loads(text)["auths"].get(place, {})
        if "auth" in found:
            return f"Basic {base64.b64encode(base64.b64decode(found['auth'], validate=True)).decode()}"
        if "username" in found:
            pair = f"{found['username']}:{found['password']}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Denied("the docker config JSON cannot be read", where=DOCKER_CONFIG, do="make the secret again") from None
    return ""
