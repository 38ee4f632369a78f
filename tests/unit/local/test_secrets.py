from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import UsageError
from tidegate.local.secrets import SecretMissing, read_secret, secret_key, split_pair, texts


def test_a_folder_is_a_secret_with_a_key_per_file(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("PEM\n")
    (tmp_path / ".hidden").write_text("bookkeeping")
    (tmp_path / ".dockerconfigjson").write_text("{}")

    assert texts(read_secret(tmp_path)) == {"key.pub": "PEM", ".dockerconfigjson": "{}"}


def test_an_env_file_may_have_comments_export_and_quotes(tmp_path: Path) -> None:
    file = tmp_path / "s3.env"
    file.write_text('# keys\nexport AWS_ACCESS_KEY_ID=abc\n\nAWS_SECRET_ACCESS_KEY="d=e f"\n')

    assert texts(read_secret(file)) == {"AWS_ACCESS_KEY_ID": "abc", "AWS_SECRET_ACCESS_KEY": "d=e f"}


def test_a_bad_line_is_named_by_its_place_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "s3.env"
    file.write_text("AWS_ACCESS_KEY_ID=abc\nhunter2\n")

    with pytest.raises(UsageError) as caught:
        read_secret(file)

    assert str(caught.value).startswith(f"{file}:2")
    assert "hunter2" not in str(caught.value)


def test_what_the_command_line_did_not_give_is_asked_for() -> None:
    with pytest.raises(SecretMissing, match="--secret release-key="):
        secret_key({}, "release-key", "key.pub")


@pytest.mark.parametrize("text", ["", "name", "=path", "name="])
def test_a_pair_needs_both_parts(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=PATH"):
        split_pair("--secret", text)


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        split_pair("--mount", f"models={tmp_path / 'nowhere'}")
