"""The words and numbers of a manifest: durations, rates, digests, addresses, names.

Text that is refused for its form is refused by a rule with a sentence, not by a bare pattern: "should match ^[a-z…"
helps nobody.  Patterns stay where the API server would refuse the rule's cost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tidegate.api.rules import Rule, refusal, with_rules

UNITS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
DURATION = r"^([0-9]{1,6}(\.[0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms)+$"
DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
PERCENT = r"^[0-9]{1,3}(\.[0-9]{1,2})?%$"


def matches(pattern: str, message: str) -> Rule:
    """A rule that text has a form; the pattern is one that RE2 and Python read alike."""
    compiled = re.compile(pattern)
    quoted = pattern.replace("\\", "\\\\").replace("'", "\\'")
    return Rule(f"self.matches('{quoted}')", message, lambda text: bool(compiled.search(text) and "\n" not in text))


def number(value: Any) -> Any:
    """A number as YAML and JSON know it: text and truth values are none."""
    if isinstance(value, bool | str | bytes):
        raise PydanticCustomError("number", "write a number, without quotes")
    return value


def truth(value: Any) -> Any:
    if not isinstance(value, bool):
        raise PydanticCustomError("truth", "write true or false, without quotes")
    return value


# Stands last: bounds that come after a validator are enforced and yet missing in the schema that pydantic writes.
NUMBER = BeforeValidator(number)
Flag = Annotated[bool, BeforeValidator(truth)]

Rate = Annotated[
    float,
    Rule(
        "self > 0.0 && self < 1.0",
        "write a share between 0 and 1, both excluded: 0.001 is one in a thousand",
        lambda rate: 0 < rate < 1,
    ),
    NUMBER,
]


def parse_duration(text: str) -> timedelta:
    """`1m30s` as a timedelta; the text has the form of DURATION."""
    milliseconds = sum(round(float(amount) * UNITS[unit]) for amount, unit in DURATION_PART.findall(text))
    return timedelta(milliseconds=milliseconds)


def format_duration(value: timedelta) -> str:
    """A timedelta as `1h`, `1m30s`, `20ms`: the shortest form that `parse_duration` reads back."""
    left, parts = round(value / timedelta(milliseconds=1)), []
    for unit, size in UNITS.items():
        amount, left = divmod(left, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a duration, and how it is read: text outside, timedelta inside."""

    least: str
    most: str
    word: str = ""  # may be written instead of a duration

    @property
    def rule(self) -> Rule:
        escaped = DURATION.replace("\\", "\\\\")
        cel = (
            f"self.matches('{escaped}') && duration(self) >= duration('{self.least}')"
            f" && duration(self) <= duration('{self.most}')"
        )
        either = f", or {self.word}" if self.word else ""
        message = f"write a duration between {self.least} and {self.most}, such as 90s or 1m30s{either}"
        return Rule(f"self == '{self.word}' || ({cel})" if self.word else cel, message, self.accepts)

    def accepts(self, text: str) -> bool:
        if text == self.word and self.word:
            return True
        if not re.search(DURATION, text) or "\n" in text:
            return False
        return parse_duration(self.least) <= parse_duration(text) <= parse_duration(self.most)

    def read(self, value: Any) -> Any:
        if isinstance(value, timedelta):
            value = format_duration(value)
        if not isinstance(value, str) or not self.accepts(value) or len(value) > self.longest:
            raise refusal(self.rule.message)
        return value if value == self.word else parse_duration(value)

    @property
    def longest(self) -> int:
        return 16

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: format_duration(value) if isinstance(value, timedelta) else value, when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return with_rules({"type": "string", "maxLength": self.longest}, (self.rule,))


Duration = Annotated[timedelta, Between("0s", "168h")]
Positive = Annotated[timedelta, Between("1ms", "168h")]
Seconds = Annotated[timedelta, Between("1s", "168h")]

PERCENT_RULE = Rule(
    f"self.matches('{PERCENT.replace(chr(92), chr(92) * 2)}') && self.matches('[1-9]')",
    "write a percentage above 0 with its sign: 20%",
    lambda text: bool(re.search(PERCENT, text) and "\n" not in text and re.search("[1-9]", text)),
)


def parse_percent(value: Any) -> Any:
    if not isinstance(value, str) or not PERCENT_RULE.holds(value):
        raise refusal(PERCENT_RULE.message)
    return float(value[:-1]) / 100


Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    PlainSerializer(lambda share: f"{share * 100:.6g}%", return_type=str, when_used="json"),
    WithJsonSchema(with_rules({"type": "string", "maxLength": 8}, (PERCENT_RULE,))),
]

DIGEST = r"^sha256:[0-9a-f]{64}$"
Digest = Annotated[
    str,
    Field(max_length=71),
    matches(DIGEST, "write the digest that `tidegate pack` printed: sha256: and 64 hexadecimal digits"),
]

# Kubernetes quantities are written as numbers (cpu: 2) and as text (memory: 2Gi).
QUANTITY = r"^[0-9]{1,9}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
QUANTITY_RULE_MESSAGE = "write a quantity such as 2, 500m or 2Gi"


def parse_quantity(value: Any) -> str:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    text = str(int(value)) if whole else value
    if not isinstance(text, str) or not re.search(QUANTITY, text) or "\n" in text:
        raise refusal(QUANTITY_RULE_MESSAGE)
    return text


Quantity = Annotated[
    str,
    BeforeValidator(parse_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY,
            "maxLength": 16,
            "minimum": 0,
            "maximum": 999_999_999,
            "x-kubernetes-int-or-string": True,
        }
    ),
]

LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(DNS_NAME, "write the name of an object: lower-case letters, digits, - and . only"),
]
SettingName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "write a name of the operator's settings"),
]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
LabelKey = Annotated[
    str, Field(min_length=1, max_length=63), matches(LABEL_KEY, "write label keys as NAME or example.com/NAME")
]
