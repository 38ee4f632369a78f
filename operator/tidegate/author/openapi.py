"""An OpenAPI 3.1 description of one model: the paths of the Open Inference Protocol with this model's tensors.

Every tensor is described twice: as JSON in full, and as binary data by its size alone, which is all that a schema can
say of bytes.  Schemas are strict about what a client writes and open to what later servers may add to an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tidegate.bundle.element_types import ELEMENT_TYPES, FLOATS
from tidegate.bundle.manifest import Manifest, TensorSpec

Schema = dict[str, Any]

OPENAPI = "3.1.0"
JSON = "application/json"
BINARY = "application/octet-stream"
ONLY_BINARY = frozenset({"FP16", "BF16"})
JSON_LENGTH = "Inference-Header-Content-Length"
OF_JSON_LENGTH = (
    "How many bytes of the body are JSON; the tensors follow, little-endian, in the order of the JSON part."
)
ERRORS = {
    "400": "The request says something impossible; the message names the tensor.",
    "404": "Another model or version.",
    "408": "The request's own time ran out.",
    "413": "Larger than the server allows.",
    "429": "The queue is full; come again after Retry-After seconds.",
    "500": "The model failed on this input.",
    "503": "Not ready.",
    "504": "The run took too long.",
}


def openapi_document(manifest: Manifest, *, name: str, server: str) -> Schema:
    """The description of the model that `server` serves as `name`: a URL, or a path on the host of the document."""
    base = f"/v2/models/{quote(name, safe='')}"
    return {
        "openapi": OPENAPI,
        "info": _info(manifest, name),
        "servers": [{"url": server.rstrip("/") or "/"}],
        "paths": {
            "/v2/health/ready": {"get": _question("serverReady", "Whether the server can be asked.", "State", "503")},
            **_paths(base, ""),
            **_paths(f"{base}/versions/{{version}}", "OfVersion"),
        },
        "components": {
            "schemas": _schemas(manifest),
            "parameters": {"version": _version(manifest)},
            "headers": {
                "Revision": {"description": "The rollout's revision that answered.", "schema": {"type": "string"}},
                "JsonLength": {"description": OF_JSON_LENGTH, "schema": {"type": "integer", "minimum": 0}},
            },
        },
    }


def _info(manifest: Manifest, name: str) -> Schema:
    info: Schema = {"title": name, "version": manifest.version}
    if manifest.description:
        info["description"] = manifest.description
    if manifest.license:
        info["license"] = {"name": manifest.license}
    return info


def _version(manifest: Manifest) -> Schema:
    return {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "The bundle's version, or the rollout's revision.",
        "schema": {"type": "string"},
        "example": manifest.version,
    }


def _paths(base: str, suffix: str) -> Schema:
    """The model's paths: for whichever version the weights choose, or for one."""
    version = {"parameters": [{"$ref": "#/components/parameters/version"}]} if suffix else {}
    described = {
        base: {"get": _question(f"metadata{suffix}", "What the model takes and gives.", "Metadata", "404", "503")},
        f"{base}/ready": {"get": _question(f"ready{suffix}", "Whether the model can be asked.", "State", "404", "503")},
        f"{base}/infer": {"post": _inference(suffix)},
    }
    return {path: version | operations for path, operations in described.items()}


def _question(operation: str, summary: str, schema: str, *errors: str) -> Schema:
    return {"operationId": operation, "summary": summary, "responses": _answers(_ref_content(schema), errors)}


def _inference(suffix: str) -> Schema:
    binary = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
    answers = _answers(_ref_content("InferResponse") | binary, tuple(ERRORS))
    answers["200"]["headers"][JSON_LENGTH] = {"$ref": "#/components/headers/JsonLength"}
    length: Schema = {"name": JSON_LENGTH, "in": "header", "description": f"With binary tensors: {OF_JSON_LENGTH}"}
    return {
        "operationId": f"infer{suffix}",
        "summary": "Run the model.",
        "parameters": [length | {"schema": {"type": "integer", "minimum": 0}}],
        "requestBody": {"required": True, "content": _ref_content("InferRequest") | binary},
        "responses": answers,
    }


def _answers(content: Schema, statuses: Sequence[str]) -> Schema:
    revision = {"x-tidegate-revision": {"$ref": "#/components/headers/Revision"}}
    found: Schema = {"200": {"description": "The answer.", "headers": revision, "content": content}}
    for status in statuses:
        found[status] = {"description": ERRORS[status], "content": _ref_content("Error")}
    return found


def _ref_content(schema: str) -> Schema:
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _schemas(manifest: Manifest) -> Schema:
    inputs, outputs = manifest.interface.inputs, manifest.interface.outputs
    return {
        "InferRequest": _request(inputs, outputs),
        "InferResponse": _response(outputs),
        "Metadata": _metadata(),
        "State": _object({"ready": {"type": "boolean"}}, ["ready"]),
        "Error": _object({"error": {"type": "string"}}),  # a server that is not ready says {"ready": false}
        "Parameters": {
            "type": "object",
            "description": "timeout: µs that the client will wait; binary_data_output: answer in binary tensors.",
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        },
    }


def _request(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Schema:
    required = [spec.name for spec in inputs if not spec.optional]
    tensors: Schema = {"type": "array", "minItems": len(required), "maxItems": len(inputs)}
    if inputs:
        tensors["items"] = {"oneOf": [_sent(spec) for spec in inputs]}
    if required:
        tensors["allOf"] = [{"contains": _object({"name": {"const": name}}, ["name"])} for name in required]
    wanted = {"name": {"enum": [spec.name for spec in outputs]}, "parameters": _ref("Parameters")}
    return _object(
        {
            "id": {"type": "string", "maxLength": 256},
            "parameters": _ref("Parameters"),
            "inputs": tensors,
            "outputs": {"type": "array", "items": _object(wanted, ["name"])},
        },
        ["inputs"],
    )


def _response(outputs: Sequence[TensorSpec]) -> Schema:
    return _object(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            # An output that was asked for as its highest classes comes as texts.
            "outputs": {"type": "array", "items": {"anyOf": [*map(_tensor, outputs), _classes(outputs)]}},
        },
        ["model_name", "outputs"],
    )


def _classes(outputs: Sequence[TensorSpec]) -> Schema:
    texts = {"type": "array", "items": {"type": "string", "description": "value:index or value:index:label"}}
    name = {"enum": [spec.name for spec in outputs]}
    return _object(
        {"name": name, "datatype": {"const": "BYTES"}, "shape": _sizes(), "data": texts}, ["name", "datatype"]
    )


def _sent(spec: TensorSpec) -> Schema:
    """An input: its values as JSON, or how many bytes of binary data it has."""
    size = _object({"binary_data_size": {"type": "integer", "minimum": 0}}, ["binary_data_size"])
    sized: Schema = {"required": ["parameters"], "properties": {"parameters": size}}
    valued: Schema = {"required": ["data"]}
    forms = [sized] if spec.element_type in ONLY_BINARY else [sized, valued]
    return _tensor(spec) | {"oneOf": forms}


def _tensor(spec: TensorSpec) -> Schema:
    known: Schema = {
        "name": {"const": spec.name},
        "datatype": {"const": spec.element_type},
        "shape": _shape(spec),
        "parameters": _ref("Parameters"),
    }
    if spec.element_type not in ONLY_BINARY:
        known["data"] = _data(spec)
    return _object(known, ["name", "datatype", "shape"])


def _shape(spec: TensorSpec) -> Schema:
    rank = len(spec.shape)
    sizes = [{"const": size} if isinstance(size, int) else _size(size) for size in spec.shape]
    listed: Schema = {"prefixItems": sizes} if sizes else {}
    return {"type": "array", "minItems": rank, "maxItems": rank, **listed}


def _sizes() -> Schema:
    return {"type": "array", "items": {"type": "integer", "minimum": 0}}


def _size(name: str) -> Schema:
    return {"type": "integer", "minimum": 0, "title": name}


def _data(spec: TensorSpec) -> Schema:
    """The values: flat, or nested exactly like the shape."""
    element = _element(spec.element_type)
    flat: Schema = {"type": "array", "items": element}
    nested = element
    for size in reversed(spec.shape):
        nested = {"type": "array", "items": nested}
        if isinstance(size, int):
            nested |= {"minItems": size, "maxItems": size}
    return {"anyOf": [flat, nested]} if len(spec.shape) > 1 else flat


def _element(element_type: str) -> Schema:
    if element_type == "BYTES":
        return {"type": "string"}
    if element_type == "BOOL":
        return {"type": "boolean"}
    if element_type in FLOATS:
        return {"type": "number", "format": "float" if element_type == "FP32" else "double"}
    bits = 8 * ELEMENT_TYPES[element_type].bytes
    if element_type.startswith("UINT"):
        return {"type": "integer", "minimum": 0, "maximum": 2**bits - 1}
    return {"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}


def _metadata() -> Schema:
    text = {"type": "string"}
    shape = {"type": "array", "items": {"type": "integer", "minimum": -1}}
    tensor = _object({"name": text, "datatype": {"enum": list(ELEMENT_TYPES)}, "shape": shape}, ["name", "datatype"])
    tensors = {"type": "array", "items": tensor}
    versions = {"type": "array", "items": text}
    known = {"name": text, "versions": versions, "platform": text, "inputs": tensors, "outputs": tensors}
    return _object(known, ["name", "inputs", "outputs"])


def _object(properties: Schema, required: Sequence[str] = ()) -> Schema:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
