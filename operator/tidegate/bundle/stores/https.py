"""Bundles on any web server, read only.  Credentials come from a docker config JSON and go to their own host only."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from tidegate.bundle.errors import BundleError
from tidegate.bundle.source import Access
from tidegate.bundle.stores.docker_config import login_for
from tidegate.bundle.stores.web import WebReader
from tidegate.bundle.uri import BundleUri

HTTPS_PORT = 443


class HttpsStore(WebReader):
    """One host, certificate verified, redirects off."""

    def __init__(self, uri: BundleUri, access: Access) -> None:
        host, _, port = uri.place.partition(":")
        super().__init__("https", host, int(port or HTTPS_PORT), access)
        self._authorization = login_for(uri.place, Access(access.credentials))  # never what a person's docker keeps

    def headers(self, method: str, path: str, extra: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        return {**extra, "Authorization": self._authorization} if self._authorization else extra

    def ranged(self, path: str) -> bool:
        try:
            response = self._request("HEAD", path, {})
        except BundleError:
            return False
        response.close()
        return response.status == HTTPStatus.OK and response.headers.get("Accept-Ranges") == "bytes"
