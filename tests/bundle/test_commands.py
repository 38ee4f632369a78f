"""verify, push, pull, keygen and sign as people and scripts use them, against a real S3 server."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from examples.demo.s3 import S3Server
from tests.bundle.faulty import Proxy

from tidegate.bundle.push import push
from tidegate.bundle.source import Access
from tidegate.bundle.verify import verify_dir

BundleMaker = Callable[..., Path]
Command = Callable[..., Any]
BIG = os.urandom(96 * 2**20)


def test_a_bundle_is_signed_published_fetched_and_verified(
    bundle: BundleMaker, tidegate: Command, repository: str, tmp_path: Path
) -> None:
    folder, key, half = bundle(), tmp_path / "r.key", tmp_path / "r.pub"
    assert tidegate("keygen", "--private", key, "--public", half).code == 0
    assert tidegate("sign", folder, "--key", key).code == 0

    pushed = tidegate("push", folder, f"{repository}/1", "--quiet")
    pulled = tidegate("pull", f"{repository}/1", tmp_path / "here", "--public-key", half, "-o", "json")
    verified = tidegate("verify", f"{repository}/1", "--public-key", half, "--deep", "--quiet")

    document = json.loads(pulled.out)
    assert document["apiVersion"] == "tidegate.io/cli/v1"
    assert document["digest"] == pushed.out.strip() == verified.out.strip() == verify_dir(tmp_path / "here").digest
    assert pulled.err == ""


def test_every_act_may_be_repeated(bundle: BundleMaker, tidegate: Command, repository: str, tmp_path: Path) -> None:
    folder = bundle()
    tidegate("push", folder, f"{repository}/1")
    tidegate("pull", f"{repository}/1", tmp_path / "here")

    again = tidegate("push", folder, f"{repository}/1", "-o", "json")
    pulled = tidegate("pull", f"{repository}/1", tmp_path / "here")

    assert json.loads(again.out)["already"] is True
    assert (pulled.code, "already there" in pulled.out) == (0, True)


def test_an_error_is_one_sentence_and_as_json_an_object(
    bundle: BundleMaker, tidegate: Command, repository: str, tmp_path: Path
) -> None:
    plain = tidegate("pull", f"{repository}/absent", tmp_path / "here")
    structured = tidegate("pull", f"{repository}/absent", tmp_path / "here", "-o", "json")
    unsigned = tidegate("keygen", "--private", tmp_path / "r.key", "--public", tmp_path / "r.pub")
    refused = tidegate("verify", bundle(), "--public-key", tmp_path / "r.pub", "-o", "json")

    assert (plain.code, plain.err.count("\n")) == (1, 1)
    assert json.loads(structured.err)["error"]["reason"] == "NotFound"
    assert unsigned.code == 0
    assert (refused.code, json.loads(refused.err)["error"]["reason"]) == (1, "SignatureMissing")


def test_verify_names_the_file_and_the_reason(bundle: BundleMaker, tidegate: Command) -> None:
    folder = bundle(files={"weights/a.bin": b"a" * 100})
    (folder / "weights/a.bin").write_bytes(b"a" * 99 + b"b")

    ended = tidegate("verify", folder)

    assert ended.code == 1
    assert "weights/a.bin: expected sha256" in ended.err


@pytest.mark.parametrize("command", ["verify", "push", "pull", "keygen", "sign"])
def test_help_has_an_example(tidegate: Command, command: str) -> None:
    assert f"Example: tidegate {command}" in tidegate(command, "--help").out


def limited(arguments: list[str], environment: dict[str, str], most: int) -> subprocess.CompletedProcess[str]:
    """The command under a file size limit, as on a volume that is full."""
    script = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
        "from tidegate.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_full_disk_is_one_sentence_and_nothing_half_done(
    bundle: BundleMaker, s3: S3Server, access: Access, repository: str, tmp_path: Path
) -> None:
    assert resource.RLIMIT_FSIZE
    push(bundle(files={"weights/a.bin": BIG[: 8 * 2**20]}), f"{repository}/1", access=access)

    ended = limited(["pull", f"{repository}/1", str(tmp_path / "here")], s3.credentials(), 4 * 2**20)

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "no space left, or a quota or file size limit is reached" in ended.stderr
    assert not list(tmp_path.glob("here*"))
    assert not list(tmp_path.glob(".here*"))


def test_a_killed_pull_goes_on_inside_its_file(
    bundle: BundleMaker, access: Access, s3: S3Server, proxy: Proxy, repository: str, tmp_path: Path
) -> None:
    push(bundle(files={"weights/a.bin": BIG}), f"{repository}/1", access=access)
    command = [sys.executable, "-m", "tidegate.cli", "pull", f"{repository}/1", str(tmp_path / "here")]
    command[1:3] = ["-c", "from tidegate.cli.main import main; main()"]
    environment = {**os.environ, **s3.credentials(), "AWS_ENDPOINT_URL": proxy.endpoint}
    proxy.gate_at = len(BIG) // 2
    first = subprocess.Popen(command, env=environment)
    assert proxy.reached.wait(60)

    first.send_signal(signal.SIGKILL)
    first.wait(timeout=10)
    assert not (tmp_path / "here").exists()
    proxy.release()
    second = subprocess.run(command, env=environment, capture_output=True, check=False)

    assert second.returncode == 0, second.stderr
    assert verify_dir(tmp_path / "here")
    # Beginning anew would send half of it twice; what lay in the sockets, several MiB on a busy machine, may be.
    assert proxy.sent < len(BIG) * 1.4
