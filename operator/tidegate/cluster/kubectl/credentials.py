"""Who asks: the headers and the client certificate that a user of a kubeconfig stands for.

Tokens, client certificates, passwords, impersonation, and exec plugins as client-go has them.  The plugin is run by
ourselves: the Python client's has no client certificates and no deadline, and takes half a second to be imported.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tidegate.cluster.errors import LoginFailed, Unauthorized
from tidegate.cluster.kubectl.kubeconfig import Context, Entry, read_bytes

EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
EXEC_EXTENSION = "client.authentication.k8s.io/exec"
PLUGIN_SECONDS = 120.0  # a person may have to log in by a browser
LOG_IN = "log in again"
Headers = tuple[tuple[str, str], ...]  # a name may come more than once


@dataclass(frozen=True, slots=True)
class Credentials:
    """Headers of every request, and a certificate with its key as PEM; neither is ever shown."""

    headers: Headers = field(default=(), repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)


def credentials(context: Context) -> Credentials:
    """What the context's user has; raises LoginFailed, or Unauthorized when a plugin gives nothing."""
    user = context.user
    if "auth-provider" in user.values:
        do = "use the exec plugin of your provider instead"
        raise LoginFailed("auth-provider is gone since Kubernetes 1.26", where=user.where, do=do)
    headers = impersonation(user)
    certificate, key = user.content("client-certificate"), user.content("client-key")
    if token := token_of(user):
        return Credentials((*headers, ("Authorization", f"Bearer {token}")), certificate, key)
    if name := user.text("username"):
        login = base64.b64encode(f"{name}:{user.text('password')}".encode()).decode()
        return Credentials((*headers, ("Authorization", f"Basic {login}")), certificate, key)
    if "exec" in user.values:
        given = plugin(context)
        return Credentials((*headers, *given.headers), given.certificate or certificate, given.key or key)
    return Credentials(headers, certificate, key)


def token_of(user: Entry) -> str:
    if path := user.path("tokenFile"):
        return one_line(read_bytes(path, user.where).decode("utf-8", "replace"), user)
    return one_line(user.text("token"), user)


def one_line(token: str, user: Entry) -> str:
    token = token.strip()
    if not token.isascii() or not token.isprintable():
        raise LoginFailed("the token is not one line of ASCII", where=user.where, do="correct the kubeconfig")
    return token


def impersonation(user: Entry) -> Headers:
    """`as` and its companions."""
    extra = user.part("as-user-extra")
    found = [("Impersonate-User", user.text("as")), ("Impersonate-Uid", user.text("as-uid"))]
    found += [("Impersonate-Group", group) for group in user.rows("as-groups", str)]
    found += [(f"Impersonate-Extra-{quote(str(key))}", value) for key in extra.values for value in extra.rows(key, str)]
    return tuple((name, value) for name, value in found if value)


# -- exec plugins


def plugin(context: Context) -> Credentials:
    """What the program that the user names says."""
    user = context.user
    wanted = user.part("exec")
    command = wanted.text("command")
    if not command:
        raise LoginFailed("exec names no command", where=user.where, do="correct the kubeconfig")
    version = wanted.text("apiVersion")
    if version not in EXEC_VERSIONS:
        do = f"write {EXEC_VERSIONS[0]}, or update the plugin"
        raise LoginFailed(f"exec has the apiVersion {version}, which is unknown", where=user.where, do=do)
    status = answer_of(ran(context, command, wanted), version, user.where, command)
    token = one_line(str(status.get("token") or ""), user)
    certificate, key = (str(status.get(name) or "") for name in ("clientCertificateData", "clientKeyData"))
    if not token and not (certificate and key):
        raise Unauthorized(f"the plugin {command} gave no credentials", where=user.where, do=LOG_IN)
    headers = (("Authorization", f"Bearer {token}"),) if token else ()
    return Credentials(headers, certificate.encode(), key.encode())


def ran(context: Context, command: str, wanted: Entry) -> bytes:
    """The plugin's standard output; its own words go to ours."""
    user = context.user
    arguments = wanted.rows("args", str)
    program = str(user.file.parent / command) if os.sep in command and not os.path.isabs(command) else command  # noqa: PTH117
    hint = (wanted.text("installHint") or "install it, or correct the kubeconfig").strip()
    if shutil.which(program) is None:
        raise LoginFailed(f"the plugin {command} is not installed", where=user.where, do=hint)
    talks = sys.stdin.isatty() and wanted.text("interactiveMode") != "Never"
    variables = {str(one.get("name")): str(one.get("value")) for one in wanted.rows("env", dict)}
    variables["KUBERNETES_EXEC_INFO"] = json.dumps(asked(context, wanted, talks=talks))
    try:
        done = subprocess.run(
            [program, *arguments],
            env={**os.environ, **variables},
            stdin=None if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=PLUGIN_SECONDS,
            check=False,
        )
    except (OSError, ValueError) as error:  # no program after all; a NUL in what it is given
        why = getattr(error, "strerror", None) or error
        raise LoginFailed(f"the plugin {command} cannot be run: {why}", where=user.where, do=hint) from None
    except subprocess.TimeoutExpired:
        what = f"the plugin {command} did not end within {PLUGIN_SECONDS:.0f} s"
        raise Unauthorized(what, where=user.where, do=LOG_IN) from None
    if done.returncode:
        what = f"the plugin {command} ended with exit code {done.returncode}"
        raise Unauthorized(what, where=user.where, do=f"{LOG_IN}; what it said is above")
    return done.stdout


def asked(context: Context, wanted: Entry, *, talks: bool) -> dict[str, Any]:
    """What the plugin is told."""
    spec: dict[str, Any] = {"interactive": talks}
    if wanted.values.get("provideClusterInfo"):
        cluster = context.cluster
        ca = base64.b64encode(cluster.content("certificate-authority")).decode()
        told = {
            "server": context.server,
            "tls-server-name": cluster.text("tls-server-name"),
            "insecure-skip-tls-verify": bool(cluster.values.get("insecure-skip-tls-verify")),
            "certificate-authority-data": ca,
            "proxy-url": cluster.text("proxy-url"),
            "config": extension(cluster),
        }
        spec["cluster"] = {name: value for name, value in told.items() if value}
    return {"apiVersion": wanted.text("apiVersion"), "kind": "ExecCredential", "spec": spec}


def extension(cluster: Entry) -> Any:
    rows = cluster.rows("extensions", dict)
    return next((row.get("extension") for row in rows if row.get("name") == EXEC_EXTENSION), None)


def answer_of(output: bytes, version: str, where: str, command: str) -> Mapping[str, Any]:
    """The status of an ExecCredential; what was said is not shown: it may hold a token."""
    try:
        said = json.loads(output)
        status = said["status"]
        good = said["kind"] == "ExecCredential" and said["apiVersion"] == version and isinstance(status, Mapping)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        what = f"the plugin {command} does not answer with an ExecCredential of {version}"
        raise Unauthorized(what, where=where, do="update the plugin, or correct apiVersion in the kubeconfig")
    assert isinstance(status, Mapping)
    return status
