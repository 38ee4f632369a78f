"""Logins from a docker config: a Secret's `.dockerconfigjson`, or what `docker login` left on a person's machine.

A login is looked up for one host and given to nobody else.  Only a person's own file may name a program that knows the
password (`credHelpers`, `credsStore`): a Secret starts nothing here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from tidegate.bundle.errors import Denied
from tidegate.bundle.source import Access

DOCKER_CONFIG = ".dockerconfigjson"
MAX_CONFIG = 2**20
PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PROGRAM_WITHIN = 20.0  # seconds; some of them ask the system's keychain
HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def login_for(place: str, access: Access) -> str:
    """The value of an Authorization header for this host and port; empty when nobody logged in there."""
    given = access.credentials.get(DOCKER_CONFIG)
    if given:
        return _listed(_read(given, DOCKER_CONFIG), place, DOCKER_CONFIG)
    if not access.ambient:
        return ""
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        with file.open("rb") as content:
            config = _read(content.read(MAX_CONFIG).decode("utf-8", "replace"), str(file))
    except OSError:
        return ""
    return _listed(config, place, str(file)) or _kept_by_program(config, place)


def _read(text: str, where: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("auths", {}), dict):
        raise _unreadable(where)
    return config


def _listed(config: dict[str, Any], place: str, where: str) -> str:
    try:
        for name, found in config.get("auths", {}).items():
            if not _same_host(name, place):
                continue
            if found.get("auth"):
                return f"Basic {base64.b64encode(base64.b64decode(found['auth'], validate=True)).decode()}"
            if "username" in found:
                return _basic(found["username"], found["password"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _unreadable(where) from None
    return ""


def _same_host(name: str, place: str) -> bool:
    """Names are hosts, with a port or not; old ones are addresses such as https://index.docker.io/v1/."""
    host = name.partition("://")[2] or name
    host = host.partition("/")[0]
    return host == place or (host in HUB and place in HUB)


def _kept_by_program(config: dict[str, Any], place: str) -> str:
    """What `docker-credential-NAME get` answers for this host."""
    helpers = config.get("credHelpers")
    name = (helpers.get(place) if isinstance(helpers, dict) else None) or config.get("credsStore")
    if not isinstance(name, str) or not PROGRAM.fullmatch(name):
        return ""
    try:
        done = subprocess.run(
            [f"docker-credential-{name}", "get"],
            input=place, capture_output=True, text=True, timeout=PROGRAM_WITHIN, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
        return _basic(found["Username"], found["Secret"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return ""  # as without a login: what the registry then answers says more


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _unreadable(where: str) -> Denied:
    return Denied("the docker config JSON cannot be read", where=where, do="make the secret again")
