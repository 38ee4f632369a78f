"""How a registry wants to know who asks: by a login, or by a token from a server that it names.

A login goes to the registry it is for, and to the token server which that registry names over TLS; a token only to the
registry.  Neither ever goes where a layer is redirected to.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

from tidegate.bundle.errors import Denied, Unreachable
from tidegate.bundle.transport import ERROR_BODY, Connections, Request, Response

PARAMETER = re.compile(r'([a-z_]+)="([^"]*)"')
Connect = Callable[[str, str], Connections]  # scheme, host and port


class Authorization:
    """The Authorization header of one registry, made when it is asked for and made again when it has run out."""

    def __init__(self, place: str, login: str, scopes: Sequence[str], connect: Connect) -> None:
        self._place = place
        self._login = login
        self._scopes = scopes
        self._connect = connect
        self._lock = threading.Lock()
        self.header = ""

    def renewed(self, sent: str, challenges: Iterable[str]) -> str:
        """The header to try after a 401 for the header `sent`; Denied when there is nothing better."""
        with self._lock:
            if self.header == sent:
                self.header = self._answer(sent, list(challenges))
            return self.header

    def refusal(self) -> Denied:
        """Why the registry lets us in no further."""
        if self._login:
            return Denied(
                "the login is not accepted, or may not do this",
                where=self._place,
                do=f"docker login {self._place}, or correct the Secret's .dockerconfigjson",
            )
        return Denied(
            "wants a login, and none is given for this host",
            where=self._place,
            do=f"docker login {self._place}, or name a Secret with .dockerconfigjson",
        )

    def _answer(self, sent: str, challenges: list[str]) -> str:
        kinds = {text.partition(" ")[0].lower(): dict(PARAMETER.findall(text)) for text in challenges}
        if "bearer" in kinds:
            return f"Bearer {self._token(kinds['bearer'])}"
        if self._login and "basic" in kinds and sent != self._login:
            return self._login
        raise self.refusal()

    def _token(self, challenge: dict[str, str]) -> str:
        realm = urlsplit(challenge.get("realm", ""))
        connections = self._connect(realm.scheme, realm.netloc)
        query = [("service", challenge["service"])] if "service" in challenge else []
        query += [("scope", scope) for scope in self._scopes]
        headers = {"Authorization": self._login} if self._login else {}
        try:
            response = connections.send(Request("GET", f"{realm.path or '/'}?{urlencode(query)}", headers))
            try:
                return self._read_token(response, f"{connections.origin}{realm.path}")
            finally:
                response.close()
        finally:
            connections.close()

    def _read_token(self, response: Response, where: str) -> str:
        body = response.beginning(ERROR_BODY)
        if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise self.refusal()
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Unreachable(f"answered {response.status}", where=where, do="the token server is in trouble")
        try:
            found = json.loads(body)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, TypeError, AttributeError):
            token = None
        if response.status != HTTPStatus.OK or not isinstance(token, str) or not token.isprintable():
            raise Denied("gave no token", where=where, do="check the registry's address")
        return token
