"""What a bundle records about how good its model is: metrics measured here, those given, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.author.metrics import confusion_of, measure, predictions
from tidegate.author.request import DataSet
from tidegate.author.scores import Confusion
from tidegate.author.session import Runner, Tensors
from tidegate.bundle.manifest import Metric

MOST_CLASSES = 100  # of a confusion matrix in a manifest: it grows with their square


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics for the manifest, and which classes were taken for which where the labels are classes."""

    metrics: tuple[Metric, ...]
    confusion: Confusion | None = None

    def training(self) -> dict[str, Any]:
        """For the manifest's `training`."""
        if self.confusion is None or len(self.confusion.classes) > MOST_CLASSES:
            return {}
        return {"confusionMatrix": self.confusion.document()}


def evaluate(runner: Runner, rows: Tensors | None, data: DataSet | None, given: Mapping[str, float]) -> Evaluation:
    """Measure the model on labelled rows; what is measured wins over what was given.  Raises Invalid as `measure`."""
    found = {name: Metric(name, value) for name, value in given.items()}
    if data is None or data.labels is None or rows is None:
        return Evaluation(tuple(found.values()))
    labels = np.asarray(data.labels)
    kinds = {output.name: output.element_type for output in runner.interface.outputs}
    answers = predictions(runner, rows)
    values = measure(answers, labels, kinds, data.classes)
    found |= {name: Metric(name, value, data.name, data.digest, len(labels)) for name, value in values.items()}
    return Evaluation(tuple(found.values()), confusion_of(answers, labels, kinds, data.classes))
