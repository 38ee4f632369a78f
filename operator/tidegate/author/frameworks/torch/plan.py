"""How a module is to be exported: an example of its inputs, which dimensions are open, what its outputs are called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tidegate.author.columns import as_inputs
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Converted
from tidegate.author.frameworks.torch import axes, example
from tidegate.author.frameworks.torch.onnx_export import Folder, fresh_folder
from tidegate.author.frameworks.torch.original import Module, Original
from tidegate.author.frameworks.torch.sentences import first_line
from tidegate.author.graph import BATCH
from tidegate.author.request import DataSet, PackRequest
from tidegate.author.session import open_session

CLOSE = 1e-3


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an exporter needs: the example, open dimensions of inputs and outputs, names of outputs.

    `folder` is where it writes, `where` what errors call the model.
    """

    module: Module
    traced: example.Arrays
    names: axes.Names
    outputs: tuple[str, ...]
    output_names: axes.Names
    folder: Folder
    where: str

    def finished(
        self, model: onnx.ModelProto, data: DataSet | None, packages: tuple[str, ...], cures: tuple[str, ...]
    ) -> Converted:
        """The exported model with its dimensions named, beside the module that it is compared with."""
        axes.call_by_name(model, self.names)
        module = Module(self.module.call, self.module.positional, kept=self.folder)
        return Converted(
            model,
            Original(module, self.outputs),
            weights=Path(self.folder.name),
            data=as_inputs(data, interface_of(model)) if data and self._takes_rows() else None,
            packages=packages,
            cures=cures,
        )

    def _takes_rows(self) -> bool:
        """Whether rows of data are requests: not where the model always takes several at once."""
        return all(
            0 in self.names.get(name, {}) or len(array) == 1 for name, array in self.traced.items() if array.ndim
        )

    def agrees(self, model: onnx.ModelProto, fixed: axes.Fixed) -> bool:
        """Whether graph and module give the same answers when this dimension has other sizes."""
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        axes.call_by_name(opened, self.names)
        path = Path(self.folder.name) / "opened.onnx"  # beside its weights
        path.write_bytes(opened.SerializeToString())
        try:
            session = open_session(path)
            return all(self._agree(session, fixed, size) for size in (fixed.size + 1, fixed.size + 4))
        except Exception:  # noqa: BLE001 - ONNX Runtime's errors have no common base: it does not run, so it does not agree
            return False

    def _agree(self, session: onnxruntime.InferenceSession, fixed: axes.Fixed, size: int) -> bool:
        rows = axes.resized(self.traced, self.names, fixed.called, size)
        expected = self.module.run(rows).values()
        found = session.run(None, rows)
        return all(
            array.shape == tuple(tensor.shape) and np.allclose(array, tensor.numpy(), rtol=CLOSE, atol=CLOSE)
            for array, tensor in zip(found, expected, strict=True)
        )


def planned(module: Module, arrays: example.Arrays, request: PackRequest, where: str) -> tuple[Plan, list[str]]:
    """The plan for a module that takes `arrays`, and what its user should know about it.

    Open are only dimensions whose size the module itself lets change: each is tried one larger and one smaller.
    """
    traced = example.for_tracing(arrays)
    answer = module.run(traced)
    outputs = tuple(axes.unnamed_outputs(answer, traced))
    names = axes.open_axes(axes.shapes_of(traced), request.interface)
    output_names: axes.Names = {name: {} for name in outputs}
    notes = []
    for called in axes.dimensions(names):
        size = axes.size_of(traced, names, called)
        try:
            larger = module.run(axes.resized(traced, names, called, size + 1))
            module.run(axes.resized(traced, names, called, max(size - 1, 1)))
        except Exception as error:  # noqa: BLE001 - whatever forward() raises: the module itself does not take the size
            names = axes.without(names, called)
            if called == BATCH:
                notes.append(f"the batch is always {size}, the model takes no other: {first_line(str(error))}")
            continue
        for name, before, after in zip(outputs, answer.values(), larger.values(), strict=True):
            output_names[name] |= dict.fromkeys(axes.grown(before.shape, after.shape), called)
    return Plan(module, traced, names, outputs, output_names, fresh_folder(), where), notes
