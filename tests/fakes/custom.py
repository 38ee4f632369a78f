"""How an API server treats a ModelDeployment: what the schema does not know is dropped, defaults are filled in, and
what breaks a rule is refused.

The schema is the generated one; its rules are asked in their Python form, which tests/unit/api proves to be the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from tidegate.api.crd import object_schema
from tidegate.api.spec import ModelDeployment
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.errors import Refused

from .fields import Object


@cache
def schemas() -> Mapping[str, Any]:
    parts: Mapping[str, Any] = object_schema()["properties"]
    return parts


def admitted(obj: Object) -> Object:
    """The object as it is stored."""
    made = {name: obj[name] for name in ("apiVersion", "kind", "metadata")}
    fields = {name: schemas()[name] for name in ("spec", "status")}
    return {**made, **_fitted_object(fields, obj)}


def _fitted(schema: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, dict) and "properties" in schema:
        return _fitted_object(schema["properties"], value)
    if isinstance(value, dict) and (inner := schema.get("additionalProperties")):
        return {name: _fitted(inner, part) for name, part in value.items() if part is not None}
    if isinstance(value, list) and (inner := schema.get("items")):
        return [_fitted(inner, part) for part in value]
    return value


def _fitted_object(fields: Mapping[str, Any], value: Object) -> Object:
    made = {name: part for name, part in value.items() if name in fields and part is not None}
    for name, schema in fields.items():
        if "default" in schema and name not in made:
            made[name] = copy.deepcopy(schema["default"])
    return {name: _fitted(fields[name], part) for name, part in made.items()}


def with_fitting_status(obj: Object) -> Object:
    """The object with its status as the schema lets it through; refused where a bound is broken."""
    status = _fitted(schemas()["status"], obj.get("status") or {})
    try:
        ModelDeploymentStatus.model_validate(status)
    except ValidationError as error:
        raise Refused(f"status is invalid: {'; '.join(_told(error))}") from None
    return {**obj, "status": status}


def objections(obj: Object) -> list[str]:
    """Why the server refuses it."""
    try:
        ModelDeployment.model_validate(obj)
    except ValidationError as error:
        return _told(error)
    return []


def _told(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, found['loc']))}: Invalid value: {found['msg']}" for found in error.errors()]
