"""Pre- and post-processing inside the graph, so that no client has to repeat it and none can do it differently.

Either may be whatever `pack` takes: an ONNX file, or a function of a script that returns a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from tidegate.author.columns import as_rows
from tidegate.author.derive.acts import LABELS, Derived, Given
from tidegate.author.derive.agreement import require_agreement
from tidegate.author.derive.base import Base, pool_for, write_graph
from tidegate.author.derive.composing import COMPOSED
from tidegate.author.derive.joining import join, wires_by_name
from tidegate.author.derive.tensors import requests_of
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import convert
from tidegate.author.request import PackRequest
from tidegate.author.session import Array, Tensors, open_runner
from tidegate.author.source import load
from tidegate.author.weights import write_split

MODEL, AFTER = "model/", "after/"  # prefixes of names that clash


@dataclass(frozen=True, slots=True)
class Part:
    """A graph of several in turn, and from which earlier tensor each of its inputs comes, if not of its own name."""

    model: onnx.ModelProto
    wires: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Process:
    """What comes before the base, and what after it; "" is nothing."""

    before: str = ""
    after: str = ""
    trust_pickle: bool = False

    def apply(self, given: Given) -> Derived:
        """One graph of all, compared with running its parts one after the other.

        Outputs feed the inputs of the same name, or the only one the only one; data are rows of the new inputs.
        """
        base = given.base
        parts = [Part(base.model, {})]
        model = base.model
        if self.before:
            first = self._model(self.before, given)
            wires = wires_by_name(interface_of(first).outputs, base.interface.inputs, self.before)
            model, parts = join(first, model, wires, prefix=MODEL), [Part(first, {}), Part(base.model, wires)]
        if self.after:
            last = self._model(self.after, given)
            wires = wires_by_name(interface_of(model).outputs, interface_of(last).inputs, self.after)
            model, parts = join(model, last, wires, prefix=AFTER), [*parts, Part(last, wires)]
        interface = interface_of(model)
        pool = pool_for(model, base.scratch, given.data, given.seed)
        asked = _in_turn(parts, list(requests_of(pool, rows_together=interface.batched)), base)
        report = require_agreement(model, base.scratch, asked, "the parts run one after the other")
        rows = as_rows(given.data, interface) if given.data else None
        data = replace(given.data, columns=rows) if given.data and rows else None
        kept = not self.after and base.manifest.entry(LABELS)
        files = (base.folder / LABELS,) if kept else ()
        report |= self._facts()
        return Derived(model, COMPOSED, (base.digest,), {"processing": report}, data=data, files=files)

    def _facts(self) -> dict[str, str]:
        return {key: value for key, value in (("before", self.before), ("after", self.after)) if value}

    def _model(self, source: str, given: Given) -> onnx.ModelProto:
        """The source as ONNX, compared with itself in its own framework where it comes from one."""
        base = given.base
        request = PackRequest(base.scratch, "processing", "0", trust_pickle=self.trust_pickle)
        converted = convert(load(source, trust_pickle=self.trust_pickle), request)
        write_split(converted.model, converted.weights or base.scratch, base.scratch)
        if converted.original is not None:
            model, answers = converted.model, converted.original.answers
            pool = pool_for(model, base.scratch, None, given.seed)
            requests = requests_of(pool, rows_together=interface_of(model).batched)
            asked = ((request, answers(request)) for request in requests)
            require_agreement(model, base.scratch, asked, f"what {converted.original.framework} answers")
        return converted.model


def _in_turn(
    parts: Sequence[Part], requests: Sequence[Tensors], base: Base
) -> Iterator[tuple[Tensors, dict[str, Array]]]:
    """Each request, and what the parts make of it when each is run on its own."""
    runners = [open_runner(write_graph(part.model, base.scratch), interface_of(part.model)) for part in parts]
    for request in requests:
        known = dict(request)
        for runner, part in zip(runners, parts, strict=True):
            taken = [tensor.name for tensor in runner.interface.inputs]
            known |= runner.run({name: known[part.wires.get(name, name)] for name in taken})
        yield request, known
