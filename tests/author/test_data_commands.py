"""pack with rows as people keep them: parquet, folders of images, columns that must not be published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_digits

from tidegate.bundle.golden import read_samples
from tidegate.bundle.manifest import read_bundle_dir

NAMED = ("-o", "bundle", "--name", "model", "--version", "1.0.0")

RISK = """
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def model():
    rows = np.empty((40, 3), dtype=object)
    rows[:, 0], rows[:, 1], rows[:, 2] = np.arange(20.0, 60.0), ["Oslo", "Rome"] * 20, ["Ann", "Bob"] * 20
    encode = ColumnTransformer([("names", OneHotEncoder(handle_unknown="ignore"), [1, 2])], remainder="passthrough")
    return make_pipeline(encode, LogisticRegression(max_iter=1000)).fit(rows, np.arange(20, 60) > 40)
"""


@pytest.fixture
def risk(tmp_path: Path) -> None:
    """A model of columns, and forty people that it can be measured on."""
    (tmp_path / "risk.py").write_text(RISK)
    people = {
        "id": list(range(40)),
        "age": [float(age) for age in range(20, 60)],
        "city": ["Oslo", "Rome"] * 20,
        "name": ["Ann", "Bob"] * 20,
        "late": [age > 40 for age in range(20, 60)],
    }
    parquet.write_table(pyarrow.table(people), tmp_path / "people.parquet")


PEOPLE = ("--data", "people.parquet", "--labels", "late", "--drop-columns", "id", "--golden", "heldout")


@pytest.mark.usefixtures("risk")
def test_hashed_columns_are_measured_as_they_are_and_never_published(tidegate: Any) -> None:
    ended = tidegate("pack", "risk.py:model", *NAMED, *PEOPLE, "--hash-columns", "name")

    bundle = read_bundle_dir(Path("bundle"))
    published = {str(name) for sample in read_samples(bundle) for name in sample.inputs["name"].reshape(-1)}
    cities = {str(city) for sample in read_samples(bundle) for city in sample.inputs["city"].reshape(-1)}
    assert ended.code == 0, ended.err
    assert bundle.manifest.metric_values()["accuracy"] == 1
    assert all(len(name) == 16 for name in published)
    assert cities == {"Oslo", "Rome"}
    assert tidegate("check", "bundle", "-q").code == 0


@pytest.mark.usefixtures("risk")
def test_a_model_that_knows_only_what_it_saw_refuses_hashed_rows_in_one_sentence(tidegate: Any) -> None:
    Path("risk.py").write_text(RISK.replace('handle_unknown="ignore"', ""))

    heldout = tidegate("pack", "risk.py:model", *NAMED, *PEOPLE, "--hash-columns", "name")
    generated = tidegate("pack", "risk.py:model", *NAMED, *PEOPLE[:-1], "generated", "--hash-columns", "name")

    assert heldout.code == 1
    assert "--golden heldout: the model refuses the rows that would be published" in heldout.err
    assert len(heldout.err.splitlines()) == 1
    assert generated.code == 0, generated.err


@pytest.mark.usefixtures("risk")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--drop-columns", "id,age"), "2 columns, the model was fitted on 3"),
        (("--drop-columns", ""), "4 columns, the model was fitted on 3"),
        (("--hash-columns", "surname"), "--hash-columns: there is no column 'surname'"),
        (("--hash-columns", "age"), "'age' holds fractions"),
        (("--image-size", "28x28"), "this is no folder of images"),
        (("--labels", "paid"), "there are no labels 'paid'"),
    ],
)
def test_columns_that_do_not_fit_end_in_one_sentence(tidegate: Any, options: tuple[str, ...], message: str) -> None:
    ended = tidegate("pack", "risk.py:model", *NAMED, *PEOPLE, *options)

    assert ended.code == 1
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not Path("bundle").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--drop-columns", "id"), "--drop-columns: of what?"),
        (("--image-mean", "0.5"), "--image-mean: of what?"),
        (("--data", "people.csv", "--image-size", "28"), "'28' is not HEIGHTxWIDTH"),
        (("--data", "people.csv", "--image-std", "half"), "'half' is not a list of numbers"),
    ],
)
def test_options_of_data_that_make_no_sense_are_wrong_usage(tidegate: Any, options: Any, message: str) -> None:
    ended = tidegate("pack", "model.onnx", *NAMED, *options)

    assert ended.code == 2
    assert message in ended.err


@pytest.fixture(scope="module")
def pixels() -> Any:
    """A digits classifier over [batch, 1, 8, 8], and where it was not trained."""
    digits = load_digits()
    rows, right = digits.data[:1200] / 16, digits.target[:1200]
    means = np.stack([rows[right == digit].mean(axis=0) for digit in range(10)]).astype(np.float32)
    weights = {"flat": np.array([-1, 64]), "W": 2 * means.T, "b": -(means**2).sum(axis=1)}  # the nearest mean wins
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["image", "flat"], ["row"]),
            helper.make_node("Gemm", ["row", "W", "b"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"]),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture
def images(pixels: Any, tmp_path: Path) -> None:
    """The model in a file, and a folder of images per digit."""
    onnx.save(pixels, tmp_path / "digits.onnx")
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images[1200:1400], digits.target[1200:1400], strict=True)):
        folder = tmp_path / "test" / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(folder / f"{number}.png")


@pytest.mark.usefixtures("images")
def test_a_folder_of_images_is_measured_and_recorded_with_how_it_was_read(tidegate: Any) -> None:
    ended = tidegate("pack", "digits.onnx", *NAMED, "--data", "test", "--image-color", "gray")

    document = json.loads(tidegate("inspect", "bundle", "-o", "json").out)
    confusion = document["training"]["confusionMatrix"]
    assert ended.code == 0, ended.err
    assert document["metrics"]["accuracy"] > 0.8
    assert document["metrics"]["roc_auc"] > 0.95
    assert document["preprocessing"]["images"]["size"] == [8, 8]
    assert np.trace(confusion["counts"]) == round(document["metrics"]["accuracy"] * 200)


@pytest.mark.usefixtures("images")
def test_images_of_another_shape_than_the_model_takes_say_which_option_brings_them_there(tidegate: Any) -> None:
    ended = tidegate("pack", "digits.onnx", *NAMED, "--data", "test")

    assert ended.code == 1
    assert "test: the input 'image': it takes rows of [1, 8, 8], the data have [3, 8, 8]" in ended.err
    assert "--image-size, --image-layout" in ended.err


@pytest.mark.usefixtures("images")
def test_columns_for_an_onnx_model_must_be_as_many_as_it_takes(tidegate: Any) -> None:
    Path("rows.csv").write_text("a,b\n1,2\n3,4\n")
    Path("texts.csv").write_text("a,b\nx,2\ny,4\n")

    few = tidegate("pack", "digits.onnx", *NAMED, "--data", "rows.csv")
    texts = tidegate("pack", "digits.onnx", *NAMED, "--data", "texts.csv")

    assert "it takes rows of [1, 8, 8], the data have [2]: leave out what is no input: --drop-columns" in few.err
    assert "it takes FP32, and the data are texts" in texts.err
    assert (few.code, texts.code) == (1, 1)
