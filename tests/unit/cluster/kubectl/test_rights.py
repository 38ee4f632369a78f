"""Acts of the page are commands: what they say, and what becomes of one that does not end or does not speak."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tidegate.cluster.kubectl.connection import Connection
from tidegate.cluster.kubectl.rights import ActTooSlow, Rights, told
from tidegate.errors import Failed

FRAUD = ("shop", "fraud")


class Server:
    """An API server that is asked for rights."""

    def __init__(self, allowed: bool) -> None:
        self.allowed, self.asked = allowed, 0

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        about = body["spec"]["resourceAttributes"]
        assert (about["verb"], about["resource"], about["namespace"]) == ("patch", "modeldeployments", "shop")
        return {"status": {"allowed": self.allowed}}


def rights(server: Server | None = None) -> Rights:
    return Rights(cast("Connection", server), ["--context=prod"])


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in the place of Python and `tidegate`; its arguments go to the file `asked`."""
    script = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(script))
    return script


def says(script: Path, body: str) -> None:
    script.write_text(f'#!/bin/sh\necho "$@" > {script.parent}/asked\n{body}\n')
    script.chmod(0o755)


def act(verb: str = "promote", step: int | None = None) -> str:
    async def run() -> str:
        return await rights().act(FRAUD, verb, step)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("verb", "step", "asked"),
    [
        ("promote", 2, "-P -m tidegate promote --step=2 --namespace=shop --context=prod --output=json -- fraud"),
        ("promote-full", None, "-P -m tidegate promote --full --namespace=shop --context=prod --output=json -- fraud"),
        ("abort", None, "-P -m tidegate abort --namespace=shop --context=prod --output=json -- fraud"),
    ],
)
def test_an_act_is_the_command_in_the_same_cluster(command: Path, verb: str, step: int | None, asked: str) -> None:
    says(command, """echo '{"message": "it was taken up"}'""")

    assert act(verb, step) == "it was taken up"
    assert (command.parent / "asked").read_text().strip() == asked


def test_modules_in_the_current_folder_take_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tidegate", "click"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))

    with pytest.raises(Failed, match="there is no kubeconfig"):
        act()
    assert not (tmp_path / "mark").exists()


def test_what_a_command_complains_of_is_told(command: Path) -> None:
    says(
        command,
        """echo 'plugin: log in' >&2; echo '{"error": {"reason": "Forbidden", "what": "no", "where": "a", "do": "b"}}' >&2; exit 1""",
    )

    with pytest.raises(Failed) as failed:
        act()
    assert (failed.value.reason, failed.value.what, failed.value.where, failed.value.do) == (
        "Forbidden",
        "no",
        "a",
        "b",
    )


def test_a_command_that_dies_without_a_word_is_told(command: Path) -> None:
    says(command, "kill -9 $$")

    with pytest.raises(Failed, match="the command ended with -9"):
        act()


def test_a_command_that_does_not_end_is_ended(command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.cluster.kubectl.rights.ACT_SECONDS", 0.3)
    says(command, "exec sleep 60")

    with pytest.raises(ActTooSlow, match="shop/fraud: promote did not end within 0 s"):
        act()


def test_rights_are_asked_for_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        server = Server(allowed=False)
        asked = rights(server)
        for _ in range(3):
            assert (
                await asked.refusal("shop")
                == "you may not patch modeldeployments.serving.tidegate.io in namespace shop"
            )
        assert server.asked == 1
        monkeypatch.setattr("tidegate.cluster.kubectl.rights.BELIEVED_SECONDS", 0.0)
        server.allowed = True
        assert await asked.refusal("shop") == ""

    asyncio.run(story())


@pytest.mark.parametrize("output", [b"", b"no json", b"[]", b"\xff"])
def test_what_is_no_answer_is_none(output: bytes) -> None:
    assert told(output) == {}
    assert told(b'log in first\n{"error": {}}\n') == {"error": {}}
    assert told(b'{\n "message": "yes"\n}\n') == {"message": "yes"}
