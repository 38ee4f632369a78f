"""How a context's server is reached: by its proxy, with the kubeconfig's trust; and what the network's errors mean."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import SSLError

from tidegate.cluster.errors import ApiDown, ClusterError, LoginFailed
from tidegate.cluster.kubectl.credentials import Credentials
from tidegate.cluster.kubectl.kubeconfig import Context

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0


class CertificateInvalid(ClusterError):
    """Whoever answers cannot show that it is the server."""

    reason = "CertificateInvalid"


def pool(context: Context, who: Credentials) -> urllib3.PoolManager:
    """A pool to the context's server, by its proxy where there is one."""
    server = urlsplit(context.server)
    if server.scheme not in ("http", "https") or not server.hostname:
        raise LoginFailed("the server is no http(s) address", where=context.cluster.where, do="correct the kubeconfig")
    options: dict[str, Any] = {
        "retries": False,
        "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
    }
    if server.scheme == "https":
        options["ssl_context"] = tls(context, who)
        if name := context.cluster.text("tls-server-name"):
            options["server_hostname"] = name
    proxy = proxy_of(context, server.scheme, server.hostname)
    if not proxy:
        return urllib3.PoolManager(**options)
    try:
        return urllib3.ProxyManager(proxy, **options)
    except (urllib3.exceptions.ProxySchemeUnknown, urllib3.exceptions.LocationParseError):
        raise LoginFailed(
            "only http:// and https:// proxies are supported", where=context.cluster.where, do="change proxy-url"
        ) from None


def proxy_of(context: Context, scheme: str, host: str) -> str:
    """The kubeconfig's proxy, else the environment's (HTTPS_PROXY, NO_PROXY)."""
    if named := context.cluster.text("proxy-url"):
        return named
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    return "" if proxy_bypass(host) or in_a_network(host, proxies.get("no", "")) else proxies.get(scheme, "")


def in_a_network(host: str, listed: str) -> bool:
    """Whether an address is in one of the networks of NO_PROXY (10.0.0.0/8), which Go knows and Python does not."""
    from ipaddress import ip_address, ip_network

    try:
        address = ip_address(host)
    except ValueError:
        return False
    for entry in listed.split(","):
        with contextlib.suppress(ValueError):  # a name
            if "/" in entry and address in ip_network(entry.strip(), strict=False):
                return True
    return False


def tls(context: Context, who: Credentials) -> ssl.SSLContext:
    """Whom to trust, and our own certificate; raises LoginFailed for bytes that are no certificates."""
    cluster = context.cluster
    authority = cluster.content("certificate-authority")
    try:
        made = ssl.create_default_context(cadata=authority.decode("ascii") or None)  # None: those of the system
    except (ssl.SSLError, ValueError):
        what, do = "certificate-authority holds no certificate in PEM", "correct the kubeconfig"
        raise LoginFailed(what, where=cluster.where, do=do) from None
    # Go's clients accept authorities without key identifiers; Python 3.13 does not unless told.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cluster.values.get("insecure-skip-tls-verify"):
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # whoever wrote the flag knows
    if who.certificate:
        load_certificate(made, who, context.user.where)
    return made


def load_certificate(made: ssl.SSLContext, who: Credentials, where: str) -> None:
    """The ssl module reads keys from files only: one that nobody else can read, for a moment."""
    with tempfile.NamedTemporaryFile(prefix="tidegate-") as file:  # mode 0600
        file.write(who.certificate + b"\n" + who.key)
        file.flush()
        try:
            made.load_cert_chain(Path(file.name), password="")  # else a key with one would be asked for
        except (ssl.SSLError, ValueError):
            what, do = "client-certificate and client-key are no pair in PEM", "log in again"
            raise LoginFailed(what, where=where, do=do) from None


def distrusted(error: SSLError, context: Context) -> ClusterError:
    """TLS that failed: a certificate that does not fit, or something that speaks no TLS."""
    verification = next((one for one in chain(error) if isinstance(one, ssl.SSLCertVerificationError)), None)
    if verification is None:
        do = "check the server's address in the kubeconfig"
        return ApiDown(f"the TLS handshake failed: {cause(error)}", where=context.server, do=do)
    what = f"the server's certificate is not trusted: {verification.verify_message}"
    return CertificateInvalid(what, where=context.server, do="correct certificate-authority in the kubeconfig")


def chain(error: BaseException) -> list[BaseException]:
    """An error and what it came of; urllib3 wraps the reason in an argument."""
    found: list[BaseException] = [error]
    while True:
        last = found[-1]
        reasons = [one for one in (*last.args, last.__cause__, last.__context__) if isinstance(one, BaseException)]
        following = next((one for one in reasons if one not in found), None)
        if following is None:
            return found
        found.append(following)


def cause(error: BaseException) -> str:
    """The system's own words, such as `Connection refused`."""
    said = [one for one in chain(error) if isinstance(one, OSError) and one.strerror]
    if said:
        return str(said[0].strerror)
    return "no answer in time" if isinstance(error, urllib3.exceptions.TimeoutError) else type(error).__name__
