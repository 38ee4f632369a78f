"""Derived bundles in a real S3 server: whoever has the parent is sent, and fetches, only what is new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.bundle.faulty import Proxy

from tidegate.author import DataSet, GoldenRequest, PackRequest, pack
from tidegate.author.derive.deriving import derive
from tidegate.author.derive.heads import TrainHead
from tidegate.author.packing import Packed
from tidegate.bundle.cache import Cache
from tidegate.bundle.push import push
from tidegate.bundle.source import Access, Source

LARGE, WIDTH = 2048, 1536  # a layer of 12 MiB
SHARE = 0.01


@pytest.fixture(scope="module")
def data() -> DataSet:
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    rows = random.standard_normal((60, 16)) + 4 * np.eye(16)[labels]
    return DataSet("rows", {"x": rows.astype(np.float32)}, labels)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """x [batch, 16] -> features [batch, 16] by way of a large layer."""
    random = np.random.default_rng(1)
    shapes = {"narrow": (16, LARGE), "large": (LARGE, WIDTH), "last": (WIDTH, 16)}
    weights = {name: random.standard_normal(shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    names = ["x", "a", "b", "features"]
    nodes = [helper.make_node("MatMul", [names[at], weight], [names[at + 1]]) for at, weight in enumerate(weights)]
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 16])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    out = tmp_path_factory.mktemp("backbone") / "bundle"
    return pack(model, PackRequest(out, "backbone", "1", golden=GoldenRequest("none")))


@pytest.fixture(scope="module")
def digits(backbone: Packed, data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    out = tmp_path_factory.mktemp("derived") / "bundle"
    request = PackRequest(out, "digits", "1", data=data)
    return derive(str(backbone.bundle.path), TrainHead("logistic"), request)


def test_a_new_head_costs_its_head(
    backbone: Packed, digits: Packed, through: Access, proxy: Proxy, repository: str
) -> None:
    push(backbone.bundle.path, f"{repository}/backbone", access=through)
    first, proxy.taken = proxy.taken, 0

    pushed = push(digits.bundle.path, f"{repository}/digits", access=through)

    total = digits.bundle.manifest.total_bytes
    assert total > 12 * 2**20
    assert first > 12 * 2**20
    assert pushed.bytes_sent < SHARE * total
    assert pushed.bytes_sent < proxy.taken < SHARE * total  # what went over the wire, headers and all


def test_a_machine_that_has_the_parent_fetches_only_the_head(
    backbone: Packed, digits: Packed, through: Access, proxy: Proxy, repository: str, tmp_path: Path
) -> None:
    for packed in (backbone, digits):
        push(packed.bundle.path, f"{repository}/{packed.bundle.manifest.name}", access=through)
    cache = Cache(tmp_path / "cache")
    cache.fetch(Source(f"{repository}/backbone", access=through))
    first, proxy.sent = proxy.sent, 0

    fetched = cache.fetch(Source(f"{repository}/digits", access=through))

    assert fetched.digest == digits.bundle.digest
    assert first > 12 * 2**20
    assert proxy.sent < SHARE * digits.bundle.manifest.total_bytes


def test_weights_of_the_parent_keep_their_files(backbone: Packed, digits: Packed) -> None:
    def weights(packed: Packed) -> set[tuple[str, str]]:
        return {(file.path, file.sha256) for file in packed.bundle.manifest.files if file.path.startswith("weights/")}

    assert weights(digits) == weights(backbone) != set()
    assert onnx.load(digits.bundle.path / "model.onnx", load_external_data=False).ByteSize() < 2**20
