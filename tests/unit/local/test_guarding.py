"""What `runtime.auth` and `runtime.tls` are as flags of a server on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.api.runtime import Runtime
from tidegate.local.guarding import guarding_flags
from tidegate.local.secrets import SecretMissing

GUARDED = Runtime.model_validate(
    {
        "auth": {"secretRef": {"name": "clients"}},
        "tls": {"secretRef": {"name": "tls"}, "clientCertificates": "Require"},
    }
)


def test_files_are_those_of_the_folders_that_were_given(tmp_path: Path) -> None:
    assert guarding_flags(GUARDED, {"clients": tmp_path, "tls": tmp_path}) == {
        "auth-file": tmp_path / "clients",
        "tls-cert": tmp_path / "tls.crt",
        "tls-key": tmp_path / "tls.key",
    }
    assert guarding_flags(Runtime(), {}) == {}


@pytest.mark.parametrize("missing", ["clients", "tls"])
def test_a_secret_that_nobody_gave_is_missed_with_the_option_that_gives_it(tmp_path: Path, missing: str) -> None:
    given = {name: tmp_path for name in ("clients", "tls") if name != missing}
    with pytest.raises(SecretMissing, match=f"--secret {missing}=DIR"):
        guarding_flags(GUARDED, given)


def test_variables_in_a_file_are_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "secret.env"
    file.write_text("A=b\n")
    with pytest.raises(SecretMissing, match="not a folder"):
        guarding_flags(GUARDED, {"clients": file, "tls": tmp_path})
