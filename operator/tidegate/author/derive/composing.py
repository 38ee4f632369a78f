"""One model made of two: the layers of the first up to a tensor, then those of the other behind one of its own.

A new head on a feature extractor is the same with the whole of the other model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from tidegate.author.derive.acts import Derived, Given
from tidegate.author.derive.agreement import require_agreement
from tidegate.author.derive.base import Base, opened_base, write_graph
from tidegate.author.derive.cutting import cut
from tidegate.author.derive.joining import join
from tidegate.author.derive.tensors import Seen, look_at, require_tensors
from tidegate.author.describe import interface_of
from tidegate.author.session import Array, Tensors, open_runner
from tidegate.errors import Invalid, UsageError

COMPOSED, NEW_HEAD = "composed", "new-head"
HEAD = "head/"


@dataclass(frozen=True, slots=True)
class Compose:
    """`tensor` of the base becomes `other_tensor` of the bundle `other`; "" is its only output, its only input."""

    tensor: str
    other: str
    other_tensor: str = ""
    action: str = COMPOSED

    def apply(self, given: Given) -> Derived:
        """Both parts as one graph, compared with running one after the other."""
        base = given.base
        tensor = self.tensor or only_output(base)
        require_tensors(base.model, [tensor], base.ref)
        with opened_base(self.other, base.scratch) as other:
            behind = _behind(other, self.other_tensor or _only_input(other), Given(other, None, given.seed))
            parents = (base.digest, other.digest)
        seen = look_at(base.model, base.scratch, [tensor], given.pool())
        model = joined_at(base, seen, tensor, behind)
        asked = one_after_the_other(base, seen, tensor, behind)
        report = require_agreement(model, base.scratch, asked, "the two parts run one after the other")
        return Derived(model, self.action, parents, {self.action: report}, data=given.rows())


def only_output(base: Base) -> str:
    """The tensor to go on from when none is named."""
    outputs = [output.name for output in base.interface.outputs]
    if len(outputs) != 1:
        raise Invalid(
            f"it has {len(outputs)} outputs ({', '.join(outputs)[:200]}), and no tensor is named",
            where=base.ref,
            do="name it: --features TENSOR",
        )
    return outputs[0]


def joined_at(base: Base, seen: Seen, tensor: str, behind: onnx.ModelProto) -> onnx.ModelProto:
    """The base up to `tensor`, and `behind` after it."""
    inputs = [value.name for value in base.interface.inputs]
    front = cut(base.model, seen.declared(inputs), seen.declared([tensor]), where=base.ref)
    entered = interface_of(behind).inputs[0].name
    return join(front, behind, {entered: tensor}, prefix=HEAD)


def one_after_the_other(
    base: Base, seen: Seen, tensor: str, behind: onnx.ModelProto
) -> Iterator[tuple[Tensors, dict[str, Array]]]:
    """Requests of the base, and what `behind` makes of the tensor as it was in each."""
    runner = open_runner(write_graph(behind, base.scratch), interface_of(behind))
    entered = runner.interface.inputs[0].name
    inputs = [value.name for value in base.interface.inputs]
    for request in seen.requests:
        yield {name: request[name] for name in inputs if name in request}, runner.run({entered: request[tensor]})


def _behind(other: Base, tensor: str, given: Given) -> onnx.ModelProto:
    """What `other` computes from this tensor on."""
    require_tensors(other.model, [tensor], other.ref)
    outputs = [value.name for value in other.interface.outputs]
    seen = look_at(other.model, other.scratch, [tensor, *outputs], given.pool())
    return cut(other.model, seen.declared([tensor]), seen.declared(outputs), where=other.ref)


def _only_input(other: Base) -> str:
    inputs = [value.name for value in other.interface.inputs]
    if len(inputs) != 1:
        raise Invalid(
            f"a head takes one tensor, this takes {len(inputs)} ({', '.join(inputs)[:200]})",
            where=other.ref,
            do="say which with --compose TENSOR REF:TENSOR",
        )
    return inputs[0]


def compose_of(ref: str, first: str, second: str) -> Compose:
    """From the two words of the command line: `[REF:]TENSOR` of the base and `OTHER:TENSOR`."""
    other, tensor = _split(second)
    return Compose(first.removeprefix(f"{ref}:"), other, tensor)


def _split(text: str) -> tuple[str, str]:
    """A bundle and a tensor in it; names of tensors may hold colons too, so the bundle is the shortest that is one."""
    for at in (at for at, char in enumerate(text) if char == ":"):
        place, tensor = text[:at], text[at + 1 :]
        if tensor and (Path(place).is_dir() or _is_address(place)):
            return place, tensor
    raise UsageError(
        f"'{text[:200]}' names no bundle and tensor", where="--compose", do="write FOLDER:TENSOR or ADDRESS:TENSOR"
    )


def _is_address(place: str) -> bool:
    from tidegate.bundle.uri import parse_uri

    try:
        return "://" in place and bool(parse_uri(place).path)
    except Invalid:
        return False
