"""A refusal that a schema cannot say: the same rule in CEL for the API server and in Python for everything else.

Each rule is one object, attached to its type: to a scalar through `Annotated`, to a model through `RULES`.  The message
says what to write instead.  A rule holds for values that passed the schema; defaults are filled in before it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """`cel` and `holds` say the same; `message` tells whoever broke it what to write."""

    cel: str
    message: str
    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return with_rules(handler(schema), (self,))

    def check(self, value: Any) -> Any:
        if not self.holds(value):
            raise refusal(self.message)
        return value


@dataclass(frozen=True, slots=True)
class Keyed:
    """A list whose items have different values of `key`: Kubernetes merges such lists by it."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}

    def check(self, items: Any) -> Any:
        names = [getattr(item, self.key) for item in items]
        for name in names:
            if names.count(name) > 1:
                raise refusal(f"write each {self.key} once: {name} is there {names.count(name)} times")
        return items


def refusal(message: str) -> PydanticCustomError:
    # Braces would be read as placeholders of the message's context.
    return PydanticCustomError("rule", "{message}", {"message": message})


def with_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    if not rules:
        return schema
    added = [{"rule": rule.cel, "message": rule.message} for rule in rules]
    return {**schema, VALIDATIONS: [*schema.get(VALIDATIONS, []), *added]}


def there(value: Any) -> Any:
    """A map without its nulls; anything else as it is."""
    if isinstance(value, Mapping):
        return {name: part for name, part in value.items() if part is not None}
    return value


class ApiModel(BaseModel):
    """Part of a manifest: camelCase outside, snake_case inside, frozen, nothing unknown, a null is not there."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, written: Any) -> Any:
        # The API server drops nulls of what is not nullable, fields and entries of maps, before it fills in defaults.
        if isinstance(written, Mapping):
            return {name: there(value) for name, value in written.items() if value is not None}
        return written

    @model_validator(mode="after")
    def keeps_its_rules(self) -> ApiModel:
        if broken := [rule.message for rule in self.RULES if not rule.holds(self)]:
            raise refusal("\n".join(broken))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler(schema)
        target = handler.resolve_ref_schema(made)
        target.update(with_rules(target, cls.RULES))
        for name, field in cls.model_fields.items():
            part = target["properties"][field.alias or name]
            part.pop("default", None)
            if not field.is_required() and (default := cls.written_default(name)) is not None:
                part["default"] = default
        return made

    @classmethod
    def written_default(cls, name: str) -> Any:
        """A field's default as a manifest holds it, whole: the API server asks the rules of a default as it stands.

        pydantic writes defaults by the type of the value (a minute as PT1M) and leaves factories out.
        """
        field = cls.model_fields[name]
        filled = cls.model_construct(**{name: field.get_default(call_default_factory=True, validated_data={})})
        written = filled.model_dump(mode="json", by_alias=True, include={name}, exclude_none=True)
        return written.get(field.alias or name)
