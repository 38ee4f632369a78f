from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cli.group import cli
from tidegate.errors import Failed, UsageError
from tidegate.local.commands import (
    NoSuchRun,
    NotRunning,
    Target,
    awaited_target,
    one_target,
)
from tidegate.local.manifest import content_digest
from tidegate.local.state import State
from tidegate.plan.outcome import NotYet
from tidegate.plan.subjects import NothingToDo
from tidegate.plan.verbs import Verb

Make = Callable[..., ModelDeploymentStatus]
STABLE = {"revision": "aaa", "number": 1, "version": "1.0", "digest": "sha256:" + "a" * 64}
CANDIDATE = {"revision": "bbb", "number": 2, "version": "2.0", "digest": "sha256:" + "b" * 64}
AT_A_GATE = {"step": 1, "phase": "Holding"}
AT = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def target(tmp_path: Path, spec: Callable[..., ModelDeploymentSpec]) -> Callable[..., Target]:
    """A deployment whose run is over, or (with `running`) holds its lock; its status is what the test says."""

    def make(status: ModelDeploymentStatus, *, running: bool = False, folder: str = "s", **run: Any) -> Target:
        state = State(tmp_path / folder)
        state.open()
        state.write_run({"deployments": ["fraud"], "url": "http://127.0.0.1:1", **run})
        state.of("fraud").prepare()
        state.of("fraud").save(1, spec(), status)
        if not running:
            state.close()
        return Target(state, "fraud")

    return make


def history(*versions: str) -> list[dict[str, Any]]:
    return [
        {"revision": f"r{number}", "number": number, "version": version, "outcome": "Promoted", "at": AT}
        for number, version in enumerate(versions, start=1)
    ]


@pytest.mark.parametrize(
    ("verb", "parts"),
    [
        (Verb.PROMOTE, {"stable": STABLE}),
        (Verb.ABORT, {"stable": STABLE}),
        (Verb.RETRY, {"stable": STABLE}),
        (Verb.PAUSE, {"stable": STABLE, "paused": True}),
        (Verb.RESUME, {"stable": STABLE}),
        (Verb.RESTART, {"stable": STABLE, "candidate": {**CANDIDATE, "digest": STABLE["digest"]}}),
    ],
)
def test_what_is_so_already_needs_no_run(
    target: Callable[..., Target], status: Make, verb: Verb, parts: dict[str, Any]
) -> None:
    asked = target(status("Promoted", "Ready", **parts)).act(verb)

    assert asked.already
    assert asked.message.startswith("already")


def test_a_command_to_a_run_that_has_ended_is_refused(target: Callable[..., Target], status: Make) -> None:
    with pytest.raises(NotRunning, match="the run has ended"):
        target(status(stable=STABLE, candidate=CANDIDATE, rollout=AT_A_GATE)).act(Verb.PROMOTE)


def test_promote_names_the_candidate_and_its_step_and_the_same_step_is_passed_once(
    target: Callable[..., Target], status: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.local.commands.TAKEN_SECONDS", 0.0)
    trying = target(status(stable=STABLE, candidate=CANDIDATE, rollout={"step": 2, "phase": "Holding"}), running=True)

    first, second = trying.act(Verb.PROMOTE), trying.act(Verb.PROMOTE)

    assert trying.kept.commands()["promote"].startswith("bbb/2@")
    assert (first.already, first.taken, second.already) == (False, False, True)
    trying.state.close()


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.PROMOTE_FULL])
def test_a_promote_of_an_earlier_try_does_not_stand_for_one_of_this(
    target: Callable[..., Target], status: Make, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.setattr("tidegate.local.commands.TAKEN_SECONDS", 0.0)
    earlier = f"bbb/1@{AT}" if verb is Verb.PROMOTE else f"bbb@{AT}"
    known = status(
        stable=STABLE, candidate=CANDIDATE, rollout={"step": 1, "phase": "Holding"}, commands={verb: earlier}
    )
    trying = target(known, running=True)
    trying.kept.command(verb, earlier)

    asked = trying.act(verb)

    assert not asked.already
    assert trying.kept.commands()[verb] != earlier
    trying.state.close()


@pytest.mark.parametrize(
    ("verb", "rollout"),
    [
        (Verb.PROMOTE, {"step": 1, "phase": "Holding", "promotedStep": 1}),
        (Verb.PROMOTE_FULL, {"step": 1, "phase": "Holding", "full": True}),
    ],
)
def test_what_was_promoted_already_is_not_promoted_twice(
    target: Callable[..., Target], status: Make, verb: Verb, rollout: dict[str, Any]
) -> None:
    known = target(status(stable=STABLE, candidate=CANDIDATE, rollout=rollout))

    assert known.act(verb).already


def test_a_command_is_taken_when_the_status_holds_it(
    target: Callable[..., Target],
    status: Make,
    spec: Callable[..., ModelDeploymentSpec],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidegate.local.commands.now_text", lambda: AT)
    known = status(stable=STABLE, candidate=CANDIDATE, rollout={"phase": "Holding"}, commands={"abort": f"bbb@{AT}"})

    asked = (found := target(known, running=True)).act(Verb.ABORT)

    assert asked.taken
    found.state.close()


def test_promote_without_a_candidate_says_what_to_do(target: Callable[..., Target], status: Make) -> None:
    with pytest.raises(NothingToDo, match="tidegate retry"):
        target(status("Ready", stable=STABLE)).act(Verb.PROMOTE)


@pytest.mark.parametrize(("wish", "subject"), [(None, "r2"), ("1.0", "r1"), ("1", "r1"), ("r1", "r1")])
def test_rollback_finds_an_earlier_version_by_any_of_its_names(
    target: Callable[..., Target], status: Make, monkeypatch: pytest.MonkeyPatch, wish: str | None, subject: str
) -> None:
    monkeypatch.setattr("tidegate.local.commands.TAKEN_SECONDS", 0.0)
    stable = {"revision": "r3", "number": 3, "version": "3.0"}
    known = target(status("Ready", stable=stable, history=history("1.0", "2.0", "3.0")), running=True)

    known.act(Verb.ROLLBACK_TO, wish)

    assert known.kept.commands()["rollback-to"].startswith(f"{subject}@")
    known.state.close()


def test_a_second_rollback_does_not_go_forward_again(target: Callable[..., Target], status: Make) -> None:
    stalled = {"type": "Stalled", "status": "True", "reason": "RolledBack", "lastTransitionTime": AT}
    known = status(stable=STABLE, history=history("1.0", "2.0"), conditions=[stalled])

    assert target(known).act(Verb.ROLLBACK_TO).already


def test_rollback_to_an_unknown_version_lists_the_known_ones(target: Callable[..., Target], status: Make) -> None:
    stable = {"revision": "r2", "number": 2, "version": "2.0"}

    with pytest.raises(NothingToDo, match=r"no earlier version 9.9: known are: 1.0 \(r1\)"):
        target(status("Ready", stable=stable, history=history("1.0", "2.0"))).act(Verb.ROLLBACK_TO, "9.9")


def test_of_several_runs_one_must_be_named(target: Callable[..., Target], status: Make, tmp_path: Path) -> None:
    first = target(status(stable=STABLE), running=True, folder="a")
    second = target(status(stable=STABLE), running=True, folder="b")

    with pytest.raises(UsageError) as caught:
        one_target(None, "fraud")

    assert f"--state {tmp_path / 'a'}" in str(caught.value)
    assert f"--state {tmp_path / 'b'}" in str(caught.value)
    assert one_target(tmp_path / "b", None) == second or str(one_target(tmp_path / "b", None)) == str(second)
    first.state.close()
    second.state.close()


def test_a_run_that_has_ended_is_passed_over_while_another_lives(
    target: Callable[..., Target], status: Make, tmp_path: Path
) -> None:
    target(status(stable=STABLE), folder="a")
    living = target(status(stable=STABLE), running=True, folder="b")

    assert one_target(None, "fraud").state.folder == tmp_path / "b"
    living.state.close()


def test_no_run_at_all_is_said() -> None:
    with pytest.raises(NoSuchRun, match="no local run has a deployment called fraud"):
        one_target(None, "fraud")


def test_waiting_ends_with_the_promotion(target: Callable[..., Target], status: Make) -> None:
    assert target(status("Promoted", "Ready")).wait("promoted", 1) == "fraud is promoted"


def test_waiting_for_a_promotion_fails_with_the_reason_of_the_refusal(
    target: Callable[..., Target], status: Make
) -> None:
    with pytest.raises(Failed, match="Because"):
        target(status("Stalled", "Ready")).wait("promoted", 1)


def test_waiting_for_a_decision_takes_a_refusal_too(target: Callable[..., Target], status: Make) -> None:
    assert "Because" in target(status("Stalled", "Ready")).wait("settled", 1)


def test_waiting_too_long_may_be_tried_again(target: Callable[..., Target], status: Make) -> None:
    with pytest.raises(NotYet) as caught:
        target(status()).wait("promoted", 0.0)

    assert caught.value.exit_code == 5


def test_waiting_is_for_what_the_file_says_now(target: Callable[..., Target], status: Make, tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("new")
    promoted = target(status("Promoted", "Ready"), manifest=str(file), manifestDigest="of the old")

    with pytest.raises(NotYet):
        promoted.wait("promoted", 0.0)


def test_waiting_for_a_manifest_that_is_nonsense_fails_at_once(
    target: Callable[..., Target], status: Make, tmp_path: Path
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("nonsense")
    known = {"manifest": str(file), "manifestDigest": content_digest(file), "problem": f"{file}:1: no mapping"}

    with pytest.raises(Failed, match="the manifest is not used"):
        target(status("Promoted", "Ready"), **known).wait("promoted", 1)


def test_waiting_for_a_run_that_does_not_appear_may_be_tried_again() -> None:
    with pytest.raises(NotYet, match="no run serves fraud"):
        awaited_target(None, "fraud", 0.0)


def test_history_in_quiet_is_a_revision_per_line_the_oldest_first(target: Callable[..., Target], status: Make) -> None:
    known = target(status("Ready", stable=STABLE, history=history("1.0", "2.0")))

    shown = CliRunner().invoke(cli, ["history", "fraud", "--quiet", "--state", str(known.state.folder)])

    assert (shown.exit_code, shown.output) == (0, "r1\nr2\n")
