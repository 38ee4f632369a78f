from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.cluster.seen import LAST_APPLIED, REMEMBERED_DELETIONS, Cache, key_of
from tidegate.plan.manifests.identity import DEPLOYMENT, LABEL_DEPLOYMENT, MODEL_DEPLOYMENT, POD, SERVICE, Kind

Object = dict[str, Any]
FRAUD = ("ns", "fraud")


def child(
    name: str = "fraud-abc", version: int = 5, uid: str = "u1", owner: str | None = "fraud", **more: Any
) -> Object:
    about: Object = {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": str(version)}
    if owner:
        about["labels"] = {LABEL_DEPLOYMENT: owner}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, **more}


def deployment(name: str = "fraud", version: int = 3, namespace: str = "ns") -> Object:
    about = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "serving.tidegate.io/v1alpha1", "kind": "ModelDeployment", "metadata": about}


def seen(cache: Cache) -> str | None:
    """The version of the one Deployment of the stories, as it is held."""
    found = cache.get(DEPLOYMENT, "ns", "fraud-abc")
    return found["metadata"]["resourceVersion"] if found else None


@pytest.fixture
def cache() -> Cache:
    return Cache()


# -- news


def test_news_of_a_child_are_about_its_deployment(cache: Cache) -> None:
    assert cache.feed(DEPLOYMENT, "ADDED", child()) == (FRAUD,)


def test_news_of_a_deployment_are_about_itself(cache: Cache) -> None:
    assert cache.feed(MODEL_DEPLOYMENT, None, deployment()) == (FRAUD,)
    assert cache.deployments() == [FRAUD]


def test_what_is_known_already_wakes_nobody(cache: Cache) -> None:
    """A list after a restart of the watch, or the echo of a write of ours."""
    cache.put(DEPLOYMENT, child(version=5))

    assert cache.feed(DEPLOYMENT, "MODIFIED", child(version=5)) == ()
    assert cache.feed(DEPLOYMENT, None, child(version=5)) == ()


def test_older_news_change_nothing(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(version=50))

    assert cache.feed(DEPLOYMENT, "MODIFIED", child(version=9)) == ()
    assert seen(cache) == "50"


def test_versions_are_numbers_not_text(cache: Cache) -> None:
    cache.feed(DEPLOYMENT, "ADDED", child(version=99))
    cache.feed(DEPLOYMENT, "MODIFIED", child(version=100))

    assert seen(cache) == "100"


def test_a_child_without_our_label_is_nobodys(cache: Cache) -> None:
    assert cache.feed(DEPLOYMENT, "ADDED", child(owner=None)) == ()
    assert cache.of("ns", "fraud") == []


def test_a_child_whose_label_is_taken_away_is_missed_by_its_deployment(cache: Cache) -> None:
    cache.feed(DEPLOYMENT, "ADDED", child(version=5))

    assert cache.feed(DEPLOYMENT, "MODIFIED", child(version=6, owner=None)) == (FRAUD,)
    assert cache.of("ns", "fraud") == []


def test_a_child_whose_label_is_changed_concerns_both(cache: Cache) -> None:
    cache.feed(DEPLOYMENT, "ADDED", child(version=5))

    assert cache.feed(DEPLOYMENT, "MODIFIED", child(version=6, owner="other")) == (FRAUD, ("ns", "other"))
    assert [obj["metadata"]["name"] for _, obj in cache.of("ns", "other")] == ["fraud-abc"]


# -- deletions


def test_a_deleted_object_is_gone_and_its_deployment_hears_of_it(cache: Cache) -> None:
    cache.feed(DEPLOYMENT, "ADDED", child(version=5))

    assert cache.feed(DEPLOYMENT, "DELETED", child(version=6)) == (FRAUD,)
    assert seen(cache) is None


@pytest.mark.parametrize("event_type", ["MODIFIED", "ADDED", None])
def test_an_event_from_before_the_deletion_does_not_bring_it_back(cache: Cache, event_type: str | None) -> None:
    cache.feed(DEPLOYMENT, "ADDED", child(version=5))
    cache.feed(DEPLOYMENT, "DELETED", child(version=9))

    assert cache.feed(DEPLOYMENT, event_type, child(version=7)) == ()
    assert seen(cache) is None


def test_the_answer_to_a_write_that_a_deletion_overtook_does_not_bring_it_back(cache: Cache) -> None:
    cache.feed(DEPLOYMENT, "DELETED", child(version=9))
    cache.put(DEPLOYMENT, child(version=8))

    assert seen(cache) is None


def test_a_late_deletion_of_the_predecessor_leaves_the_successor(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(uid="u2", version=12))

    assert cache.feed(DEPLOYMENT, "DELETED", child(uid="u1", version=11)) == ()
    assert seen(cache) == "12"


def test_the_deletion_of_a_successor_that_was_never_seen_takes_the_predecessor_along(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(uid="u1", version=5))

    assert cache.feed(DEPLOYMENT, "DELETED", child(uid="u2", version=9)) == (FRAUD,)
    assert seen(cache) is None


def test_a_late_event_of_the_predecessor_leaves_the_successor(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(uid="u2", version=12))
    cache.feed(DEPLOYMENT, "MODIFIED", child(uid="u1", version=10))

    assert cache.get(DEPLOYMENT, "ns", "fraud-abc")["metadata"]["uid"] == "u2"  # type: ignore[index]


def test_a_successor_is_seen_after_the_deletion(cache: Cache) -> None:
    cache.feed(DEPLOYMENT, "ADDED", child(uid="u1", version=5))
    cache.feed(DEPLOYMENT, "DELETED", child(uid="u1", version=9))

    assert cache.feed(DEPLOYMENT, "ADDED", child(uid="u2", version=10)) == (FRAUD,)


def test_a_successor_is_seen_even_where_the_deletion_was_missed(cache: Cache) -> None:
    cache.feed(DEPLOYMENT, "ADDED", child(uid="u1", version=5))
    cache.feed(DEPLOYMENT, None, child(uid="u2", version=10))

    assert cache.get(DEPLOYMENT, "ns", "fraud-abc")["metadata"]["uid"] == "u2"  # type: ignore[index]


def replicas(cache: Cache) -> int:
    found = cache.get(DEPLOYMENT, "ns", "fraud-abc")
    assert found
    return int(found["spec"]["replicas"])


def test_a_number_of_pods_that_we_asked_for_is_known_at_once_and_the_watch_has_the_last_word(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(version=5, spec={"replicas": 1}))

    cache.scaled(DEPLOYMENT, "ns", "fraud-abc", 3)
    cache.scaled(DEPLOYMENT, "ns", "not-there", 3)
    assert replicas(cache) == 3

    assert cache.feed(DEPLOYMENT, "MODIFIED", child(version=6, spec={"replicas": 2})) == (FRAUD,)
    assert replicas(cache) == 2


def test_what_we_deleted_is_gone_at_once(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(version=5))
    cache.drop(DEPLOYMENT, "ns", "fraud-abc", "u1")

    assert seen(cache) is None
    assert cache.feed(DEPLOYMENT, "MODIFIED", child(version=5)) == ()


def test_what_we_deleted_and_a_finalizer_keeps_is_seen_again(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(version=5))
    cache.drop(DEPLOYMENT, "ns", "fraud-abc", "u1")

    assert cache.feed(DEPLOYMENT, "MODIFIED", child(version=6)) == (FRAUD,)


def test_a_drop_of_another_object_of_that_name_does_nothing(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(uid="u2"))
    cache.drop(DEPLOYMENT, "ns", "fraud-abc", "u1")

    assert seen(cache) == "5"


def test_deletions_are_remembered_in_a_limited_number(cache: Cache) -> None:
    for number in range(REMEMBERED_DELETIONS + 10):
        cache.feed(DEPLOYMENT, "DELETED", child(name=f"n{number}", version=9))

    assert len(cache._gone) == REMEMBERED_DELETIONS


# -- complete lists


def test_what_a_complete_list_does_not_show_is_forgotten(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child("fraud-abc", version=5))
    cache.put(DEPLOYMENT, child("fraud-def", version=6))

    assert cache.prune(DEPLOYMENT, None, {("ns", "fraud-def")}, 20) == (FRAUD,)
    assert [obj["metadata"]["name"] for _, obj in cache.of("ns", "fraud")] == ["fraud-def"]


def test_what_was_made_after_the_list_stays(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(version=25))

    assert cache.prune(DEPLOYMENT, None, set(), 20) == ()
    assert seen(cache) == "25"


def test_a_list_of_one_namespace_or_kind_says_nothing_of_others(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child())

    assert cache.prune(DEPLOYMENT, "other", set(), 20) == ()
    assert cache.prune(SERVICE, None, set(), 20) == ()
    assert seen(cache) == "5"


# -- finding


def test_everything_of_a_deployment_is_found_with_its_kind(cache: Cache) -> None:
    cache.put(MODEL_DEPLOYMENT, deployment())
    cache.put(DEPLOYMENT, child("fraud-b"))
    cache.put(DEPLOYMENT, child("fraud-a"))
    cache.put(SERVICE, child("fraud"))
    cache.put(SERVICE, child("other", owner="other"))

    assert [(kind, obj["metadata"]["name"]) for kind, obj in cache.of("ns", "fraud")] == [
        (DEPLOYMENT, "fraud-a"), (DEPLOYMENT, "fraud-b"), (SERVICE, "fraud"),
    ]  # fmt: skip


def test_deployments_of_the_same_name_elsewhere_are_others(cache: Cache) -> None:
    cache.put(MODEL_DEPLOYMENT, deployment())
    cache.put(MODEL_DEPLOYMENT, deployment(namespace="other"))
    cache.put(DEPLOYMENT, child())

    assert cache.deployments() == [FRAUD, ("other", "fraud")]
    assert cache.of("other", "fraud") == []


def test_what_is_given_out_may_be_changed(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child(spec={"replicas": 1}))
    found = cache.get(DEPLOYMENT, "ns", "fraud-abc")
    assert found
    found["spec"]["replicas"] = 9

    assert cache.get(DEPLOYMENT, "ns", "fraud-abc") == child(spec={"replicas": 1})


def test_the_deployment_of_an_object_without_labels_is_unknown() -> None:
    assert key_of(POD, {"metadata": {"name": "p", "namespace": "ns"}}) is None


# -- memory


def test_what_nobody_reads_is_not_kept(cache: Cache) -> None:
    full = child(spec={"replicas": 1})
    full["metadata"] |= {"managedFields": [{"manager": "x"}], "annotations": {LAST_APPLIED: "{}", "a": "b"}}
    cache.put(DEPLOYMENT, full)

    found = cache.get(DEPLOYMENT, "ns", "fraud-abc")

    assert found
    assert "managedFields" not in found["metadata"]
    assert found["metadata"]["annotations"] == {"a": "b"}
    assert full["metadata"]["managedFields"], "the caller's object is its own"


def test_of_a_pod_only_what_is_observed_is_kept(cache: Cache) -> None:
    pod = child(
        spec={"nodeName": "n1", "containers": [{"env": [{"name": "A", "value": "b"}]}]}, status={"phase": "Running"}
    )
    pod["metadata"]["annotations"] = {"a": "b"}
    cache.put(POD, pod)

    found = cache.get(POD, "ns", "fraud-abc")

    assert found
    assert found["kind"] == "Pod"
    assert found["spec"] == {"nodeName": "n1"}
    assert found["status"] == {"phase": "Running"}
    assert set(found["metadata"]) == {"name", "namespace", "uid", "resourceVersion", "labels"}


@pytest.mark.parametrize("kind", [DEPLOYMENT, POD])
def test_items_of_lists_which_do_not_say_what_they_are_are_told(cache: Cache, kind: Kind) -> None:
    item = child()
    del item["apiVersion"], item["kind"]
    cache.put(kind, item)

    found = cache.get(kind, "ns", "fraud-abc")

    assert found
    assert (found["apiVersion"], found["kind"]) == (kind.api_version, kind.kind)


def test_sizes_are_told_by_kind(cache: Cache) -> None:
    cache.put(DEPLOYMENT, child())
    [(kind, count, size)] = cache.sizes()

    assert (kind, count) == (DEPLOYMENT, 1)
    assert 50 < size < 500


# -- in any order


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Object]]:
    """What became of one name: objects that came, changed and went, one after another."""
    version, history = 0, []
    for number in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 3))):
            version += 1
            history.append(("MODIFIED", child(uid=f"u{number}", version=version)))
        version += 1
        history.append(("DELETED", child(uid=f"u{number}", version=version)))
    return history if draw(st.booleans()) else history[:-1]


@settings(deadline=None)
@given(histories(), st.data())
def test_however_answers_and_events_mix_the_end_is_right(
    history: list[tuple[str, Object]], data: st.DataObject
) -> None:
    """The watch tells everything in order, though late and perhaps twice; answers to writes come in between."""
    cache = Cache()
    states = [obj for event_type, obj in history if event_type != "DELETED"]
    for event_type, obj in history:
        for answer in data.draw(st.lists(st.sampled_from(states), max_size=2)):
            cache.put(DEPLOYMENT, answer)
        for _ in range(data.draw(st.integers(1, 2))):
            cache.feed(DEPLOYMENT, event_type, obj)
    for answer in data.draw(st.lists(st.sampled_from(states), max_size=2)):
        cache.put(DEPLOYMENT, answer)

    last_type, last = history[-1]
    assert seen(cache) == (None if last_type == "DELETED" else last["metadata"]["resourceVersion"])
    assert len(cache.of("ns", "fraud")) == (0 if last_type == "DELETED" else 1)
