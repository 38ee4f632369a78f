from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.api.runtime import Runtime
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.local.files import write_whole
from tidegate.local.runs import default_state, known_states
from tidegate.local.state import AlreadyRunning, DeploymentState, State
from tidegate.plan.observed import Resolution, RevisionRecord


@pytest.fixture
def kept(tmp_path: Path) -> DeploymentState:
    state = DeploymentState(tmp_path / "fraud")
    state.prepare()
    return state


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))


def record(revision: str = "aaa") -> RevisionRecord:
    interface = Interface((TensorSpec("x", "FP32", ("N", 4)),), (TensorSpec("y", "INT64", ("N",)),))
    resolution = Resolution("s3://m/f/1", "sha256:" + "0" * 64, "1", interface, has_golden=True, metrics={"f1": 0.9})
    return RevisionRecord(revision, 1, resolution, Runtime.model_validate({"grace": "5s"}), base=revision)


def test_a_second_runner_of_a_state_is_refused(tmp_path: Path) -> None:
    first, second = State(tmp_path / "s"), State(tmp_path / "s")
    first.open()

    assert second.running()
    with pytest.raises(AlreadyRunning, match="another `tidegate run` has this state"):
        second.open()
    first.close()
    assert not second.running()


def test_a_run_elsewhere_is_found_by_its_link(tmp_path: Path) -> None:
    state = State(tmp_path / "elsewhere")
    state.open()
    state.write_run({"deployments": ["fraud"]})

    assert known_states() == [tmp_path / "elsewhere"]
    assert state.names() == ["fraud"]
    state.close()


def test_a_manifest_has_the_same_state_at_every_start(tmp_path: Path) -> None:
    assert default_state(tmp_path / "a.yaml") == default_state(tmp_path / "." / "a.yaml")
    assert default_state(tmp_path / "a.yaml") != default_state(tmp_path / "b" / "a.yaml")


def test_what_was_saved_is_loaded_again(kept: DeploymentState, spec: Callable[..., ModelDeploymentSpec]) -> None:
    status = ModelDeploymentStatus(observed_generation=3, phase="Serving")
    kept.save(3, spec(), status)
    kept.save_record(record())
    kept.save_stable("aaa")

    memory = kept.load()

    assert (memory.generation, memory.spec, memory.status, memory.stable) == (3, spec(), status, "aaa")
    assert memory.records == {"aaa": record()}


def test_a_record_is_written_once(kept: DeploymentState) -> None:
    kept.save_record(record())
    changed = RevisionRecord("aaa", 9, record().resolution, Runtime(), base="aaa")

    kept.save_record(changed)

    assert kept.load().records["aaa"].number == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"status": {"phase": 7}}'])
def test_a_damaged_memory_is_a_lost_one_and_the_stable_version_is_still_known(
    kept: DeploymentState, spec: Callable[..., ModelDeploymentSpec], damage: bytes
) -> None:
    kept.save(3, spec(), ModelDeploymentStatus(phase="Serving"))
    kept.save_stable("aaa")
    (kept.folder / "deployment.json").write_bytes(damage)

    memory = kept.load()

    assert memory.status == ModelDeploymentStatus()
    assert memory.stable == "aaa"


def test_commands_are_kept_by_verb_and_the_last_one_counts(kept: DeploymentState) -> None:
    kept.command("promote", "aaa/1@2026-01-01T00:00:00Z")
    kept.command("promote", "aaa/2@2026-01-01T00:00:01Z")
    kept.command("pause", "aaa@2026-01-01T00:00:02Z")

    assert kept.commands() == {"promote": "aaa/2@2026-01-01T00:00:01Z", "pause": "aaa@2026-01-01T00:00:02Z"}


def test_a_file_that_cannot_be_replaced_leaves_no_half_one_behind(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()

    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "run.json", b"{}")

    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
