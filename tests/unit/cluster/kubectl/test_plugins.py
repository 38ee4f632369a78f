"""Plugins that log people in: real programs, and what each of their faults is told as."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.cluster.errors import LoginFailed, Unauthorized
from tidegate.cluster.kubectl import credentials as module
from tidegate.cluster.kubectl.credentials import Credentials, credentials
from tidegate.cluster.kubectl.kubeconfig import find_context

from .conftest import SERVER, Write

VERSION = "client.authentication.k8s.io/v1"
LogIn = Callable[..., Credentials]


def credential(**status: str) -> str:
    return json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status})


@pytest.fixture
def log_in(kubeconfig: Write, tmp_path: Path) -> LogIn:
    """The credentials that a shell script gives, which lies beside the kubeconfig and is named without a folder."""

    def run(script: str, **parts: Any) -> Credentials:
        program = tmp_path / "plugin"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        user = {"exec": {"apiVersion": VERSION, "command": "./plugin", **parts}}
        return credentials(find_context(kubeconfig(user=user), ""))

    return run


def test_a_plugin_gives_a_token(log_in: LogIn) -> None:
    script = f"""echo '{credential(token="TOKEN")}' | sed "s/TOKEN/$1-$LOGIN/" """

    found = log_in(script, args=["for"], env=[{"name": "LOGIN", "value": "me"}])

    assert found.headers == (("Authorization", "Bearer for-me"),)


def test_a_plugin_gives_a_certificate(log_in: LogIn) -> None:
    found = log_in(f"echo '{credential(clientCertificateData='cert', clientKeyData='key')}'")

    assert (found.headers, found.certificate, found.key) == ((), b"cert", b"key")


def test_a_plugin_is_told_of_the_cluster_when_it_wants_to_know(log_in: LogIn, tmp_path: Path) -> None:
    script = f"echo \"$KUBERNETES_EXEC_INFO\" > {tmp_path}/told; echo '{credential(token='t')}'"

    log_in(script, provideClusterInfo=True)

    told = json.loads((tmp_path / "told").read_text())
    assert (told["apiVersion"], told["kind"], told["spec"]["cluster"]["server"]) == (VERSION, "ExecCredential", SERVER)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 7", "the plugin ./plugin ended with exit code 7: log in again"),
        ("echo secret", "does not answer with an ExecCredential"),
        (f"echo '{credential()}'", "gave no credentials: log in again"),
        (f"echo '{credential(token='t')}' | sed s/v1/v1beta1/", "does not answer with an ExecCredential"),
    ],
)
def test_a_plugin_that_gives_nothing_means_to_log_in_again(log_in: LogIn, script: str, words: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        log_in(script)

    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_plugin_that_hangs_is_given_up(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLUGIN_SECONDS", 0.2)

    with pytest.raises(Unauthorized, match="did not end within"):
        log_in("exec sleep 60")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"command": "no-such-plugin", "installHint": "get it from us"}, "not installed: get it from us"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1, which is unknown"),
        ({"command": None}, "exec names no command"),
        ({"command": ["a"]}, "command is not a text"),
        ({"args": "--login"}, "args is not a list of texts"),
        ({"args": ["a\0b"]}, "the plugin ./plugin cannot be run"),
        ({"env": ["HOME"]}, "env is not a list of mappings"),
    ],
)
def test_a_plugin_that_cannot_be_run_says_why(log_in: LogIn, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(LoginFailed) as caught:
        log_in("exit 0", **parts)

    assert words in str(caught.value)


def test_a_plugin_for_another_machine_says_so(log_in: LogIn, tmp_path: Path) -> None:
    log_in(f"echo '{credential(token='t')}'")
    elf = tmp_path / "other"
    elf.write_bytes(b"\x7fELF\0")
    elf.chmod(0o755)

    with pytest.raises(LoginFailed, match=r"the plugin \./other cannot be run: Exec format error"):
        log_in("exit 0", command="./other")


def test_credentials_are_in_no_text_of_theirs(log_in: LogIn) -> None:
    found = log_in(f"echo '{credential(token='hidden', clientCertificateData='hidden', clientKeyData='hidden')}'")

    assert "hidden" not in repr(found)
