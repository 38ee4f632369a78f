"""Before anything serves: train, pack, sign and push every version that the demo will apply."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import onnxruntime
from examples.demo import models
from examples.demo.damage import DAMAGES, damaged_copy, flip_a_stored_byte, twin_copy
from examples.demo.models import Digits
from examples.demo.product import NAME, Product
from examples.demo.s3 import S3Server

BUCKET = "models"
CLEAR_LEAD = 1e-3  # below it, rounding may decide between two classes
FEW = 60  # rows that the slow version is measured on


@dataclass(frozen=True, slots=True)
class Version:
    """A bundle in the store."""

    version: str
    uri: str
    digest: str
    folder: Path


class Workshop:
    """Where bundles are made."""

    def __init__(self, product: Product, server: S3Server, data: Digits) -> None:
        self.product, self.data = product, data
        self.keys = product.folder / "keys"
        self.store: Any = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name="us-east-1",
        )
        self._save_rows("heldout.npz", len(data.heldout))
        self._save_rows("few.npz", FEW)

    def _save_rows(self, name: str, count: int) -> None:
        rows, labels = self.data.heldout[:count], self.data.heldout_labels[:count]
        np.savez(self.product.folder / name, X=rows, y=labels)

    def everything(self) -> dict[str, Version]:
        """All versions, in the store; two at a time, the slow one first."""
        self.store.create_bucket(Bucket=BUCKET)
        self.keys.mkdir()
        (self.product.folder / "release").mkdir()
        private, public = self.product.folder / "release" / "release.key", self.keys / "release.pub"
        self.product.tidegate("keygen", "--private", private, "--public", public)
        with ThreadPoolExecutor(2) as pool:
            slow = pool.submit(self._pack, "4.0.0", models.train_v4, rows="few.npz", count=3)
            rest = [
                pool.submit(self._pack, "1.0.0", models.train_v1),
                pool.submit(self._pack, "2.0.0", models.train_v2),
            ]
            versions = [one.result() for one in rest]
            good = versions[1].folder
            twin = pool.submit(self._twin, good)
            broken = [pool.submit(self._damaged, good, damage) for damage in DAMAGES]
            versions += [one.result() for one in (twin, *broken, slow)]
        return {one.version: one for one in versions}

    def tamper(self, twin: Version) -> str:
        """Flip one byte of the twin where it lies in the store."""
        return flip_a_stored_byte(self.store, BUCKET, "twin", twin.folder)

    def expected(self, versions: dict[str, Version]) -> dict[str, list[int | None]]:
        """What each good version says of each held-out digit, by ONNX Runtime alone."""
        answers: dict[str, list[int | None]] = {}
        for name in ("1.0.0", "2.0.0", "4.0.0"):
            session = onnxruntime.InferenceSession(str(versions[name].folder / "model.onnx"))
            labels, scores = session.run(None, {"input": self.data.heldout})
            top = np.partition(scores, -2, axis=1)
            clear = top[:, -1] - top[:, -2] > CLEAR_LEAD
            answers[name] = [int(label) if sure else None for label, sure in zip(labels, clear, strict=True)]
        return answers

    def _pack(
        self,
        version: str,
        train: Callable[[Digits], Any],
        rows: str = "heldout.npz",
        count: int = 8,
    ) -> Version:
        folder = self.product.folder
        path, out = folder / f"{version}.joblib", folder / "bundles" / version
        models.save(train(self.data), path)
        told = ("--name", NAME, "--version", version, "--data", folder / rows, "--labels", "y")
        self.product.tidegate("pack", path, "--trust-pickle", "-o", out, *told, "--golden-count", str(count))
        return self._published(out, version, NAME)

    def _damaged(self, good: Path, damage: str) -> Version:
        version = f"3.0.0-{damage}"
        out = good.with_name(version)
        damaged_copy(good, out, version, damage)
        return self._published(out, version, NAME)

    def _twin(self, good: Path) -> Version:
        out = good.with_name("2.0.1")
        twin_copy(good, out, "2.0.1")
        return self._published(out, "2.0.1", "twin")

    def _published(self, folder: Path, version: str, repository: str) -> Version:
        key = self.product.folder / "release" / "release.key"
        digest = self.product.tidegate("sign", folder, "--key", key, "--quiet")
        uri = f"s3://{BUCKET}/{repository}/{version}"
        self.product.tidegate("push", folder, uri, "--quiet")
        return Version(version, uri, digest, folder)
