"""Every refusal of the API, and its defaults, by a real API server: what the unit tests say of the schema is true of it.

The table is that of tests/unit/api.  A rule's sentence reaches whoever applies a manifest word for word; where the
schema itself refuses (types, numbers, lengths), Kubernetes has words of its own, which name the field and the bound.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.control_plane.client import APPLY, ApiError
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object, resource
from tests.unit.api import test_refusals as table
from tests.unit.api.conftest import ApiServer
from tests.unit.plan.manifests.test_fields import EXAMPLES as FIELDS

from tidegate.api import yamltext
from tidegate.api.names import KIND
from tidegate.api.spec import ModelDeployment

ROOT = Path(__file__).resolve().parents[2]
SIMULATED = ApiServer()
# What Kubernetes says of a value that a schema without rules of ours refuses.
OWN_WORDS = (
    "in body must be of type", "in body should be", "in body should match", "Too many", "Too long", "must be",
    "Unsupported value", "Duplicate value", "unknown field", "should have at least",
)  # fmt: skip


@pytest.fixture(scope="module")
def namespace(api_server: Plane) -> str:
    """One is enough: hardly anything is stored here."""
    return api_server.new_namespace("contract")


def path(namespace: str, name: str = "") -> str:
    return resource("modeldeployments").path(namespace, name)


def sent(plane: Plane, namespace: str, document: Object, checks: str = "Strict") -> Object:
    """The object that a server would store; kubectl asks for strict checks."""
    placed = {**document, "metadata": {**document["metadata"], "namespace": namespace}}
    query = {"dryRun": "All", "fieldValidation": checks}
    return plane.client.request("POST", path(namespace), placed, query=query)


def refusal(plane: Plane, namespace: str, document: Object) -> str:
    with pytest.raises(ApiError) as refused:
        sent(plane, namespace, document)
    assert refused.value.status in (400, 422)
    return refused.value.message


def cases(test: Callable[..., Any]) -> list[Any]:
    """The values that a test of the table is run with."""
    marks: list[pytest.Mark] = test.pytestmark  # type: ignore[attr-defined]
    return [value for mark in marks if mark.name == "parametrize" for value in mark.args[1]]


def sentences(document: Object) -> list[str]:
    """What the rules have to say, if the schema lets them speak."""
    return [line.split(": ", 1)[1] for line in SIMULATED.refusals(document) if line.startswith(".")]


def places(place: str) -> Iterator[str]:
    """A field as the API server names it: an entry of a map in brackets, of a list with its number."""
    yield place
    before, _, last = place.rpartition(".")
    yield f"{before}[{last}]"
    yield before  # of a key of a map that has the wrong form


@pytest.mark.parametrize("case", table.REFUSED)
def test_what_cannot_work_is_refused_with_its_place_and_what_to_write(
    case: str, api_server: Plane, namespace: str
) -> None:
    text, place, says = table.REFUSED[case]
    document = table.manifest(yaml.safe_load(text))

    message = refusal(api_server, namespace, document)

    assert any(where in message for where in places(place)), message
    told = [sentence for sentence in sentences(document) if not sentence.startswith("duplicate ")]
    assert all(sentence in message for sentence in told), message
    assert (says in message) if told else any(words in message for words in OWN_WORDS), message


@pytest.mark.parametrize("case", table.URIS)
def test_an_address_that_is_none_is_refused(case: str, api_server: Plane, namespace: str) -> None:
    uri, says = table.URIS[case]
    document = table.manifest({"bundle": {"uri": uri}})

    message = refusal(api_server, namespace, document)

    assert "spec.bundle.uri" in message
    assert says in message or any(words in message for words in ("Too long", "at least 1 chars")), message


@pytest.mark.parametrize("digest", cases(table.test_a_malformed_digest_is_refused))
def test_a_malformed_digest_is_refused(digest: str, api_server: Plane, namespace: str) -> None:
    document = table.manifest({"bundle": {"uri": "s3://models/fraud/1", "digest": digest}})

    assert "spec.bundle.digest" in refusal(api_server, namespace, document)


@pytest.mark.parametrize("name", cases(table.test_a_name_that_its_children_cannot_carry_is_refused))
def test_a_name_that_its_children_cannot_carry_is_refused(name: str, api_server: Plane, namespace: str) -> None:
    document = table.manifest({})
    document["metadata"]["name"] = name

    assert name in refusal(api_server, namespace, document)


def test_an_edit_is_refused_as_a_creation_is(api_server: Plane, namespace: str) -> None:
    good = table.manifest({})
    good["metadata"] = {"name": "edited", "namespace": namespace}
    api_server.client.create(good)

    for case in ("min above max", "weights that fall", "a GPU without accelerator", "error rate 5"):
        bad = {**good, "spec": good["spec"] | yaml.safe_load(table.REFUSED[case][0])}
        for form, query in (
            ("application/merge-patch+json", {}),
            (APPLY, {"fieldManager": "a-person", "force": "true"}),
        ):
            with pytest.raises(ApiError) as refused:
                api_server.client.request("PATCH", path(namespace, "edited"), bad, query=query, form=form)
            assert refused.value.status == 422, case

    stored = api_server.client.read("modeldeployments", namespace, "edited")
    assert stored["metadata"]["generation"] == 1


# -- what is taken


def documents() -> dict[str, Object]:
    """Manifests in order: each example, each kind of address, each field that the unit tests give a value."""
    found: dict[str, Object] = {}
    for file in sorted(ROOT.glob("examples/*.yaml")):
        ours = [one.values for one in yamltext.documents(file.read_bytes()) if one.values["kind"] == KIND]
        found |= {f"{file.name} {one['metadata']['name']}": one for one in ours}
    for uri in cases(table.test_every_kind_of_address_is_taken):
        found[uri] = table.manifest({"bundle": {"uri": uri}})
    for field, (value, around) in FIELDS.items():
        found[field] = table.manifest({field.partition(".")[0]: {**around, **value}})
    return found


DOCUMENTS = documents()


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_manifest_in_order_is_taken_with_the_defaults_of_the_types(
    case: str, api_server: Plane, namespace: str
) -> None:
    document = DOCUMENTS[case]

    stored = sent(api_server, namespace, document)["spec"]

    read = ModelDeployment.model_validate({**document, "metadata": {"name": "fraud"}}).spec
    assert type(read).model_validate(stored) == read
    assert plain(stored) == plain(read.model_dump(mode="json", by_alias=True, exclude_none=True))


def plain(value: Any) -> Any:
    """Written amounts in one form: 2 is "2", 1.0 is 1."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value


def test_what_is_not_written_is_filled_in_by_the_server(api_server: Plane, namespace: str) -> None:
    stored = sent(api_server, namespace, table.manifest({}))["spec"]

    assert stored["rollout"]["steps"] == [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}]
    assert (stored["scaling"]["minReplicas"], stored["runtime"]["device"], stored["paused"]) == (1, "cpu", False)


def test_a_null_is_as_good_as_nothing(api_server: Plane, namespace: str) -> None:
    empty = sent(api_server, namespace, table.manifest({"rollout": None, "scaling": {"maxReplicas": None}}))

    assert empty["spec"] == sent(api_server, namespace, table.manifest({}))["spec"]


# -- what nobody knows


def unknown() -> Object:
    document = copy.deepcopy(table.manifest({}))
    document["spec"]["rollout"] = {"stepz": []}
    return document


def test_a_field_that_does_not_exist_is_refused_where_checks_are_strict(api_server: Plane, namespace: str) -> None:
    assert 'unknown field "spec.rollout.stepz"' in refusal(api_server, namespace, unknown())


def test_a_field_that_does_not_exist_is_warned_of_and_dropped_otherwise(api_server: Plane, namespace: str) -> None:
    document = unknown()
    document["metadata"]["namespace"] = namespace
    query = {"dryRun": "All", "fieldValidation": "Warn"}

    answer = api_server.client._answer("POST", path(namespace), document, query=query)

    assert 'unknown field \\"spec.rollout.stepz\\"' in answer.headers["Warning"]
    assert "stepz" not in json.loads(answer.data)["spec"]["rollout"]
