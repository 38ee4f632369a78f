"""Small PyTorch models of every kind, as their users would write them: a function that builds one, with an example."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY, CLASSES = 50, 4


class Recurrent(nn.Module):
    """Reads (batch, time, features) both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.out = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


class Tokens(nn.Module):
    """Token ids through an embedding and a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.rnn = nn.GRU(8, 16, batch_first=True)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.rnn(self.embedding(tokens))[1][-1])


class Attention(nn.Module):
    """Self-attention of two heads over token ids, with a mask of those that count."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.projections = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        x = self.embedding(tokens)
        query, key, value = (layer(x).reshape(x.shape[0], -1, 2, 8).transpose(1, 2) for layer in self.projections)
        counts = (mask != 0)[:, None, None, :]
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=counts)
        pooled = self.norm(x + attended.transpose(1, 2).flatten(2)).mean(1)
        return {"scores": self.out(pooled), "pooled": pooled}


class Listed(nn.Module):
    """A model that answers with a dictionary, as one that answers with a tuple."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()
        self.eval()

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(tokens, mask).values())


class Transformer(nn.Module):
    """torch's own encoder layers over (batch, time, features)."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.encoder(x).mean(1))


class Tabular(nn.Module):
    """Numbers beside a category."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.layers = nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))

    def forward(self, numbers: Tensor, category: Tensor) -> Tensor:
        return self.layers(torch.cat([numbers, self.embedding(category)], 1))


def _seeded(model: Any) -> Any:
    """Random weights, the same each time, large enough that answers differ; as after training."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.3, generator=generator)
    return model.eval()


def mlp() -> Any:
    return _seeded(nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 3))), torch.randn(16, 10)


def cnn() -> Any:
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return _seeded(nn.Sequential(*layers, nn.Linear(8 * 16, 3))), torch.randn(2, 3, 8, 8)


def recurrent() -> Any:
    return _seeded(Recurrent()), torch.randn(4, 7, 8)


def tokens() -> Any:
    return _seeded(Tokens()), torch.randint(0, VOCABULARY, (4, 7))


def attention() -> Any:
    return _seeded(Attention()), (torch.randint(0, VOCABULARY, (4, 7)), torch.ones(4, 7, dtype=torch.long))


def transformer() -> Any:
    return _seeded(Transformer()), torch.randn(4, 7, 16)


def tabular() -> Any:
    return _seeded(Tabular()), {"numbers": torch.randn(16, 5), "category": torch.randint(0, 10, (16,))}
