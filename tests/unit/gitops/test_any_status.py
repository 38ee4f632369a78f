"""What holds of the scripts whatever the status says: no script fails, and every one keeps to its words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from lupa.lua51 import LuaError

from tidegate.api.names import GROUP
from tidegate.plan.commands import parse_command

from .argocd import ACTIONS, WORDS, enabled, health, offered, patch_of, run
from .statuses import deployments, looked_at

Object = dict[str, Any]
VERBS = {"rollback": "rollback-to"}  # the actions that are called otherwise than their annotation


@given(deployments)
def test_the_health_is_one_of_four_words_with_a_next_step(obj: Object) -> None:
    word, message = health(obj)

    assert word in WORDS
    assert all(message.rpartition("; ")[::2])


@given(deployments)
def test_what_the_operator_has_not_looked_at_is_progressing(obj: Object) -> None:
    if obj.get("status", {}).get("observedGeneration") != obj["metadata"]["generation"]:
        assert health(obj)[0] == "Progressing"


@given(deployments)
def test_every_action_is_shown_and_none_that_has_no_script(obj: Object) -> None:
    shown = offered(obj)

    assert sorted(shown) == ACTIONS
    assert all(set(action) == {"displayName", "iconClass", "disabled"} for action in shown.values())


@given(looked_at)
def test_an_action_writes_one_command_that_the_operator_understands_and_nothing_else(obj: Object) -> None:
    for action in enabled(obj):
        patch = patch_of(action, obj)
        [value] = patch["metadata"]["annotations"].values()
        verb = VERBS.get(action, action)

        assert patch == {"metadata": {"annotations": {f"{GROUP}/{verb}": value}}}
        assert parse_command(verb, value) is not None, value


@given(looked_at)
def test_an_action_that_is_not_offered_fails_in_words_or_asks_for_nothing_but_its_command(obj: Object) -> None:
    for action in set(ACTIONS) - enabled(obj):
        try:
            patch = patch_of(action, obj)
        except LuaError as error:
            assert "there is nothing to" in str(error)
        else:
            assert list(patch) == ["metadata"]


@pytest.mark.parametrize(
    "script", ['return ("x"):upper()', "return string", "return io", 'return require("io")', "return os"]
)
def test_scripts_get_no_more_than_argo_cd_gives(script: str) -> None:
    try:
        assert run(script, {}) is None
    except LuaError as error:
        assert "attempt to call method" in str(error) or "module not found" in str(error)
