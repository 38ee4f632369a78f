from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.local.machine import Machine, Unsupported, real_binary, supported


@pytest.mark.parametrize(
    ("machine", "works"),
    [
        (Machine("Linux", "x86_64", (2, 31)), True),
        (Machine("Linux", "aarch64", (2, 39)), True),
        (Machine("Linux", "x86_64", (2, 28)), False),
        (Machine("Linux", "x86_64", ()), False),
        (Machine("Linux", "riscv64", (2, 39)), False),
        (Machine("Darwin", "arm64", (15, 1)), True),
        (Machine("Darwin", "arm64", (14, 6)), False),
        (Machine("Darwin", "x86_64", (15, 1)), False),
        (Machine("Windows", "AMD64", ()), False),
    ],
)
def test_only_machines_that_envoy_has_a_binary_for_are_supported(machine: Machine, works: bool) -> None:
    assert supported(machine) is works


def test_a_script_in_the_place_of_the_binary_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    shim = tmp_path / "envoy"
    shim.write_text("#!/bin/sh\necho unsupported\n")
    shim.chmod(0o755)

    with pytest.raises(Unsupported, match="no Envoy binary for this machine") as caught:
        real_binary(shim)

    assert caught.value.exit_code == 2


def test_an_executable_of_this_machine_is_taken(tmp_path: Path) -> None:
    binary = tmp_path / "envoy"
    binary.write_bytes(b"\x7fELF\x02")
    binary.chmod(0o755)

    assert real_binary(binary) == binary
