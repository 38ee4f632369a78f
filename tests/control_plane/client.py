"""What tests ask the API server with: plain dicts in and out, independent of the client that is under test."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from tests.control_plane.resources import Object, resource, resource_of
from tests.control_plane.users import write_kubeconfig
from tests.waiting import PATIENCE, wait_until

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
AGAIN_SECONDS = 0.2
ANSWER_SECONDS = 30.0
T = TypeVar("T")


class ApiError(Exception):
    """The API server said no; `reason` is the word of its Status, such as NotFound or AlreadyExists, `causes` those of its
    details, such as NamespaceTerminating."""

    def __init__(self, status: int, body: bytes) -> None:
        try:
            told = json.loads(body)
        except ValueError:
            told = {}
        self.status = status
        self.reason = str(told.get("reason", ""))
        self.message = str(told.get("message", body[:500]))
        causes = (told.get("details") or {}).get("causes") or []
        self.causes = {str(cause.get("reason", "")) for cause in causes}
        super().__init__(f"{status} {self.reason}: {self.message}")


class Client:
    """One user at one API server; safe to share between threads."""

    def __init__(self, server: str, ca: Path, token: str) -> None:
        self.server = server
        self.ca = ca
        self._token = token
        self._pool = urllib3.PoolManager(ca_certs=str(ca), maxsize=16, retries=False)

    def close(self) -> None:
        self._pool.clear()

    def as_token(self, token: str) -> Client:
        """The same server, asked by somebody else."""
        return Client(self.server, self.ca, token)

    def patient(self, over: threading.Event) -> Client:
        """The same user, as stubborn as a kubelet: asks until the server answers, or until it is over."""
        return Patient(self.server, self.ca, self._token, over)

    # objects

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none; cluster-wide ones have the namespace ""."""
        try:
            return self.request("GET", resource(plural).path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def read(self, plural: str, namespace: str, name: str) -> Object:
        """The object, which must be there."""
        return self.request("GET", resource(plural).path(namespace, name))

    def list(self, plural: str, namespace: str = "", selector: str = "") -> list[Object]:
        """The objects of a namespace, or of all; each with its apiVersion and kind."""
        row = resource(plural)
        found = self.request("GET", row.path(namespace), query={"labelSelector": selector} if selector else {})
        return [{"apiVersion": row.api_version, "kind": row.kind, **item} for item in found["items"]]

    def create(self, obj: Mapping[str, Any], manager: str = "tests") -> Object:
        path = resource_of(obj).path(obj["metadata"].get("namespace", ""))
        return self.request("POST", path, obj, query={"fieldManager": manager})

    def apply(self, obj: Mapping[str, Any], manager: str = "tests", *, force: bool = True) -> Object:
        """Server-side apply."""
        query = {"fieldManager": manager, "force": str(force).lower()}
        return self.request("PATCH", path_of(obj), obj, query=query, form=APPLY)

    def patch(
        self, plural: str, namespace: str, name: str, change: Any, *, subresource: str = "", form: str = MERGE
    ) -> Object:
        path = resource(plural).path(namespace, name, subresource)
        return self.request("PATCH", path, change, query={"fieldManager": "tests"}, form=form)

    def put(self, obj: Mapping[str, Any]) -> Object:
        """Replace an object; with a resourceVersion only if nobody else has changed it."""
        return self.request("PUT", path_of(obj), obj, query={"fieldManager": "tests"})

    def put_status(self, obj: Mapping[str, Any]) -> Object:
        return self.request("PUT", path_of(obj, "status"), obj, query={"fieldManager": "tests"})

    def patch_status(self, obj: Mapping[str, Any], status: Mapping[str, Any], form: str = MERGE) -> Object:
        """Change some fields of the status and leave the others."""
        return self.request("PATCH", path_of(obj, "status"), {"status": status}, form=form)

    def delete(self, plural: str, namespace: str, name: str, *, uid: str = "", grace: int | None = None) -> None:
        """Delete it, in the background what it owns; nothing happens where it is gone, or another took its name."""
        options: Object = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            self.request("DELETE", resource(plural).path(namespace, name), options)
        except ApiError as error:
            if error.status not in ((404, 409) if uid else (404,)):
                raise

    def watch(self, plural: str, namespace: str = "", version: str = "", seconds: int = 600) -> Watch:
        """The events from a resourceVersion on, until the server ends the watch or `close` does."""
        query = {"watch": "true", "timeoutSeconds": str(seconds), "resourceVersion": version}
        return Watch(self._answer("GET", resource(plural).path(namespace), query=query, stream=True))

    # accounts

    def token(
        self, namespace: str, account: str, audience: str = "", *, seconds: int = 3600, pod: Object | None = None
    ) -> str:
        """A token of a service account, of a pod if one is given; without audience it is for the API server."""
        spec: Object = {"expirationSeconds": seconds} | ({"audiences": [audience]} if audience else {})
        if pod is not None:
            named = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", **named}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = self.request("POST", resource("serviceaccounts").path(namespace, account, "token"), asked)
        return str(answer["status"]["token"])

    def kubeconfig(self, path: Path, namespace: str = "default") -> Path:
        """A kubeconfig of this user."""
        return write_kubeconfig(path, self.server, self.ca, self._token, namespace)

    # waiting

    def until(
        self, plural: str, namespace: str, name: str, holds: Callable[[Object], Any], seconds: float = PATIENCE
    ) -> Object:
        """Wait for an object of which `holds` is true; fails with the object as it was at the end."""
        seen: list[Object | None] = [None]

        def look() -> Object | None:
            seen[0] = found = self.get(plural, namespace, name)
            return found if found is not None and holds(found) else None

        return wait_until(look, lambda: f"{plural} {namespace}/{name}: {shown(seen[0])}", seconds)

    def until_gone(self, plural: str, namespace: str, name: str, seconds: float = PATIENCE) -> None:
        what = f"{plural} {namespace}/{name} gone"
        wait_until(lambda: self.get(plural, namespace, name) is None, lambda: what, seconds)

    # requests

    def request(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str] | None = None, form: str = ""
    ) -> Object:
        """One request, its JSON answer; raises ApiError for any answer from 400 on."""
        answer = self._answer(method, path, body, query=query, form=form)
        found = json.loads(answer.data) if answer.data else {}
        assert isinstance(found, dict)
        return found

    def text(self, path: str) -> str:
        """An answer that is no object, such as that of /readyz."""
        return self._answer("GET", path).data.decode()

    def _answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        form: str = "",
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        answer = self._pool.request(
            method,
            self.server + path + ("?" + urlencode(query) if query else ""),
            body=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": form or "application/json"},
            timeout=urllib3.Timeout(connect=5, read=None if stream else ANSWER_SECONDS),
            preload_content=not stream,
        )
        if answer.status >= 400:
            raise ApiError(answer.status, answer.data)
        return answer


class Patient(Client):
    """Who outlives the API server's outages."""

    def __init__(self, server: str, ca: Path, token: str, over: threading.Event) -> None:
        super().__init__(server, ca, token)
        self._over = over

    def _answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        form: str = "",
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        while True:
            try:
                return super()._answer(method, path, body, query=query, form=form, stream=stream)
            except (ApiError, urllib3.exceptions.HTTPError) as error:
                if self._over.is_set() or (isinstance(error, ApiError) and error.status < 500):
                    raise
            self._over.wait(AGAIN_SECONDS)


def path_of(obj: Mapping[str, Any], subresource: str = "") -> str:
    named = obj["metadata"]
    return resource_of(obj).path(named.get("namespace", ""), named["name"], subresource)


class Watch:
    """An endless answer, line by line; `close` ends it from any thread."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self._answer = answer
        self._closed = False

    def __iter__(self) -> Iterator[Object]:
        rest = b""
        try:
            for chunk in self._answer.stream(65536, decode_content=True):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in whole if line)
        except urllib3.exceptions.HTTPError:
            if not self._closed:
                raise
        finally:
            self._answer.close()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError, ValueError):  # it has ended by itself
            self._answer.shutdown()


def shown(obj: Object | None) -> str:
    """What a failed wait tells of an object."""
    if obj is None:
        return "is not there"
    named = {key: value for key, value in obj.get("metadata", {}).items() if key != "managedFields"}
    return json.dumps({"metadata": named, "spec": obj.get("spec"), "status": obj.get("status")})[:4000]
