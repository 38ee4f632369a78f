"""Reads a Containerfile: stages of instructions, each with its line, as far as ours uses the language.

What is not known here is an error, never ignored: an image must not differ from what Docker would build.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

INSTRUCTIONS = frozenset({
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "RUN", "STOPSIGNAL", "USER", "WORKDIR",
})  # fmt: skip
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
FLAG = re.compile(r"--([a-z]+)(?:=(\S+))?\s+")


class Unknown(Exception):
    """The file says something that this builder cannot do; names the line."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; `flags` are its `--name=value`, in order, and `text` what follows them, not yet expanded."""

    line: int
    name: str
    text: str
    flags: tuple[tuple[str, str], ...] = ()

    def words(self, variables: Mapping[str, str]) -> list[str]:
        """The text split as Docker does, variables replaced."""
        return [expanded(word, variables, self.line) for word in shlex.split(self.text)]

    def pairs(self, variables: Mapping[str, str]) -> dict[str, str]:
        """NAME=VALUE of ARG, ENV, LABEL; a name alone has no value."""
        return {name: value for name, _, value in (word.partition("=") for word in self.words(variables))}

    def listed(self) -> list[str]:
        """The JSON list of CMD and ENTRYPOINT; a plain text would need a shell."""
        try:
            found = json.loads(self.text)
        except ValueError:
            found = None
        if not isinstance(found, list):
            raise Unknown(f"line {self.line}: {self.name} must be a JSON list, so that no shell is needed")
        return [str(word) for word in found]


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next; `parent` is a stage's name or an image."""

    line: int
    name: str
    parent: str
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Containerfile:
    """Stages by name, and the arguments before the first with their defaults."""

    stages: dict[str, Stage]
    arguments: dict[str, str]

    def chain(self, target: str) -> list[Stage]:
        """The stages that end in `target`, the first one FROM an image."""
        if target not in self.stages:
            raise Unknown(f"no stage is called {target!r}: there are {', '.join(self.stages)}")
        found = [self.stages[target]]
        while found[0].parent in self.stages:
            found.insert(0, self.stages[found[0].parent])
        return found


def expanded(text: str, variables: Mapping[str, str], line: int) -> str:
    """`text` with $NAME and ${NAME} replaced."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in variables:
            raise Unknown(f"line {line}: {name} is used and set nowhere")
        return variables[name]

    return VARIABLE.sub(value, text)


def parse(text: str, given: Mapping[str, str] | None = None) -> Containerfile:
    """A Containerfile's stages; `given` are values for its arguments.  Raises Unknown."""
    stages: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    stage: Stage | None = None
    for instruction in instructions(text):
        if instruction.name == "FROM":
            stage = begun(instruction, arguments)
            stages[stage.name] = stage
        elif stage is not None:
            stage.instructions.append(instruction)
        elif instruction.name == "ARG":
            arguments |= {**instruction.pairs(arguments), **(given or {})}
        else:
            raise Unknown(f"line {instruction.line}: {instruction.name} before the first FROM")
    return Containerfile(stages, arguments)


def begun(instruction: Instruction, arguments: Mapping[str, str]) -> Stage:
    found = re.fullmatch(r"(\S+) AS (\S+)", instruction.text)
    if found is None or instruction.flags:
        raise Unknown(f"line {instruction.line}: FROM must be `FROM image AS name`")
    return Stage(instruction.line, found[2], expanded(found[1], arguments, instruction.line))


def instructions(text: str) -> Iterator[Instruction]:
    """Instructions with continued lines joined and comments dropped."""
    began, joined = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or not (joined or line.strip()):
            continue
        began = began if joined else number
        joined += line.strip().removesuffix("\\")
        if not line.rstrip().endswith("\\"):
            yield instruction_of(joined, began)
            joined = ""


def instruction_of(text: str, line: int) -> Instruction:
    name, _, rest = text.partition(" ")
    if name not in INSTRUCTIONS | {"FROM"}:
        raise Unknown(f"line {line}: {name} is not known to this builder")
    flags, rest = [], rest.strip()
    while found := FLAG.match(rest):
        flags.append((found[1], found[2] or ""))
        rest = rest[found.end() :]
    return Instruction(line, name, rest, tuple(flags))
