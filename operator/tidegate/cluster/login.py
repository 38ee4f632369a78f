"""Who we are to the API server, from one place: for our own requests, for the lease and for kopf's watches.

A kubeconfig (its certificates, tokens and plugins are read by `kubernetes.aio.config`), or the service account of the
pod.  Tokens change while we run: what a file or a plugin gives is read again once a minute, by the clock that nobody
sets back.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_kube_config

from tidegate import __version__
from tidegate.cluster.errors import LoginFailed, NotLeader

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HOME_CONFIG = "~/.kube/config"
FRESH_SECONDS = 60.0
NAME = f"tidegate-operator/{__version__}"
# What the loader of kubeconfigs raises for files that are no such thing.
MALFORMED = (ConfigException, yaml.YAMLError, OSError, KeyError, TypeError, ValueError, AttributeError)

log = logging.getLogger(__name__)
Refresh = Callable[[Configuration], Awaitable[None]]


class Login:
    """An address, an authority and credentials; makes clients that all use the same."""

    def __init__(self, configuration: Configuration, refresh: Refresh | None = None) -> None:
        self._configuration = configuration
        self._refresh = refresh
        self._fresh_until = time.monotonic() + FRESH_SECONDS
        configuration.refresh_api_key_hook = self._keep_fresh  # type: ignore[assignment]
        # Proxies from the environment and ~/.netrc would give kopf and us different ways and names.
        configuration.client_session_kwargs = {"trust_env": False}
        # Go's clients accept authorities without key identifiers; Python 3.13 does not unless told.
        configuration.disable_strict_ssl_verification = True

    @property
    def server(self) -> str:
        return str(self._configuration.host)

    def client(self, connections: int, may_write: Callable[[], bool] | None = None) -> ApiClient:
        """A client with a pool of its own; to be closed by who asked for it.

        `may_write` is asked when the bytes of a write are about to leave.
        """
        configuration = copy(self._configuration)
        configuration.connection_pool_maxsize = connections
        configuration.trace_configs = [fence(may_write)] if may_write else None
        client = ApiClient(configuration)
        client.user_agent = NAME
        return client

    def session(self, **options: Any) -> aiohttp.ClientSession:
        """A session without credentials in it: who uses it adds `authorization` to each request."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self.client(1).rest_client.ssl_context)
        proxy = self._configuration.proxy or None
        return aiohttp.ClientSession(connector=connector, headers={"User-Agent": NAME}, proxy=proxy, **options)

    async def authorization(self) -> str:
        """The header's value as it is now; empty with a client certificate."""
        return str(await self._configuration.get_api_key_with_prefix("BearerToken") or "")

    def renew(self) -> None:
        """Read the credentials again at the next request: the server did not accept them."""
        self._fresh_until = time.monotonic()

    async def _keep_fresh(self, configuration: Configuration) -> None:
        if self._refresh is None or time.monotonic() < self._fresh_until:
            return
        self._fresh_until = time.monotonic() + FRESH_SECONDS
        try:
            await self._refresh(configuration)
        except MALFORMED as error:  # a file that is just being replaced: the old credentials hold a while longer
            log.warning("the credentials could not be read again: %s", told(error))


def fence(may_write: Callable[[], bool]) -> aiohttp.TraceConfig:
    """The last look before bytes leave: a process may have been frozen since it decided to write."""

    async def look(*_: object) -> None:
        if not may_write():
            raise NotLeader("the lease is lost")

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(look)
    return trace


async def log_in(kubeconfig: str = "", context: str = "", environment: Mapping[str, str] | None = None) -> Login:
    """By the kubeconfig that is given, else by the pod's service account, else by ~/.kube/config."""
    environment = os.environ if environment is None else environment
    if not kubeconfig and not context and environment.get("KUBERNETES_SERVICE_HOST"):
        return from_service_account(environment)
    return await from_kubeconfig((kubeconfig or HOME_CONFIG).split(os.pathsep), context)


async def from_kubeconfig(names: Sequence[str], context: str) -> Login:
    """By the context of these files, which together are one kubeconfig."""
    files = [os.path.expanduser(name) for name in names if name]  # noqa: ASYNC240, PTH111 - once, at the start
    for file in files:
        if not os.path.isfile(file):  # noqa: ASYNC240, PTH113
            raise LoginFailed("there is no such kubeconfig", where=file, do="name one with --kubeconfig")
    configuration, where = Configuration(), os.pathsep.join(files)
    try:
        loader = await load_kube_config(where, context or None, configuration, False)  # type: ignore[no-untyped-call]
    except MALFORMED as error:
        raise LoginFailed(f"the kubeconfig cannot be used: {told(error)}", where=where) from None
    if configuration.tls_server_name:  # kopf could not be told of it
        raise LoginFailed("tls-server-name is not supported", where=where, do="use an address the certificate names")
    login = Login(configuration, loader.load_and_set)
    try:
        login.client(1)  # the first to read the certificates
    except OSError as error:
        raise LoginFailed(f"the certificates cannot be used: {told(error)}", where=where) from None
    return login


def from_service_account(environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Login:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT") or "443"
    configuration = Configuration(host=f"https://{f'[{host}]' if ':' in host else host}:{port}")
    configuration.ssl_ca_cert = str(folder / "ca.crt")

    async def read_token(configuration: Configuration) -> None:
        token = (folder / "token").read_text("ascii").strip()
        configuration.api_key["BearerToken"] = f"Bearer {token}"

    try:
        configuration.api_key["BearerToken"] = f"Bearer {(folder / 'token').read_text('ascii').strip()}"
    except (OSError, ValueError) as error:
        raise LoginFailed(f"the service account cannot be used: {told(error)}", where=str(folder)) from None
    return Login(configuration, read_token)


def own_namespace(folder: Path = SERVICE_ACCOUNT) -> str:
    """The namespace of the pod we are, or `default` outside of one."""
    try:
        return (folder / "namespace").read_text("ascii").strip() or "default"
    except (OSError, ValueError):
        return "default"


def told(error: BaseException) -> str:
    """In one line."""
    return " ".join(str(error).split()) or type(error).__name__
