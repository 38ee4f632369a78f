"""An encrypted bundle on one machine: served and replaced like any other, with its plaintext in memory only."""

from __future__ import annotations

from pathlib import Path

from tests.local.local_run import Local

from tidegate.bundle.encryption import encrypt, generate_identity


def test_an_encrypted_bundle_is_served_and_leaves_nothing_behind(local: Local) -> None:
    keys = local.folder / "keys"
    keys.mkdir()
    generate_identity(keys / "age.key", keys / "age.pub")
    sealed = encrypt(local.store / "v1", local.folder / "sealed", [(keys / "age.pub").read_text()])
    local.arguments = ("--secret", f"keys={keys}")
    decryption = {"keySecretRef": {"name": "keys", "key": "age.key"}}
    local.write("v1", bundle={"uri": f"file://{sealed.path}", "decryption": decryption})

    local.start()
    local.until(lambda: local.serving("v1"), "the encrypted v1 serves")
    (server,) = local.servers("v1")
    command = Path(f"/proc/{server}/cmdline").read_bytes().decode().split("\0")
    plain = Path(command[command.index("--bundle") + 1])
    assert plain.is_relative_to("/dev/shm")
    assert local.ask()[0] == 200

    local.end()
    assert not plain.parent.exists()
