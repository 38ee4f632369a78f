"""Who may ask: the checks between a request and the dashboard.

- A web page elsewhere can let a name of its own lead to 127.0.0.1 (DNS rebinding); its requests then carry that name.
  So the Host must be an address, `localhost` or a name that was allowed: an address cannot be made to lead elsewhere.
- On a laptop other people and programs can connect too: everything but the page's own files needs the token of the URL
  that was printed.  It travels in a header of ours, which a foreign page may not send, and never in an address.
- An act needs the page's own Origin as well.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection, Mapping

TOKEN = "X-Tidegate-Token"  # noqa: S105 - the name of a header
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


def name_of(host: str) -> str:
    """The name or address in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host


def host_is_ours(host: str, names: Collection[str]) -> bool:
    """Whether a request with this Host header was meant for us."""
    name = name_of(host).lower().rstrip(".")
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that another site's page asks."""
    return headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")


def knows(token: str, headers: Mapping[str, str]) -> bool:
    told = headers.get(TOKEN, "").encode(errors="surrogateescape")  # the bytes as they came
    return secrets.compare_digest(told, token.encode())


def acts_from_our_page(headers: Mapping[str, str]) -> bool:
    """Whether the page that acts came from us."""
    return headers.get("Origin", "") == f"http://{headers.get('Host', '')}"
