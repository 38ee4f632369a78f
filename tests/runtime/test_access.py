"""Service accounts at a real server's internal endpoints, with keys that change while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.running_server import RunningServer, numbers, serve
from tests.runtime.tokens import OPERATOR, SIBLING, Key, Mounted, access_document, ec_key, rsa_key
from tests.waiting import wait_until

ONE = numbers([1.0, 2.0, 3.0, 4.0])


def in_cluster(mounted: Mounted, identity: Path | None = None) -> list[str]:
    """The flags of a pod; the token of a local run is taken away."""
    flags = ["--internal-token-file", str(mounted.file.with_name("none")), "--access", str(mounted.file)]
    return [*flags, "--identity-token-file", str(identity)] if identity else flags


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Mounted:
    return Mounted(tmp_path_factory.mktemp("access"), access_document(rsa_key(), ec_key()))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_bundle(tmp_path_factory.mktemp("bundle") / "b", small.linear(), small.linear_samples())


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory, bundle: Path, mounted: Mounted) -> Iterator[RunningServer]:
    with serve(bundle, tmp_path_factory.mktemp("run"), "--revision", "r2", *in_cluster(mounted)) as running:
        yield running.until_ready()


@pytest.mark.parametrize("key", [rsa_key(), ec_key()], ids=["RS256", "ES256"])
def test_the_operator_reads_the_evidence(candidate: RunningServer, key: Key) -> None:
    answer = candidate.ask("GET", "/internal/evidence", token=key.token(OPERATOR))

    assert (answer.status, answer.json["revision"]) == (200, "r2")


def test_without_a_token_or_with_a_bad_one_it_answers_401(candidate: RunningServer) -> None:
    expired = rsa_key().token(OPERATOR, exp=int(time.time()) - 60)

    for token in ("", "junk", expired, rsa_key("other").token(OPERATOR), rsa_key().token(OPERATOR, aud=["vault"])):
        assert candidate.ask("GET", "/internal/evidence", token=token).status == 401


def test_a_sibling_may_show_requests_and_not_read_evidence(candidate: RunningServer) -> None:
    token = rsa_key().token(SIBLING)

    assert candidate.ask("GET", "/internal/evidence", token=token).status == 403
    assert candidate.ask("POST", "/internal/compare", b"junk", token=token).status == 400
    assert candidate.ask("POST", "/internal/compare", b"junk", token=rsa_key().token(OPERATOR)).status == 403


def test_probes_need_no_token(candidate: RunningServer) -> None:
    assert [candidate.ask("GET", path, token="").status for path in ("/livez", "/readyz", "/metrics")] == [200] * 3


def test_keys_that_are_swapped_under_it_are_taken_up_without_a_restart(tmp_path: Path, bundle: Path) -> None:
    mounted = Mounted(tmp_path / "access", access_document(rsa_key()))
    old, new = rsa_key().token(OPERATOR), ec_key().token(OPERATOR)
    with serve(bundle, tmp_path / "run", *in_cluster(mounted)) as server:
        server.until_ready()

        def statuses() -> list[int]:
            return [server.ask("GET", "/internal/evidence", token=token).status for token in (old, new)]

        assert statuses() == [200, 401]
        mounted.swap(access_document(rsa_key(), ec_key()))
        assert statuses() == [200, 200]
        mounted.swap(access_document(ec_key()))
        assert statuses() == [401, 200]
        mounted.swap(b"{")
        assert statuses() == statuses() == [401, 401]
        assert server.log.count("admits nobody") == 1
        mounted.swap(access_document(ec_key()))
        assert statuses() == [401, 200]


def test_the_stable_server_shows_requests_by_its_own_token_and_takes_up_the_next_one(
    tmp_path: Path, bundle: Path, mounted: Mounted, candidate: RunningServer
) -> None:
    identity = tmp_path / "token"
    identity.write_text(rsa_key().token(SIBLING, exp=int(time.time()) - 60))
    operator = rsa_key().token(OPERATOR)
    aim = {"target": f"http://127.0.0.1:{candidate.metrics}", "percent": 100, "ttlSeconds": 60}

    def divergence(server: RunningServer) -> dict[str, int]:
        found: dict[str, int] = server.ask("GET", "/internal/evidence", token=operator).json["divergence"]
        return found

    with serve(bundle, tmp_path / "run", *in_cluster(mounted, identity)) as stable:
        stable.until_ready()
        assert stable.ask("PUT", "/internal/shadow", json.dumps(aim).encode(), token=operator).status == 204
        before = divergence(candidate)["n"]

        assert stable.infer(ONE).status == 200
        wait_until(lambda: divergence(stable)["dropped"] == 1, "a request that the candidate would not take")
        identity.write_text(rsa_key().token(SIBLING))
        assert [stable.infer(ONE).status for _ in range(5)] == [200] * 5

        wait_until(lambda: divergence(candidate)["n"] == before + 5, "five comparisons")
        assert divergence(stable)["dropped"] == 1


def test_a_token_in_the_target_goes_before_the_servers_own(
    tmp_path: Path, bundle: Path, mounted: Mounted, candidate: RunningServer
) -> None:
    (tmp_path / "token").write_text("of no use")
    operator = rsa_key().token(OPERATOR)
    aim = {"target": f"http://127.0.0.1:{candidate.metrics}", "percent": 100, "ttlSeconds": 60,
           "token": rsa_key().token(SIBLING)}  # fmt: skip
    with serve(bundle, tmp_path / "run", *in_cluster(mounted, tmp_path / "token")) as stable:
        stable.until_ready()
        stable.ask("PUT", "/internal/shadow", json.dumps(aim).encode(), token=operator)
        before = candidate.ask("GET", "/internal/evidence", token=operator).json["divergence"]["n"]
        stable.infer(ONE)

        wait_until(
            lambda: candidate.ask("GET", "/internal/evidence", token=operator).json["divergence"]["n"] == before + 1,
            "a comparison",
        )


def test_only_a_server_of_a_cluster_loads_what_verifies_tokens(
    tmp_path: Path, bundle: Path, candidate: RunningServer
) -> None:
    def loaded(server: RunningServer) -> bool:
        return "cryptography" in Path(f"/proc/{server.process.pid}/maps").read_text()

    with serve(bundle, tmp_path / "run") as alone:
        alone.until_ready()
        assert alone.ask("GET", "/internal/evidence").status == 200
        assert alone.ask("GET", "/internal/evidence", token=rsa_key().token()).status == 401
        assert not loaded(alone)
    assert loaded(candidate)
