"""A kubeconfig means what it means to kubectl, and what is wrong with it is said without showing what is in it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.cluster.errors import LoginFailed
from tidegate.cluster.kubectl.credentials import credentials
from tidegate.cluster.kubectl.kubeconfig import find_context, is_configured

from .conftest import SERVER, Write


def test_the_current_context_says_cluster_user_and_namespace(kubeconfig: Write) -> None:
    context = find_context(kubeconfig(), "")

    assert (context.name, context.namespace, context.server) == ("here", "of-here", SERVER)
    assert credentials(context).headers == (("Authorization", "Bearer secret"),)


def test_a_context_without_a_namespace_means_default(kubeconfig: Write) -> None:
    bare = [{"name": "here", "context": {"cluster": "here", "user": "here"}}]

    assert find_context(kubeconfig(contexts=bare), "").namespace == "default"


def test_several_files_are_one_and_of_two_with_one_name_the_first_counts(kubeconfig: Write, tmp_path: Path) -> None:
    first = kubeconfig("a", file="first", **{"current-context": ""})
    second = kubeconfig("b", file="second")
    third = kubeconfig("a", file="third", user={"token": "another"})
    listed = os.pathsep.join(map(str, (tmp_path / "missing", first, second, third)))

    current = find_context(None, "", {"KUBECONFIG": listed})
    named = find_context(None, "a", {"KUBECONFIG": listed})

    assert current.name == "b"
    assert credentials(named).headers == (("Authorization", "Bearer secret"),)


def test_without_kubeconfig_it_is_the_one_at_home(
    kubeconfig: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kubeconfig("home", file=".kube/config")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert find_context(None, "", {}).name == "home"
    assert is_configured({})


def test_paths_are_relative_to_the_file_that_names_them(kubeconfig: Write, tmp_path: Path) -> None:
    path = kubeconfig(file="deep/config", user={"tokenFile": "token"})
    (tmp_path / "deep/token").write_text("from a file\n")

    assert credentials(find_context(path, "")).headers == (("Authorization", "Bearer from a file"),)


def test_a_login_by_name_and_one_by_certificate_are_known(kubeconfig: Write) -> None:
    by_name = find_context(kubeconfig(user={"username": "me", "password": "pass"}), "")
    by_certificate = find_context(
        kubeconfig(file="other", user={"client-certificate-data": encoded("cert"), "client-key-data": encoded("key")}),
        "",
    )

    assert credentials(by_name).headers == (("Authorization", f"Basic {encoded('me:pass')}"),)
    assert (credentials(by_certificate).certificate, credentials(by_certificate).key) == (b"cert", b"key")


def test_who_acts_as_somebody_else_says_so(kubeconfig: Write) -> None:
    user = {"token": "t", "as": "boss", "as-groups": ["a", "b"], "as-user-extra": {"why": ["night"]}}

    headers = credentials(find_context(kubeconfig(user=user), "")).headers

    assert [pair for pair in headers if pair[0].startswith("Impersonate")] == [
        ("Impersonate-User", "boss"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-why", "night"),
    ]


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"as-groups": "admins"}, "as-groups is not a list of texts"),
        ({"as-user-extra": ["why"]}, "as-user-extra is no mapping"),
        ({"as-user-extra": {"why": "night"}}, "why is not a list of texts"),
    ],
)
def test_whoever_is_impersonated_in_a_wrong_form_is_refused(
    kubeconfig: Write, user: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoginFailed, match=words):
        credentials(find_context(kubeconfig(user={"token": "t", "as": "boss", **user}), ""))


def test_in_a_pod_it_is_the_service_account_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.cluster.kubectl.kubeconfig.SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert not is_configured(environment)
    (tmp_path / "namespace").write_text("shop")
    (tmp_path / "token").write_text("of the pod")

    context = find_context(None, "", environment)

    assert is_configured(environment)

    assert (context.server, context.namespace) == ("https://[fd00::1]:443", "shop")
    assert credentials(context).headers == (("Authorization", "Bearer of the pod"),)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("users:\n\t- secret", "config:2: the kubeconfig is not YAML"),
        ("just secret words", "this is no kubeconfig"),
        ("users: {secret: 1}", "this is no kubeconfig"),
        ("users: [{user: {token: secret}}]", "an entry of users has no name"),
        ("users: [{name: me, user: secret}]", "user me is no mapping"),
        ("", "no context is chosen: add --context: none"),
        ("current-context: x", "there is no context x: known are: none"),
    ],
)
def test_a_broken_file_is_named_and_its_words_are_not_shown(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    with pytest.raises(LoginFailed) as caught:
        find_context(path, "")

    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"users": []}, "context here: there is no user here"),
        ({"clusters": []}, "context here: there is no cluster here"),
        ({"clusters": [{"name": "here", "cluster": {}}]}, "cluster here: the cluster has no server"),
        ({"user": {"token": 5}}, "user here: token is not a text"),
        ({"user": {"token": "sec\nret"}}, "user here: the token is not one line of ASCII"),
        ({"user": {"tokenFile": "nowhere"}}, "nowhere cannot be read: No such file or directory"),
        ({"user": {"client-certificate-data": "?"}}, "user here: client-certificate-data is not base64"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "auth-provider is gone since Kubernetes 1.26"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(kubeconfig: Write, parts: dict[str, Any], words: str) -> None:
    path = kubeconfig(**parts)

    with pytest.raises(LoginFailed) as caught:
        credentials(find_context(path, ""))

    assert words in str(caught.value)
    assert "sec" not in str(caught.value)


def test_an_unknown_context_lists_the_known_ones(kubeconfig: Write) -> None:
    with pytest.raises(LoginFailed, match="there is no context there: known are: here"):
        find_context(kubeconfig(), "there")


@pytest.mark.parametrize("named", [lambda path: {"KUBECONFIG": str(path)}, lambda path: {"HOME": "x"}])
def test_no_kubeconfig_at_all_says_where_one_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: Callable[[Path], dict[str, str]]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(LoginFailed, match=r"there is no kubeconfig: set KUBECONFIG"):
        find_context(None, "", named(tmp_path / "missing"))
    assert not is_configured(named(tmp_path / "missing"))


def test_a_kubeconfig_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(LoginFailed, match="there is no such kubeconfig"):
        find_context(tmp_path / "missing", "")
