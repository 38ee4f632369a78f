"""What a gateway says of a route counts for the generation that it says it of."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.plan.manifests.parents import Parent, objection

HTTPS = {"name": "public", "namespace": "gateways", "sectionName": "https"}


def condition(kind: str, status: str = "True", generation: int | None = 3, reason: str = "", message: str = "") -> Any:
    seen = {} if generation is None else {"observedGeneration": generation}
    return {"type": kind, "status": status, "reason": reason or kind, "message": message, **seen}


TAKEN = [condition("Accepted"), condition("ResolvedRefs")]


def route(*said: Any, parents: Any = (HTTPS,)) -> Any:
    """A route at generation 3, and pairs of a parent and its conditions."""
    entries = [{"parentRef": parent, "controllerName": "c", "conditions": conditions} for parent, conditions in said]
    meta = {"name": "fraud", "namespace": "payments", "generation": 3}
    return {"metadata": meta, "spec": {"parentRefs": list(parents)}, "status": {"parents": entries}}


def test_a_route_that_all_its_gateways_have_taken_is_in_effect() -> None:
    here = {"name": "internal"}

    assert objection(route((HTTPS, TAKEN), (here, TAKEN), parents=(HTTPS, here))) is None


@pytest.mark.parametrize("names", [{"name": "internal"}, {**HTTPS, "sectionName": "http"}, {**HTTPS, "namespace": "x"}])
def test_another_gateways_word_is_not_ours(names: Any) -> None:
    found = objection(route((names, TAKEN)))

    assert found is not None
    assert (found.parent, found.silent) == (Parent("gateways", "public", "https"), True)
    assert str(found.parent) == "Gateway gateways/public, listener https"


def test_a_gateway_of_the_routes_own_namespace_is_found_by_its_name() -> None:
    assert (
        objection(route(({"name": "internal", "namespace": "payments"}, TAKEN), parents=({"name": "internal"},)))
        is None
    )


@pytest.mark.parametrize(
    "conditions",
    [
        [],
        [condition("Accepted")],
        [condition("Accepted"), condition("ResolvedRefs", generation=2)],
        [condition("Accepted", generation=None), condition("ResolvedRefs", generation=None)],
    ],
)
def test_what_is_not_said_of_this_generation_is_silence(conditions: Any) -> None:
    found = objection(route((HTTPS, conditions)))

    assert found is not None
    assert found.silent


@pytest.mark.parametrize(
    "against",
    [
        condition("Accepted", "False", reason="NotAllowedByListeners", message="not from here"),
        condition("ResolvedRefs", "False", reason="BackendNotFound", message="no Service"),
        condition("ResolvedRefs", "Unknown", reason="Pending", message="a moment"),
        condition("PartiallyInvalid", reason="UnsupportedValue", message="a rule is left out"),
    ],
)
def test_what_a_gateway_says_against_it_is_passed_on_in_its_words(against: Any) -> None:
    others = [one for one in TAKEN if one["type"] != against["type"]]

    found = objection(route((HTTPS, [*others, against])))

    assert found is not None
    assert (found.message, found.silent) == (f"{against['reason']}: {against['message']}", False)


def test_of_two_controllers_that_speak_for_one_gateway_both_have_to_agree() -> None:
    against = [condition("Accepted", "False", reason="Pending", message="no"), condition("ResolvedRefs")]

    assert objection(route((HTTPS, TAKEN), (HTTPS, against))) is not None
