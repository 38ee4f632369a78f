"""Text classification: what a message to a shop is about.

The messages are generated from phrases, in another order and with other small talk each time.

    python examples/models/text.py bundle
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

import tidegate

ABOUT = {
    "delivery": ["where is my parcel", "the package has not arrived", "it came to a wrong place", "tracking stopped"],
    "payment": ["my card was charged twice", "please refund the amount", "the invoice is wrong", "I cannot pay"],
    "access": ["I cannot log in", "the password link expired", "my account is locked", "the code never comes by mail"],
    "praise": ["great service", "I love the new shop", "everything went well", "thanks for the quick help"],
}
SMALL_TALK = ["hello there", "good morning", "I ordered last week", "please answer soon", "as I wrote before", "bye"]
CLASSES = sorted(ABOUT)


def messages(count: int, seed: int) -> tuple[Any, Any]:
    """Texts [count], and the class of each."""
    random = np.random.default_rng(seed)
    classes = random.choice(CLASSES, count)
    texts = []
    for name in classes:
        parts = [*random.choice(ABOUT[name], 2), *random.choice(SMALL_TALK, 2)]
        words = " ".join(parts[place] for place in random.permutation(4)).split()
        texts.append(" ".join(word for word in words if random.random() > 0.3))  # people leave words out
    return np.array(texts), classes


def model() -> Pipeline:
    """A fitted pipeline on texts: words weighed by how rare they are, then logistic regression."""
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(*messages(800, seed=1))


def pack(out: Path) -> tidegate.Bundle:
    """The bundle, measured on messages that the model was not trained on."""
    texts, classes = messages(300, seed=2)
    return tidegate.pack(
        model(),
        name="text",
        version="1.0.0",
        out=out,
        data={"input": texts},
        labels=classes,
        description="What a message to a shop is about.",
        license="Apache-2.0",
    )


if __name__ == "__main__":
    made = pack(Path(sys.argv[1]))
    print(made.ref, made.digest, made.metrics)
    print(f"golden samples differ by {tidegate.check(made).worst:.1g} at most")
