"""What a page is told of a rollout: enough, and no more."""

from __future__ import annotations

import orjson
from tests.unit.plan.largest import largest_evidence

from tidegate.dashboard.document import rollout_document, with_pods

META = {"namespace": "shop", "name": "fraud", "generation": 2, "creationTimestamp": "2026-11-26T05:00:00Z"}
FOUND = {
    "metadata": META,
    "spec": {"bundle": {"uri": "s3://models/fraud/2"}, "paused": True, "rollout": {"steps": [{"weight": 10, "hold": "1m"}]}},
    "status": {
        "observedGeneration": 2, "phase": "Holding", "commands": {"pause": "a@2026-11-26T05:00:00Z"},
        "stable": {"revision": "a"}, "rollout": {"phase": "Holding", "step": 1, "holdReason": "Paused", "live": 3},
    },
}  # fmt: skip


def test_it_is_told_where_a_rollout_stands() -> None:
    assert rollout_document(FOUND) == {
        "namespace": "shop", "name": "fraud", "createdAt": "2026-11-26T05:00:00Z", "deleting": False, "seen": True,
        "uri": "s3://models/fraud/2", "steps": [{"weight": 10, "hold": "1m"}], "pausedBySpec": True, "paused": False,
        "waiting": {}, "phase": "Holding", "stable": {"revision": "a"},
        "rollout": {"phase": "Holding", "step": 1, "holdReason": "Paused"},
    }  # fmt: skip


def test_the_counts_that_verdicts_are_made_from_stay_where_they_are() -> None:
    evidence = largest_evidence(10).model_dump(mode="json", by_alias=True)
    found = {**FOUND, "status": {**FOUND["status"], "rollout": {"phase": "Holding", "evidence": evidence}}}

    assert len(orjson.dumps(rollout_document(found))) < 1000


def test_a_command_that_nobody_has_taken_up_is_told() -> None:
    notes = {
        "serving.tidegate.io/pause": "b@2026-11-26T06:00:00Z",
        "serving.tidegate.io/abort": "b@2026-11-26T06:00:00Z",
    }
    handled = {**FOUND, "metadata": {**META, "annotations": notes}}

    told = orjson.loads(orjson.dumps(rollout_document(handled)))

    assert set(told["waiting"]) == {"pause", "abort"}


def test_an_object_that_nobody_has_looked_at_is_told_as_it_is() -> None:
    shown = rollout_document({"metadata": {"namespace": "shop", "name": "fraud", "generation": 1}})

    assert (shown["seen"], shown["steps"], shown["uri"]) == (False, [], "")


def test_secrets_and_environment_of_a_spec_are_not_told() -> None:
    spec = {
        "bundle": {"uri": "s3://models/fraud/2", "secretRef": {"name": "keys"}},
        "runtime": {"env": [{"name": "A", "value": "hidden"}]},
    }

    told = orjson.dumps(rollout_document({"metadata": META, "spec": spec}))

    assert b"hidden" not in told
    assert b"keys" not in told


def test_pods_are_put_into_a_document_that_is_json_already() -> None:
    assert orjson.loads(with_pods(b'{"name":"fraud"}', [b'{"a":1}', b'{"a":2}'])) == {
        "name": "fraud",
        "pods": [{"a": 1}, {"a": 2}],
    }
    assert orjson.loads(with_pods(b'{"name":"fraud"}', [])) == {"name": "fraud", "pods": []}
