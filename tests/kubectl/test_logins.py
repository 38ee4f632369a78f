"""Each way of being somebody at a real API server, and each way there."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.control_plane.pki import FRONT_PROXY
from tests.control_plane.users import ADMIN, write_kubeconfig
from tests.kubectl.conftest import Kubectl, Site

from tidegate.cluster.kubectl.kubeconfig import Context, Entry
from tidegate.cluster.kubectl.reaching import proxy_of

EMPTY = (0, "there is no ModelDeployment here\n", "")
Write = Callable[..., str]


@pytest.fixture
def kubeconfig(site: Site) -> Write:
    """The admin's kubeconfig, with another user or a cluster's entries added."""

    def write(user: Mapping[str, Any] | None = None, **cluster: Any) -> str:
        path = write_kubeconfig(site.folder / "other", site.plane.url, site.plane.ca, ADMIN.token, site.namespace)
        document = json.loads(path.read_text())
        document["clusters"][0]["cluster"] |= cluster
        document["users"][0]["user"] = dict(user) if user else {"token": ADMIN.token}
        path.write_text(json.dumps(document))
        return str(path)

    return write


def test_a_certificate_is_a_login_from_a_file_and_from_data(site: Site, kubectl: Kubectl, kubeconfig: Write) -> None:
    pki = site.plane.place.pki
    files = {"client-certificate": str(pki.front_proxy), "client-key": str(pki.front_proxy_key)}
    data = {f"{name}-data": base64.b64encode(Path(file).read_bytes()).decode() for name, file in files.items()}

    for user in (files, data):
        code, _, error = kubectl("status", "--kubeconfig", kubeconfig(user))

        assert code == 1
        assert f"{FRONT_PROXY} may not list modeldeployments" in error


def test_who_acts_as_somebody_else_has_their_rights(site: Site, kubectl: Kubectl, kubeconfig: Write) -> None:
    nobody = kubeconfig({"token": ADMIN.token, "as": "someone"})
    assert "someone may not list modeldeployments" in kubectl("status", "--kubeconfig", nobody)[2]

    boss = kubeconfig({"token": ADMIN.token, "as": "someone", "as-groups": ["others", "system:masters"]})
    assert kubectl("status", "--kubeconfig", boss) == EMPTY


def test_the_server_may_be_known_by_another_name(site: Site, kubectl: Kubectl, kubeconfig: Write) -> None:
    right = kubeconfig(**{"tls-server-name": "kubernetes.default.svc"})
    assert kubectl("status", "--kubeconfig", right) == EMPTY

    code, _, error = kubectl("status", "--kubeconfig", kubeconfig(**{"tls-server-name": "wrong.example"}))
    assert code == 1
    assert "the server's certificate is not trusted" in error


def test_a_proxy_is_used_and_its_silence_told(site: Site, kubectl: Kubectl, kubeconfig: Write) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        by_nobody = kubeconfig(**{"proxy-url": f"http://127.0.0.1:{nobody.getsockname()[1]}"})

        code, _, error = kubectl("status", "--kubeconfig", by_nobody)

    assert code == 5
    assert "does not answer: Connection refused" in error


def test_a_proxy_of_another_kind_is_refused(site: Site, kubectl: Kubectl, kubeconfig: Write) -> None:
    code, _, error = kubectl("status", "--kubeconfig", kubeconfig(**{"proxy-url": "socks5://127.0.0.1:1080"}))

    assert code == 2
    assert "only http:// and https:// proxies are supported" in error


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "10.1.2.3"}, ""),
        ({"HTTP_PROXY": "http://proxy:3128"}, ""),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost, 10.0.0.0/8"}, ""),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "192.168.0.0/16"}, "http://proxy:3128"),
    ],
)
def test_the_environment_names_a_proxy_as_everywhere(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxy: str
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    nothing = Entry("cluster", "here", {}, Path("config"))

    assert proxy_of(Context("here", "default", nothing, nothing), "https", "10.1.2.3") == proxy
