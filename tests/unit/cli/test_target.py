"""Whether a command is about a local run or the cluster: said by an option, by the program's name, or by what there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.control_plane.users import write_kubeconfig

from tidegate.cli.target import Choice, in_cluster
from tidegate.errors import UsageError
from tidegate.local.state import State

Run = Callable[[str], State]


@pytest.fixture(autouse=True)
def neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("sys.argv", ["tidegate", "status"])


@pytest.fixture
def cluster(tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "https://cluster.example", tmp_path / "ca", "token")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with the deployment `fraud` that lives until its state is closed."""

    def make(name: str = "fraud") -> State:
        state = State(tmp_path / "state")
        state.open()
        state.write_run({"deployments": [name]})
        return state

    return make


@pytest.mark.parametrize(
    ("choice", "there"),
    [
        (Choice(local=True), False),
        (Choice(state=Path("s")), False),
        (Choice(namespace="shop"), True),
        (Choice(context="here"), True),
        (Choice(cluster=True), True),
        (Choice(kubeconfig=Path("k")), True),
        (Choice(all_namespaces=True), True),
    ],
)
def test_an_option_decides(choice: Choice, there: bool) -> None:
    assert in_cluster(choice, "fraud") is there


def test_options_of_both_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="cannot both be meant"):
        in_cluster(Choice(local=True, namespace="shop"), None)


def test_as_a_plugin_of_kubectl_it_is_the_cluster_unless_a_run_is_named(
    monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/kubectl-tidegate", "status"])
    state = run("fraud")

    assert in_cluster(Choice(), "fraud")
    assert not in_cluster(Choice(local=True), "fraud")
    state.close()


def test_where_only_a_run_exists_it_is_meant(run: Run) -> None:
    state = run("fraud")

    assert not in_cluster(Choice(), "fraud")
    state.close()


def test_where_only_a_cluster_exists_it_is_meant(cluster: None, run: Run) -> None:
    assert in_cluster(Choice(), "fraud")
    run("fraud").close()
    assert in_cluster(Choice(), "fraud"), "a run that has ended is in nobody's way"


def test_in_a_pod_with_an_account_there_is_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr("tidegate.cluster.kubectl.kubeconfig.SERVICE_ACCOUNT", tmp_path)
    assert not in_cluster(Choice(), "fraud")

    (tmp_path / "token").write_text("of the pod")

    assert in_cluster(Choice(), "fraud")


def test_where_neither_exists_it_is_a_run_that_is_missed() -> None:
    assert not in_cluster(Choice(), "fraud")


def test_where_both_exist_both_are_listed(cluster: None, run: Run, tmp_path: Path) -> None:
    state = run("fraud")

    with pytest.raises(UsageError) as caught:
        in_cluster(Choice(), "fraud")

    assert caught.value.exit_code == 2
    assert f"--local for fraud in {tmp_path / 'state'}" in caught.value.do
    assert "--cluster for the context tests (https://cluster.example)" in caught.value.do
    assert in_cluster(Choice(), "churn"), "no run has that one"
    state.close()


def test_a_broken_kubeconfig_is_listed_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("nonsense")
    state = run("fraud")

    with pytest.raises(UsageError, match="the kubeconfig, which cannot be used: this is no kubeconfig"):
        in_cluster(Choice(), None)
    state.close()
