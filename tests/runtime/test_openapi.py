"""What `tidegate openapi` says of a bundle is what its server takes, refuses and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running

from tidegate.author.openapi import openapi_document
from tidegate.bundle.manifest import read_bundle_dir

TYPES: list[tuple[str, int, list[int | str]]] = [
    ("FP16", 10, ["N", 2]),
    ("BYTES", 8, []),
    ("UINT8", 2, [3]),
    ("INT64", 7, ["N"]),
]
X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}


@pytest.fixture(scope="module")
def bundle(bundles: Callable[..., Path]) -> Path:
    return bundles(small.linear(), small.linear_samples(), labels="low\nmiddle\nhigh\n")


@pytest.fixture(scope="module")
def server(bundle: Path, serve: Callable[..., Running]) -> Running:
    return serve(bundle)


@pytest.fixture(scope="module")
def described(bundle: Path) -> dict[str, Any]:
    return openapi_document(read_bundle_dir(bundle).manifest, name="fraud", server="http://localhost:8080/")


def objections(described: dict[str, Any], schema: str, document: object) -> list[str]:
    """What the schema of that name has against a document; OpenAPI 3.1 has JSON Schema's own words."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": described["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(document)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"id": "42", "parameters": {"timeout": 10_000_000}},
        {"inputs": [X | {"data": [[1, 2, 3, 4]]}]},
        {"inputs": [X | {"shape": [2, 4], "data": [[1, 2, 3, 4], [5, 6, 7, 8.5]]}]},
        {"outputs": [{"name": "label"}]},
        {"outputs": [{"name": "scores", "parameters": {"classification": 2}}]},
    ],
)
def test_what_the_server_takes_and_answers_fits_the_schemas(
    described: dict[str, Any], server: Running, change: dict[str, Any]
) -> None:
    request = {"inputs": [X], **change}

    answer = server.infer(request)

    assert answer.status == 200
    assert objections(described, "InferRequest", request) == []
    assert objections(described, "InferResponse", answer.json) == []


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"inputs": []},
        {"inputs": [X, X]},
        {"inputs": [X | {"name": "y"}]},
        {"inputs": [X | {"datatype": "FP64"}]},
        {"inputs": [X | {"shape": [4]}]},
        {"inputs": [X | {"shape": [1, 5]}]},
        {"inputs": [X | {"shape": [-1, 4]}]},
        {"inputs": [X | {"data": ["1", "2", "3", "4"]}]},
        {"inputs": [X | {"data": [[1, 2, 3]]}]},
        {"inputs": [X | {"parameters": {"binary_data_size": 16}}]},
        {"inputs": [{**X, "data": None}]},
        {"inputs": [X], "id": 42},
        {"inputs": [X], "outputs": [{"name": "another"}]},
    ],
)
def test_what_the_server_refuses_does_not_fit_the_schema(
    described: dict[str, Any], server: Running, request_: dict[str, Any]
) -> None:
    answer = server.infer(request_)

    assert answer.status == 400
    assert objections(described, "InferRequest", request_) != []
    assert objections(described, "Error", answer.json) == []


def test_every_path_is_answered_as_it_is_described(described: dict[str, Any], server: Running) -> None:
    asked = 0
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if method != "get":
                continue
            answer = server.get(path.replace("{version}", "v1"))
            content = operation["responses"][str(answer.status)]["content"]["application/json"]
            assert objections(described, content["schema"]["$ref"].rpartition("/")[2], answer.json) == []
            asked += answer.status == 200
    assert asked == 5
    assert set(described["paths"]["/v2/models/fraud/infer"]["post"]["responses"]) >= {"200", "400", "429"}


def test_every_schema_is_one_and_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in references(described):
        found: Any = described
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def references(document: Any) -> list[str]:
    if isinstance(document, list):
        return [found for part in document for found in references(part)]
    if isinstance(document, dict):
        own = [document["$ref"]] if "$ref" in document else []
        return own + [found for part in document.values() for found in references(part)]
    return []


def test_types_and_odd_shapes_are_described_as_the_protocol_carries_them(tmp_path: Path) -> None:
    shapes: dict[str, Any] = {}
    for name, number, shape in TYPES:
        bundle = small.write_bundle(tmp_path / name, small.cast(number, shape))
        manifest = read_bundle_dir(bundle).manifest
        document = openapi_document(manifest, name="fraud", server="http://localhost:8080")
        shapes[name] = document

    def fits(of: str, shape: list[int], data: Any = None, size: int | None = None) -> bool:
        tensor: dict[str, Any] = {"name": "x", "datatype": of, "shape": shape}
        tensor |= {"data": data} if size is None else {"parameters": {"binary_data_size": size}}
        return objections(shapes[of], "InferRequest", {"inputs": [tensor]}) == []

    assert fits("FP16", [1, 2], size=4)
    assert not fits("FP16", [1, 2], [1, 2])
    assert fits("BYTES", [], ["a text"])
    assert not fits("BYTES", [1], ["a text"])
    assert fits("UINT8", [3], [0, 1, 255])
    assert not fits("UINT8", [3], [0, 1, 256])
    assert not fits("INT64", [1], [1.5])
    assert fits("INT64", [1], [-(2**63)])


def test_the_description_keeps_to_the_schema_of_openapi_itself(described: dict[str, Any]) -> None:
    """The schema is the OpenAPI Initiative's, https://spec.openapis.org/oas/3.1/schema/2022-10-07."""
    schema = json.loads((Path(__file__).parent / "openapi-3.1.schema.json").read_text())

    assert [error.message for error in Draft202012Validator(schema).iter_errors(described)] == []


def test_the_description_is_json_and_names_the_server(described: dict[str, Any]) -> None:
    assert json.loads(json.dumps(described)) == described
    assert described["servers"] == [{"url": "http://localhost:8080"}]
    assert described["openapi"].startswith("3.1")
