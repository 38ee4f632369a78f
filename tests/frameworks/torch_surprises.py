"""What people do to PyTorch models that cannot be served, or only seems to work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 16), nn.Dropout(0.5), nn.Linear(16, 3))


class FunctionalDropout(nn.Module):
    """F.dropout drops in every mode unless it is told which one it is in."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x)


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return x - 1


class ThroughNumpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)


class Head(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svd(x.reshape(-1, 2, 2))[1]


class SingularValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = Head()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


class Counted(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return x * 2, 3


def training() -> Any:
    return _mlp(), torch.randn(4, 10)


def half_training() -> Any:
    model = _mlp().eval()
    model[1].train()
    return model, torch.randn(4, 10)


def functional_dropout() -> Any:
    return FunctionalDropout().eval(), torch.randn(4, 10)


def decides() -> Any:
    return Decides().eval(), torch.randn(4, 10)


def through_numpy() -> Any:
    return ThroughNumpy().eval(), torch.randn(4, 10)


def singular_values() -> Any:
    return SingularValues().eval(), torch.randn(4, 4)


def without_example() -> Any:
    return _mlp().eval()


def misfit() -> Any:
    return _mlp().eval(), torch.randn(4, 9)


def counted() -> Any:
    return Counted().eval(), torch.randn(4, 10)
