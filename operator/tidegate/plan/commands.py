"""What people ask for by annotation: `<revision>[/<step>]@<RFC3339 time>` under a verb.

`status.commands` holds the last handled value of each verb.  A value that differs acts once; of several new ones the
latest acts and the others are only noted, so that a copied or restored object does not replay its past.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tidegate.api.names import GROUP
from tidegate.plan.verbs import Verb

MAX_VALUE = 160
_VALUE = re.compile(r"(?P<revision>[a-z0-9-]{1,63})(?:/(?P<step>\d{1,3}))?@(?P<time>\S{1,64})")


@dataclass(frozen=True, slots=True)
class Command:
    """One request of a person."""

    verb: Verb
    revision: str
    step: int | None
    at: datetime


def asked_by(annotations: Mapping[str, str]) -> dict[str, str]:
    """What people ask for, by verb: annotations of a deployment, because GitOps tools leave those alone."""
    names = {verb.value: f"{GROUP}/{verb.value}" for verb in Verb}
    return {verb: annotations[name][:MAX_VALUE] for verb, name in names.items() if name in annotations}


def value_time(at: datetime) -> str:
    """The moment of a command as its value holds it; `at` is in UTC."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_command(verb: str, value: str) -> Command | None:
    """The command, or None when it is none that we know: unknown verbs and broken values are ignored."""
    match = _VALUE.fullmatch(value[: MAX_VALUE + 1])
    if match is None or verb not in set(Verb):
        return None
    try:
        at = datetime.fromisoformat(match["time"])
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    step = match["step"]
    return Command(Verb(verb), match["revision"], int(step) if step else None, at)


def new_commands(asked: Mapping[str, str], handled: Mapping[str, str]) -> dict[str, str]:
    """Values of known verbs that are not the last handled ones."""
    return {verb: asked[verb][:MAX_VALUE] for verb in Verb if verb in asked and asked[verb] != handled.get(verb)}


def latest(asked: Mapping[str, str]) -> Command | None:
    """Of several new commands the one that was given last."""
    commands = [command for verb, value in asked.items() if (command := parse_command(verb, value))]
    return max(commands, key=lambda command: (command.at, command.verb), default=None)
