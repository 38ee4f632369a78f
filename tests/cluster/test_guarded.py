"""Servers with tokens and TLS from Secrets in a cluster: shut to strangers, open to the operator, rotated in place."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.cluster.operating import Operator, Site, ready
from tests.control_plane.plane import Plane
from tests.local.local_run import INPUT, bundles
from tests.runtime.certificates import Files
from tests.runtime.known_clients import bearer, lines
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
GUARDED = {
    "auth": {"secretRef": {"name": "clients"}},
    "tls": {"secretRef": {"name": "fraud-tls"}, "clientCertificates": "Require"},
}
PATIENCE = 60.0


@pytest.fixture
def site(control_plane: Plane, namespace: str, tmp_path: Path) -> Site:
    found = Site(control_plane, namespace)
    found.mount(bundles(tmp_path / "store"))
    return found


def secret(site: Site, name: str, **content: bytes) -> None:
    keys = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in content.items()}
    meta = {"name": name, "namespace": site.namespace}
    site.plane.client.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": keys})


def ask(site: Site, tls: ssl.SSLContext, client: str) -> int:
    """The status that a client gets from the pod that the front Service leads to."""
    (address,) = site.endpoints()
    request = urllib.request.Request(
        f"https://{address}:8080/v2/models/fraud/infer", json.dumps(INPUT).encode(), bearer(client)
    )
    try:
        with urllib.request.urlopen(request, timeout=5, context=tls) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_guarded_servers_are_promoted_and_take_up_a_changed_secret_without_a_restart(
    operator: Operator, site: Site, tmp_path: Path
) -> None:
    files = Files(tmp_path / "tls")
    tls, without = files.trusting(files.client("gateway")), files.trusting()
    tls.check_hostname = without.check_hostname = False  # pods have addresses of their own
    secret(site, "clients", clients=lines("ana"))
    secret(
        site, "fraud-tls", tls_crt=files.certificate.read_bytes(), tls_key=files.key.read_bytes(),
        ca_crt=files.ca.read_bytes(),
    )  # fmt: skip

    site.apply("v1", runtime=GUARDED)
    site.until_serving("v1", PATIENCE)
    assert (ask(site, tls, "ana"), ask(site, tls, "eve")) == (200, 401)
    with pytest.raises(OSError, match=r"certificate required|reset|closed|EOF"):
        ask(site, without, "ana")
    assert {port["appProtocol"] for port in site.front()["spec"]["ports"]} == {"https"}

    before = site.servers()
    secret(site, "clients", clients=lines("eve"))
    wait_until(lambda: ask(site, tls, "eve") == 200, "the new client is let in", PATIENCE)
    assert ask(site, tls, "ana") == 401
    after = site.servers()
    assert [pod["metadata"]["uid"] for pod in after] == [pod["metadata"]["uid"] for pod in before]
    assert all(row["restartCount"] == 0 for pod in after for row in pod["status"]["containerStatuses"])


def test_without_its_secret_a_version_waits_and_says_what_it_lacks(operator: Operator, site: Site) -> None:
    site.apply("v1", runtime={"auth": GUARDED["auth"]})
    site.until(lambda one: "clients: it cannot be read" in str((one.get("status") or {}).get("conditions")), PATIENCE)
    assert not any(ready(pod) for pod in site.servers())

    secret(site, "clients", clients=lines("ana"))
    site.until_serving("v1", PATIENCE)
