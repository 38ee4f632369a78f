"""A deployment with tokens and TLS on one machine: rolled out like any other, and shut to strangers throughout."""

from __future__ import annotations

import json
from pathlib import Path

from tests.local.local_run import Local
from tests.runtime.certificates import Files, replace
from tests.runtime.known_clients import TOKENS, lines
from tests.waiting import wait_until

GUARDED = {"auth": {"secretRef": {"name": "clients"}}, "tls": {"secretRef": {"name": "fraud-tls"}}}
ANA = {"authorization": f"Bearer {TOKENS['ana']}"}
BEN = {"authorization": f"Bearer {TOKENS['ben']}"}


def prepared(local: Local) -> Path:
    """The folders of both secrets, given to the run; the file of the clients."""
    clients = local.folder / "secret" / "clients"
    clients.parent.mkdir()
    clients.write_bytes(lines("ana"))
    files = Files(local.folder / "tls")
    local.arguments = ("--secret", f"clients={clients.parent}", "--secret", f"fraud-tls={files.folder}")
    return clients


def serves_ana(local: Local, version: str) -> bool:
    status, answer = local.ask(ANA)
    return status == 200 and answer["model_version"] == version


def test_a_guarded_deployment_is_promoted_and_shut_to_strangers(local: Local) -> None:
    clients = prepared(local)
    local.write("v1", runtime=GUARDED)
    local.spawn()
    local.until(lambda: local.serving("v1") and serves_ana(local, "v1"), "v1 serves who has a token")
    assert local.ask()[0] == 401
    (server,) = local.servers("v1")
    command = Path(f"/proc/{server}/cmdline").read_bytes().decode()
    assert "--tls-cert" in command

    local.write("v2", runtime=GUARDED)
    local.until(lambda: serves_ana(local, "v2") and local.serving("v2"), "v2 is promoted")
    assert local.ask()[0] == 401

    before = local.servers("v2")
    replace(clients, lines("ben"))
    wait_until(lambda: local.ask(BEN)[0] in (200, 403), "the new file is taken up")
    assert local.ask(ANA)[0] == 401
    assert local.servers("v2") == before


def test_who_asked_is_written_down_where_the_manifest_says_so(local: Local) -> None:
    prepared(local)
    local.write("v1", runtime={**GUARDED, "requestLogs": {"audit": True}})
    local.spawn()
    local.until(lambda: local.serving("v1") and serves_ana(local, "v1"), "v1 serves who has a token")
    local.ask()

    def written() -> set[tuple[str, int]]:
        lines = [json.loads(line) for file in local.folder.rglob("audit.log") for line in file.read_text().splitlines()]
        return {(line["client"], line["code"]) for line in lines if line["scope"] == "infer"}

    wait_until(lambda: {("ana", 200), ("", 401)} <= written(), "the log names client and stranger")
    assert not list(local.folder.rglob("access.log"))


def test_a_secret_that_nobody_gave_is_missed_by_name(local: Local) -> None:
    local.write("v1", runtime=GUARDED)
    local.spawn()
    local.until(lambda: "give it with --secret clients=DIR" in local.log(), "the run says what it misses")
    assert local.gone() is False
