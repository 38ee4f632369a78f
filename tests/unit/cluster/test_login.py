from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.client.configuration import Configuration

from tidegate.cluster import login as login_module
from tidegate.cluster.errors import LoginFailed
from tidegate.cluster.login import Login, from_service_account, log_in, own_namespace

CLUSTERS = {"a": "http://127.0.0.1:1", "b": "http://127.0.0.1:2"}


def kubeconfig(folder: Path, name: str = "config", **user: Any) -> Path:
    path = folder / name
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": [{"name": key, "cluster": {"server": url}} for key, url in CLUSTERS.items()],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": key, "context": {"cluster": key, "user": "u"}} for key in CLUSTERS],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def account(folder: Path, token: str = "first") -> Path:
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_text("")
    (folder / "namespace").write_text("tidegate-system\n")
    return folder


def aged(login: Login) -> None:
    """A minute has passed."""
    login.renew()


def test_a_kubeconfig_gives_address_and_token(tmp_path: Path) -> None:
    login = asyncio.run(log_in(str(kubeconfig(tmp_path, token="t0ken")), environment={}))

    assert login.server == CLUSTERS["a"]
    assert asyncio.run(login.authorization()) == "Bearer t0ken"


def test_another_context_can_be_named(tmp_path: Path) -> None:
    login = asyncio.run(log_in(str(kubeconfig(tmp_path)), "b", {}))

    assert login.server == CLUSTERS["b"]
    assert asyncio.run(login.authorization()) == ""


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")

    async def story() -> list[str]:
        login = await log_in(str(kubeconfig(tmp_path, tokenFile=str(token))), environment={})
        found = [await login.authorization()]
        token.write_text("second")
        found.append(await login.authorization())
        aged(login)
        return [*found, await login.authorization()]

    assert asyncio.run(story()) == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_token_that_cannot_be_read_again_leaves_the_old_one(tmp_path: Path) -> None:
    login = from_service_account({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, account(tmp_path))
    (tmp_path / "token").unlink()
    aged(login)

    assert asyncio.run(login.authorization()) == "Bearer first"


def test_in_a_pod_it_is_the_service_account(tmp_path: Path) -> None:
    async def story() -> list[str]:
        environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
        login = from_service_account(environment, account(tmp_path))
        found = [login.server, await login.authorization()]
        (tmp_path / "token").write_text("second\n")
        aged(login)
        return [*found, await login.authorization()]

    assert asyncio.run(story()) == ["https://10.0.0.1:6443", "Bearer first", "Bearer second"]


def test_addresses_of_the_sixth_version_are_put_in_brackets(tmp_path: Path) -> None:
    login = from_service_account({"KUBERNETES_SERVICE_HOST": "fd00::1"}, account(tmp_path))

    assert login.server == "https://[fd00::1]:443"


def test_a_kubeconfig_that_is_named_goes_before_the_pods_account(tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}

    assert asyncio.run(log_in(str(kubeconfig(tmp_path)), environment=environment)).server == CLUSTERS["a"]


def test_several_files_are_one_kubeconfig(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "from-users"}}]}))
    rest = kubeconfig(tmp_path)
    document = yaml.safe_load(rest.read_text())
    del document["users"]
    rest.write_text(yaml.safe_dump(document))

    login = asyncio.run(log_in(f"{rest}{os.pathsep}{users}", environment={}))

    assert asyncio.run(login.authorization()) == "Bearer from-users"


@pytest.mark.parametrize("text", ["", "[]", "a: [", "current-context: a", "contexts: 5\ncurrent-context: a", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    with pytest.raises(LoginFailed, match="config: the kubeconfig cannot be used"):
        asyncio.run(log_in(str(path), environment={}))


def test_what_is_wrong_with_a_kubeconfig_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("a: [")

    with pytest.raises(LoginFailed) as raised:
        asyncio.run(log_in(str(path), environment={}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("field", ["certificate-authority", "client-certificate"])
def test_certificates_that_are_none_are_said_before_they_are_needed(tmp_path: Path, field: str) -> None:
    (tmp_path / "nonsense.pem").write_text("nonsense")
    path = kubeconfig(tmp_path)
    document = yaml.safe_load(path.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    whose = document["clusters"][0]["cluster"] if field == "certificate-authority" else document["users"][0]["user"]
    whose |= {field: str(tmp_path / "nonsense.pem"), "client-key": str(tmp_path / "nonsense.pem")}
    path.write_text(yaml.safe_dump(document))

    with pytest.raises(LoginFailed, match="config: the certificates cannot be used"):
        asyncio.run(log_in(str(path), environment={}))


def test_a_context_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LoginFailed, match="nowhere"):
        asyncio.run(log_in(str(kubeconfig(tmp_path)), "nowhere", {}))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LoginFailed, match="no such kubeconfig"):
        asyncio.run(log_in(str(tmp_path / "none"), environment={}))


def test_without_any_way_in_the_usual_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_module, "HOME_CONFIG", str(tmp_path / "home"))

    with pytest.raises(LoginFailed, match="home"):
        asyncio.run(log_in(environment={}))


def test_a_pod_without_an_account_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(LoginFailed, match="service account"):
        from_service_account({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


def test_the_namespace_is_the_pods_own(tmp_path: Path) -> None:
    assert own_namespace(account(tmp_path)) == "tidegate-system"
    assert own_namespace(tmp_path / "none") == "default"


def test_proxies_and_names_from_the_environment_are_left_alone() -> None:
    configuration = Configuration()
    Login(configuration)

    assert configuration.client_session_kwargs == {"trust_env": False}
