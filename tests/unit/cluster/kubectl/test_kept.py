"""What watches have shown is put together, and whose news it is."""

from __future__ import annotations

from tidegate.cluster.kubectl.kept import Kept
from tidegate.cluster.kubectl.watching import Where
from tidegate.plan.manifests.identity import MODEL_DEPLOYMENT, POD

FRAUD, CHURN, OTHER = ("shop", "fraud"), ("shop", "churn"), ("bank", "fraud")


def kept(*rollouts: tuple[str, str]) -> Kept:
    found = Kept()
    for key in rollouts:
        found.put((key, ""), b'{"a":1}')
    return found


def test_a_rollout_is_shown_with_its_pods_by_name() -> None:
    found = kept(FRAUD)
    found.put((FRAUD, "b"), b'"b"')
    found.put((FRAUD, "a"), b'"a"')
    found.put((CHURN, "c"), b'"c"')

    assert found.show(FRAUD) == b'{"a":1,"pods":["a","b"]}'
    assert found.show(CHURN) is None, "a pod whose rollout is not known yet"
    found.drop((FRAUD, "a"))
    assert found.show(FRAUD) == b'{"a":1,"pods":["b"]}'
    found.drop((FRAUD, "nothing"))
    found.drop((FRAUD, ""))
    assert found.show(FRAUD) is None


def test_what_a_list_did_not_show_is_missing_and_only_in_its_place() -> None:
    found = kept(FRAUD, CHURN, OTHER)
    found.put((FRAUD, "a"), b"1")

    assert found.missing(Where(MODEL_DEPLOYMENT, "shop"), {(FRAUD, "")}) == [(CHURN, "")]
    assert found.missing(Where(MODEL_DEPLOYMENT, None), {(FRAUD, ""), (CHURN, "")}) == [(OTHER, "")]
    assert found.missing(Where(POD, "shop"), set()) == [(FRAUD, "a")]
    assert found.missing(Where(POD, "bank"), set()) == []


def test_pods_that_may_not_be_seen_are_not_shown_as_none() -> None:
    found = kept(FRAUD, OTHER)

    assert found.refuse_pods("shop", refused=True) == [FRAUD]
    assert found.refuse_pods("shop", refused=True) == [], "known already"
    assert found.show(FRAUD) == b'{"a":1}'
    assert found.show(OTHER) == b'{"a":1,"pods":[]}'
    assert found.refuse_pods("shop", refused=False) == [FRAUD]
    assert found.refuse_pods(None, refused=True) == [FRAUD, OTHER]
    assert found.show(OTHER) == b'{"a":1}'
