"""Everything that can stand between a person and their deployment: what is said, and with which exit code."""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.control_plane.plane import Plane, start_api
from tests.control_plane.users import ADMIN, write_kubeconfig
from tests.kubectl.conftest import GROUP, Kubectl, Site

MODELS = {"apiGroups": [GROUP], "resources": ["modeldeployments"]}


def told(error: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(error)["error"]
    return found


# -- the kubeconfig


def test_no_kubeconfig(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))

    code, said, error = kubectl("status")

    assert (code, said) == (2, "")
    assert error == (
        f"error: {tmp_path}/missing: there is no kubeconfig: set KUBECONFIG, or name one with --kubeconfig\n"
    )


def test_a_broken_kubeconfig(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("users:\n\t- token")

    code, _, error = kubectl("promote", "fraud", "--kubeconfig", str(tmp_path / "broken"), "-o", "json")

    assert code == 2
    assert told(error) == {
        "reason": "LoginFailed", "what": "the kubeconfig is not YAML", "where": f"{tmp_path}/broken:2",
        "do": "correct it, or name another",
    }  # fmt: skip


def test_an_unknown_context(site: Site, kubectl: Kubectl) -> None:
    code, _, error = kubectl("status", "--context", "production")

    assert code == 2
    assert "there is no context production: known are: tests" in error


# -- who asks


def test_credentials_that_have_expired(site: Site, kubectl: Kubectl, tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "expired", site.plane.url, site.plane.ca, "expired")

    code, _, error = kubectl("status", "--kubeconfig", str(path), "-o", "json")

    assert code == 1
    assert told(error) == {
        "reason": "ApiUnauthorized",
        "what": "the API server does not accept the credentials of user tests",
        "where": "context tests",
        "do": "they may have expired: log in again, or choose another --context",
    }


def test_a_login_that_runs_out_while_one_waits_is_renewed(
    site: Site, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin whose first token is no good (any more), and whose second is."""
    monkeypatch.setattr("tidegate.cluster.kubectl.connection.FRESH_SECONDS", -1.0)
    version = "client.authentication.k8s.io/v1"
    said = f'{{"apiVersion": "{version}", "kind": "ExecCredential", "status": {{"token": "TOKEN"}}}}'
    plugin = site.folder / "plugin"
    plugin.write_text(
        f"#!/bin/sh\ncd {site.folder}\n[ -e asked ] && token={ADMIN.token} || token=expired\n"
        f"touch asked\necho '{said}' | sed s/TOKEN/$token/\n"
    )
    plugin.chmod(0o755)
    path = write_kubeconfig(site.folder / "plugged", site.plane.url, site.plane.ca, "", site.namespace)
    document = json.loads(path.read_text())
    document["users"][0]["user"] = {"exec": {"apiVersion": version, "command": str(plugin)}}
    path.write_text(json.dumps(document))

    assert kubectl("status", "--kubeconfig", str(path)) == (0, "there is no ModelDeployment here\n", "")


@pytest.mark.parametrize(
    ("command", "verb"), [(("status", "fraud"), "get"), (("status",), "list"), (("promote", "fraud"), "get")]
)
def test_without_rights_the_missing_one_is_named(
    stranger: Site, kubectl: Kubectl, command: tuple[str, ...], verb: str
) -> None:
    code, _, error = kubectl(*command, "-o", "json")

    assert code == 1
    found = told(error)
    assert found["reason"] == "Forbidden"
    assert found["what"] == f"stranger may not {verb} modeldeployments.{GROUP} in namespace {stranger.namespace}"
    assert f"`kubectl auth can-i {verb} modeldeployments.{GROUP} -n {stranger.namespace}` tells" in found["do"]


def test_who_may_look_but_not_act_is_told_so(stranger: Site, kubectl: Kubectl) -> None:
    stranger.deploy()
    stranger.grant({**MODELS, "verbs": ["get", "list"]})

    looked, _, _ = kubectl("history", "fraud")
    code, _, error = kubectl("promote", "fraud")

    assert (looked, code) == (0, 1)
    assert f"stranger may not patch modeldeployments.{GROUP} in namespace {stranger.namespace}" in error
    assert stranger.annotations() == {}


def test_who_may_not_list_pods_sees_the_rest(stranger: Site, kubectl: Kubectl) -> None:
    stranger.deploy()
    stranger.grant({**MODELS, "verbs": ["get"]})

    code, said, _ = kubectl("status", "fraud")

    assert code == 0
    assert "1.5.0 (3f6f694c2a)" in said
    assert f"pods are not shown: stranger may not list pods in namespace {stranger.namespace}" in said


# -- what is asked for


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["fraud-eu", "churn"], "did you mean fraud-eu?"),
        (["churn", "spam"], "there are: churn, spam"),
        ([], "there is none here: name its namespace with -n"),
    ],
)
def test_an_unknown_name_lists_the_nearest(site: Site, kubectl: Kubectl, names: list[str], words: str) -> None:
    for name in names:
        site.deploy(name, status=None)

    code, _, error = kubectl("promote", "fraud", "-o", "json")

    assert code == 1
    found = told(error)
    assert (found["reason"], found["what"]) == ("NotFound", "there is no ModelDeployment fraud")
    assert found["where"].startswith(f"namespace {site.namespace} of context tests")
    assert found["do"] == words


def test_a_name_that_could_be_a_path_is_only_a_name(site: Site, kubectl: Kubectl) -> None:
    code, _, error = kubectl("status", "../../../v1/secrets")

    assert code == 1
    assert "there is no ModelDeployment ../../../v1/secrets" in error


@pytest.fixture(scope="module")
def without_crd() -> Iterator[Plane]:
    with ExitStack() as stack:
        yield start_api(stack)


@pytest.mark.parametrize("command", [("status",), ("status", "fraud"), ("promote", "fraud"), ("wait", "fraud")])
def test_a_cluster_without_the_crd(
    site: Site, without_crd: Plane, kubectl: Kubectl, tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = without_crd.client.kubeconfig(tmp_path / "bare")

    code, _, error = kubectl(*command, "--kubeconfig", str(path), "-o", "json")

    assert code == 1
    found = told(error)
    assert (found["reason"], found["what"]) == ("CrdMissing", "this cluster does not know ModelDeployments")
    assert "tidegate crd | kubectl apply" in found["do"]


# -- the way there


class Answers(socketserver.BaseRequestHandler):
    """Reads a request and says what its server was told to say."""

    def handle(self) -> None:
        self.request.recv(65536)
        said = self.server.said  # type: ignore[attr-defined]
        if said is None:
            self.server.over.wait(20)  # type: ignore[attr-defined]
        else:
            self.request.sendall(said)


@contextmanager
def answering(said: bytes | None) -> Iterator[str]:
    """The address of something that is no API server; None: it says nothing."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers) as server:
        server.said, server.over = said, threading.Event()  # type: ignore[attr-defined]
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.over.set()  # type: ignore[attr-defined]
            server.shutdown()
            serving.join()


def at(address: str, site: Site) -> str:
    return str(write_kubeconfig(site.folder / "elsewhere", address, site.plane.ca, "token"))


def test_an_api_server_that_cannot_be_reached(site: Site, kubectl: Kubectl) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{nobody.getsockname()[1]}"

        code, _, error = kubectl("promote", "fraud", "--kubeconfig", at(address, site), "-o", "json")

    assert code == 5
    assert told(error) == {
        "reason": "ApiDown",
        "what": "the API server does not answer: Connection refused",
        "where": address,
        "do": "check the network and the server's address in the kubeconfig",
    }


def test_an_api_server_whose_name_is_unknown(site: Site, kubectl: Kubectl) -> None:
    code, _, error = kubectl("status", "--kubeconfig", at("https://cluster.invalid", site))

    assert code == 5
    assert error.startswith("error: https://cluster.invalid: the API server does not answer: ")


def test_an_api_server_that_says_nothing(site: Site, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.cluster.kubectl.reaching.ANSWER_SECONDS", 0.3)

    with answering(None) as address:
        code, _, error = kubectl("status", "--kubeconfig", at(f"http://{address}", site))

    assert code == 5
    assert "the API server does not answer: no answer in time" in error


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 6\r\n\r\nsorry!", 5, "the API server answered 503"),
        (b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n", 5, "the API server answered 429"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 1, "does not answer as an API server"),
        (
            b"HTTP/1.1 302 Go\r\nLocation: http://x.invalid/\r\nContent-Length: 0\r\n\r\n",
            1,
            "does not answer as an API",
        ),
        (b"SSH-2.0-OpenSSH\r\n", 5, "the API server does not answer"),
    ],
)
def test_something_that_is_no_api_server(site: Site, kubectl: Kubectl, answer: bytes, code: int, words: str) -> None:
    with answering(answer) as address:
        ended, _, error = kubectl("status", "--kubeconfig", at(f"http://{address}", site))

    assert ended == code
    assert words in error


def test_a_server_that_speaks_no_tls(site: Site, kubectl: Kubectl) -> None:
    with answering(b"hello") as address:
        code, _, error = kubectl("status", "--kubeconfig", at(f"https://{address}", site))

    assert code == 5
    assert "the TLS handshake failed" in error


def test_a_server_whose_certificate_is_not_trusted(site: Site, kubectl: Kubectl) -> None:
    path = site.folder / "distrustful"
    write_kubeconfig(path, site.plane.url, site.plane.ca, "token")
    document = json.loads(path.read_text())
    del document["clusters"][0]["cluster"]["certificate-authority"]
    path.write_text(json.dumps(document))

    code, _, error = kubectl("status", "--kubeconfig", str(path), "-o", "json")

    assert code == 1
    found = told(error)
    assert found["reason"] == "CertificateInvalid"
    assert found["what"].startswith("the server's certificate is not trusted: ")
    document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    path.write_text(json.dumps(document))
    assert kubectl("status", "--kubeconfig", str(path))[0] == 1
    assert "does not accept the credentials" in kubectl("status", "--kubeconfig", str(path))[2]


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(site: Site, kubectl: Kubectl) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    path = write_kubeconfig(site.folder / "locked", site.plane.url, site.plane.ca, "")
    document = json.loads(path.read_text())
    certificate = site.plane.ca.read_bytes()
    document["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(locked).decode(),
    }
    path.write_text(json.dumps(document))

    code, _, error = kubectl("status", "--kubeconfig", str(path))

    assert code == 2
    assert "user tests: client-certificate and client-key are no pair in PEM: log in again" in error


def test_waiting_outlives_a_server_that_is_away_but_not_its_own_time(site: Site, kubectl: Kubectl) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{nobody.getsockname()[1]}"

        code, _, error = kubectl("wait", "fraud", "--timeout", "1s", "--kubeconfig", at(address, site))

    assert code == 5
    assert "the API server does not answer: Connection refused" in error
