from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tidegate.local import envoy
from tidegate.local.machine import envoy_binary
from tidegate.local.routes import Backend, Listen, ModelRoute

STABLE = Backend("aaa", 1, "1.0", (7001, 7002))
CANDIDATE = Backend("bbb", 2, "2.0", (7003,))


def fraud(**changes: Any) -> ModelRoute:
    parts: dict[str, Any] = {
        "headers": {"x-model-version": "canary"},
        "pin": "bbb",
        "weights": {"aaa": 90, "bbb": 10},
        "backends": (STABLE, CANDIDATE),
    }
    return ModelRoute("fraud", **{**parts, **changes})


def rules(*models: ModelRoute, host: str = "*") -> list[dict[str, Any]]:
    table = envoy.routes(models, "1")["resources"][0]
    found = next(one for one in table["virtual_hosts"] if host in one["domains"])
    routes: list[dict[str, Any]] = found["routes"]
    return routes


def paths(found: list[dict[str, Any]]) -> list[str]:
    return [str(rule["match"].get("path_separated_prefix") or rule["match"].get("prefix")) for rule in found]


def test_a_version_in_the_path_comes_before_the_pin_and_the_pin_before_the_weights() -> None:
    found = rules(fraud())

    assert paths(found) == [
        "/v2/models/fraud/versions/1.0",
        "/v2/models/fraud/versions/aaa",
        "/v1/models/fraud/versions/1",
        "/v1/models/fraud/versions/1:",
        "/v2/models/fraud/versions/2.0",
        "/v2/models/fraud/versions/bbb",
        "/v1/models/fraud/versions/2",
        "/v1/models/fraud/versions/2:",
        "/",
        "/",
    ]
    *versions, pin, split = found
    assert [rule["route"]["cluster"] for rule in versions] == ["fraud/aaa"] * 4 + ["fraud/bbb"] * 4
    assert pin["match"]["headers"] == [{"name": "x-model-version", "string_match": {"exact": "canary"}}]
    assert pin["route"]["cluster"] == "fraud/bbb"
    shares = split["route"]["weighted_clusters"]["clusters"]
    assert {one["name"]: one["weight"] for one in shares} == {"fraud/aaa": 90, "fraud/bbb": 10}


def test_servers_that_speak_tls_are_asked_so() -> None:
    secured = Backend("ccc", 3, "3.0", (7004,), tls=True)
    document = envoy.clusters((fraud(backends=(STABLE, secured)),), Path("/run"), "1")
    plain, over_tls = document["resources"]

    assert "transport_socket" not in plain
    assert over_tls["transport_socket"]["typed_config"]["@type"].endswith("v3.UpstreamTlsContext")


def test_the_mark_of_pinned_requests_is_set_by_us_and_taken_from_clients() -> None:
    *pins, split = rules(fraud())

    assert all(rule["request_headers_to_add"][0]["header"]["key"] == "x-tidegate-pinned" for rule in pins)
    assert all(rule["request_headers_to_add"][0]["append_action"].startswith("OVERWRITE") for rule in pins)
    assert split["request_headers_to_remove"] == ["x-tidegate-pinned"]


def test_a_candidate_without_servers_has_no_pin_and_no_path() -> None:
    found = rules(fraud(backends=(STABLE, Backend("bbb", 2, "2.0", ())), weights={"aaa": 100, "bbb": 0}))

    assert paths(found) == [
        "/v2/models/fraud/versions/1.0",
        "/v2/models/fraud/versions/aaa",
        "/v1/models/fraud/versions/1",
        "/v1/models/fraud/versions/1:",
        "/",
    ]


def test_a_stable_version_that_lost_its_servers_keeps_its_share() -> None:
    found = rules(fraud(backends=(Backend("aaa", 1, "1.0", ()), CANDIDATE)))

    shares = found[-1]["route"]["weighted_clusters"]["clusters"]
    assert {one["name"]: one["weight"] for one in shares} == {"fraud/aaa": 90, "fraud/bbb": 10}


def test_two_revisions_of_one_version_are_told_apart_by_revision_and_number_only() -> None:
    found = rules(fraud(backends=(STABLE, Backend("bbb", 2, "1.0", (7003,)))))

    assert [path for path in paths(found) if "versions" in path] == [
        "/v2/models/fraud/versions/aaa",
        "/v1/models/fraud/versions/1",
        "/v1/models/fraud/versions/1:",
        "/v2/models/fraud/versions/bbb",
        "/v1/models/fraud/versions/2",
        "/v1/models/fraud/versions/2:",
    ]


def test_before_any_version_is_ready_clients_get_a_sentence() -> None:
    (only,) = rules(ModelRoute("fraud"))

    assert only["direct_response"]["status"] == 503
    assert "no version of model fraud is ready" in only["direct_response"]["body"]["inline_string"]


def test_of_several_deployments_the_host_decides_and_else_the_path() -> None:
    spam = ModelRoute(
        "spam", hostnames=("spam.example.com",), weights={"ccc": 100}, backends=(Backend("ccc", 1, "1", (7,)),)
    )

    by_host = rules(fraud(), spam, host="spam.example.com")
    by_path = rules(fraud(), spam)

    assert paths(by_host)[-1] == "/"
    assert {"/v2/models/fraud", "/v2/models/spam", "/v1/models/spam:"} <= set(paths(by_path))
    assert by_path[-1]["direct_response"]["status"] == 404


def test_envoy_itself_accepts_what_is_rendered(tmp_path: Path) -> None:
    """Validation reads no watched files, so their content is put into the bootstrap here."""
    models = (fraud(), ModelRoute("spam", hostnames=("spam.example.com",)))
    document = envoy.bootstrap(Listen("127.0.0.1", 0), tmp_path, tmp_path / "admin.sock")
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"]
    manager["route_config"] = envoy.routes(models, "1")["resources"][0]
    manager["route_config"].pop("@type")
    resources = envoy.clusters(models, tmp_path, "1")["resources"]
    document["static_resources"]["clusters"] = [{k: v for k, v in one.items() if k != "@type"} for one in resources]
    (tmp_path / "clusters.json").write_text('{"resources": []}')
    for name, file in envoy.endpoints(models, "1").items():
        envoy.endpoints_file(tmp_path, name).write_text(json.dumps(file))
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(document))

    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", config], capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 0, done.stderr
