"""What every command keeps to: help with an example, `-h`, errors in one sentence or as JSON, exit codes, completion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.unit.cli.conftest import Tidegate

from tidegate.cli.group import COMMANDS, cli

PRINTS_YAML_FOR_KUBECTL = {"crd"}
SERVES_UNTIL_ENDED = {"run", "operator", "dashboard"}
WRITES_A_PAGE = {"report"}
PRINTS_A_DOCUMENT_OF_ITS_OWN = {"openapi"}


def parameters(name: str) -> set[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_of_the_command(tidegate: Tidegate, name: str) -> None:
    for flag in ("--help", "-h"):
        code, said, _ = tidegate(name, flag)

        assert code == 0
        assert f"Example: tidegate {name}" in said


@pytest.mark.parametrize(
    "name",
    sorted(set(COMMANDS) - PRINTS_YAML_FOR_KUBECTL - SERVES_UNTIL_ENDED - WRITES_A_PAGE - PRINTS_A_DOCUMENT_OF_ITS_OWN),
)
def test_every_result_can_be_had_as_json_and_without_words(name: str) -> None:
    assert {"--output", "--quiet"} <= parameters(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_wrong_usage(tidegate: Tidegate, name: str) -> None:
    code, said, error = tidegate(name, "--no-such-option")

    assert (code, said) == (2, "")
    assert "--no-such-option" in error
    assert "Traceback" not in error


def test_a_command_that_is_mistyped_is_told_of_the_one_that_may_be_meant(tidegate: Tidegate) -> None:
    assert "No such command 'bnech'. Did you mean 'bench'?" in tidegate("bnech")[2]
    assert tidegate("xyz")[2].endswith("No such command 'xyz'.\n")


def test_wrong_usage_is_json_where_json_was_asked_for(tidegate: Tidegate) -> None:
    code, said, error = tidegate("verify", "-o", "json")

    assert (code, said) == (2, "")
    told = json.loads(error)["error"]
    assert told == {
        "reason": "Usage",
        "what": "Missing argument 'REF'.",
        "where": "tidegate verify",
        "do": "see tidegate verify --help",
    }


def test_what_the_machine_refuses_is_a_sentence_and_no_bug(tidegate: Tidegate, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")

    code, _, error = tidegate("keygen", "--private", str(tmp_path / "a file" / "key"), "-o", "json")

    assert code == 1
    assert json.loads(error)["error"]["reason"] != "Bug"


def test_an_unforeseen_refusal_of_the_machine_names_the_place(
    tidegate: Tidegate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/state")

    monkeypatch.setattr("tidegate.cli.manifests.check", full)

    code, _, error = tidegate("lint", "-f", "x.yaml")

    assert code == 1
    assert error == "error: /state: No space left on device: see to it, or name another place\n"


def test_the_shell_can_complete_commands(tidegate: Tidegate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TIDEGATE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "tidegate pro")
    monkeypatch.setenv("COMP_CWORD", "1")

    code, said, _ = tidegate()

    assert code == 0
    assert said.split() == ["plain,promote"]


def test_the_version_is_told(tidegate: Tidegate) -> None:
    code, said, _ = tidegate("--version")

    assert code == 0
    assert said.startswith("tidegate, version ")


def test_until_ctrl_c_ends_it_without_a_word_next_to_nothing_is_loaded() -> None:
    code = "import sys; before = {*sys.modules}; import tidegate.cli.main; print(len({*sys.modules} - before))"

    done = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip

    assert int(done.stdout) < 40  # typing and re alone are 20


def test_ctrl_c_while_a_command_is_loaded_ends_without_a_word() -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job has it ignored
        "from tidegate.interrupts import ends_at_once\n"
        "with ends_at_once():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    for _ in range(10**9): pass\n"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
