"""Reading rows to measure on: tables, folders of images, labels, and what of them may be published."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from tidegate.author.data import Reading, read_data
from tidegate.author.images import ImageForm
from tidegate.errors import Invalid


def test_an_npz_gives_columns_and_labels_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.eye(3), y=np.arange(3))

    data = read_data(tmp_path / "d.npz", "y")

    assert list(data.columns) == ["X"]
    assert data.labels.tolist() == [0, 1, 2]
    assert data.digest.startswith("sha256:")


def test_a_csv_gives_typed_columns(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("age,city,y\n1.5,Rome,0\n2,Oslo,1\n")

    data = read_data(tmp_path / "d.csv", "y")

    assert data.columns["age"].tolist() == [1.5, 2.0]
    assert data.columns["city"].tolist() == ["Rome", "Oslo"]
    assert data.labels.dtype == np.int64


def test_labels_may_be_a_file_of_their_own(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(3))
    np.save(tmp_path / "y.npy", np.arange(3))

    assert read_data(tmp_path / "x.npy", str(tmp_path / "y.npy")).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("write", "labels", "message"),
    [
        (lambda p: np.savez(p, X=np.eye(3), y=np.arange(2)), "y", "2 labels for 3 rows"),
        (lambda p: np.savez(p, X=np.eye(3), Z=np.eye(2)), "", "different numbers of rows"),
        (lambda p: np.savez(p, X=np.eye(3)), "y", "no labels 'y'"),
        (lambda p: np.savez(p, X=np.eye(3), y=[0, np.nan, 1]), "y", "1 labels are missing, the first in row 2"),
        (lambda p: p.write_bytes(b"a,y\n1,u\n2,\n3,\n"), "y", "2 labels are missing, the first in row 2"),
        (lambda p: np.savez(p, X=np.array([{}], dtype=object)), "", "cannot be read"),
        (lambda p: np.savez(p, X=np.zeros((0, 2))), "", "no rows"),
        (lambda p: p.write_bytes(b"a,b\n1,2\n3\n"), "", ":3: 1 fields"),
        (lambda p: p.write_bytes(b"\xff\xfe\x00"), "", "not a CSV"),
        (lambda p: p.write_bytes(b"PK\x03\x04cut off"), "", "cannot be read"),
        (lambda p: p.write_bytes(b"PAR1 and then nothing"), "", "cannot be read as parquet"),
    ],
)
def test_data_that_cannot_be_used_is_refused(tmp_path: Path, write: Any, labels: str, message: str) -> None:
    write(tmp_path / "d.npz")

    with pytest.raises(Invalid, match=message):
        read_data(tmp_path / "d.npz", labels)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"none\.csv: no such file"):
        read_data(tmp_path / "none.csv")


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Write columns as a parquet file."""

    def write(**columns: Any) -> Path:
        parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
        return tmp_path / "rows.parquet"

    return write


def test_parquet_gives_numbers_texts_and_matrices(table: Any) -> None:
    city = pyarrow.array(["Rome", "Oslo", "Rome"]).dictionary_encode()
    path = table(age=[1.5, None, 3.0], city=city, ok=[True, False, True], pixels=[[1, 2], [3, 4], [5, 6]], y=[1, 0, 1])

    data = read_data(path, "y")

    np.testing.assert_array_equal(data.columns["age"], [1.5, np.nan, 3.0])
    assert data.columns["city"].tolist() == ["Rome", "Oslo", "Rome"]
    assert data.columns["ok"].dtype == np.bool_
    assert data.columns["pixels"].shape == (3, 2)
    assert data.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, None, 3], "column 'c': 1 values are missing"),
        ([[1], [2, 3], [4]], "column 'c': its lists are no numbers, or not of one length"),
        ([["a"], ["b"], ["c"]], "column 'c': its lists are no numbers"),
        ([{"a": 1}, {"a": 2}, {"a": 3}], "column 'c': values of the type struct"),
    ],
)
def test_a_parquet_column_that_no_model_takes_is_named(table: Any, column: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        read_data(table(c=column))


def test_a_parquet_file_that_was_cut_off_is_refused(table: Any) -> None:
    path = table(c=[1, 2, 3])
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(Invalid, match=r"rows\.parquet: cannot be read as parquet"):
        read_data(path)


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table([[1], [2]], names=["c", "c"]), tmp_path / "d.parquet")

    with pytest.raises(Invalid, match="two columns are called 'c'"):
        read_data(tmp_path / "d.parquet")


def test_dropped_columns_are_not_used_at_all_and_may_hold_anything(table: Any) -> None:
    data = read_data(table(id=[{"a": 1}, None], x=[0.5, 1.5]), reading=Reading(dropped=("id",)))

    assert list(data.columns) == ["x"]


def test_hashed_columns_keep_their_values_for_measuring_and_lose_them_for_publishing(table: Any) -> None:
    data = read_data(table(name=["Ann", "Bob", "Ann"], age=[40, 41, 40]), reading=Reading(hashed=("name",)))

    published = data.as_published()
    assert data.columns["name"].tolist() == ["Ann", "Bob", "Ann"]
    one, two, again = published.columns["name"]
    assert (one == again, one == two, "Ann" in one, len(one)) == (True, False, False, 16)
    assert published.columns["age"].tolist() == [40, 41, 40]


def test_hashed_numbers_stay_between_the_ends_of_their_column(table: Any) -> None:
    ids = random.Random(0).sample(range(10_000, 90_000), 50)

    published = read_data(table(id=ids), reading=Reading(hashed=("id",))).as_published().columns["id"]

    assert published.min() >= min(ids)
    assert published.max() <= max(ids)
    assert len(set(ids) & set(published.tolist())) < 5


def test_hashes_are_the_same_for_the_same_file_and_others_for_another(table: Any) -> None:
    def hashed(*more: str) -> str:
        reading = Reading(hashed=("name",))
        return str(read_data(table(name=["Ann", *more]), reading=reading).as_published().columns["name"][0])

    assert hashed() == hashed()
    assert hashed() != hashed("Bob")


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (Reading(dropped=("nam",)), "--drop-columns: there is no column 'nam', they are age, name"),
        (Reading(hashed=("nam",)), "--hash-columns: there is no column 'nam', they are age, name"),
        (Reading(dropped=("name", "age")), "no column is left"),
        (Reading(dropped=("name",), hashed=("name",)), "there is no column 'name'"),
        (Reading(hashed=("age",)), "'age' holds fractions"),
        (Reading(images=ImageForm()), "this is no folder of images"),
    ],
)
def test_columns_that_cannot_be_dropped_or_hashed_are_named(table: Any, reading: Reading, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        read_data(table(name=["Ann", "Bob"], age=[40.5, 41.0]), reading=reading)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of four by six pixels, each of one color."""
    for name, color in (("cat", (255, 0, 0)), ("owl", (0, 0, 255))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (6, 4), color).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def test_a_folder_of_images_gives_one_tensor_and_the_number_of_each_class(pictures: Path) -> None:
    data = read_data(pictures)

    assert data.columns["X"].shape == (4, 3, 4, 6)
    assert data.columns["X"][0, :, 0, 0].tolist() == [1, 0, 0]
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.classes == ("cat", "owl")


def test_how_images_became_numbers_is_recorded(pictures: Path) -> None:
    form = ImageForm((8, 8), "nhwc", "gray", "-1..1", (0.5,), (0.25,))

    data = read_data(pictures, reading=Reading(images=form))

    assert data.columns["X"].shape == (4, 8, 8, 1)
    assert data.columns["X"][0, 0, 0, 0] == pytest.approx((76 / 255 * 2 - 1 - 0.5) / 0.25, abs=1e-5)
    assert data.preprocessing == {
        "images": {
            "size": [8, 8],
            "layout": "nhwc",
            "color": "gray",
            "range": "-1..1",
            "resized": "stretched, bilinear",
            "mean": [0.5],
            "std": [0.25],
            "classes": ["cat", "owl"],
        }
    }


def test_a_file_of_labels_gives_the_classes_their_numbers(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("owl\ndog\ncat\n")

    data = read_data(pictures, str(tmp_path / "labels.txt"))

    assert data.labels.tolist() == [0, 0, 2, 2]
    assert data.columns["X"][0, :, 0, 0].tolist() == [0, 0, 1]


def test_images_of_mixed_sizes_are_refused_until_a_size_is_told(pictures: Path) -> None:
    Image.new("RGB", (5, 5)).save(pictures / "owl" / "2.png")

    with pytest.raises(
        Invalid, match=r"owl/2\.png: it has 5x5 pixels, 0\.png before it has 4x6: bring all to one size"
    ):
        read_data(pictures)

    assert len(read_data(pictures, reading=Reading(images=ImageForm((4, 6)))).labels) == 5


def test_the_digest_follows_names_and_bytes_of_the_images(pictures: Path) -> None:
    before = read_data(pictures).digest
    (pictures / "owl" / "1.png").rename(pictures / "cat" / "2.png")

    assert read_data(pictures).digest != before


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_a_broken_image_is_named(pictures: Path, content: bytes) -> None:
    (pictures / "owl" / "1.png").write_bytes(content)

    with pytest.raises(Invalid, match=r"owl/1\.png: cannot be read as an image"):
        read_data(pictures)


@pytest.mark.parametrize(("mode", "name"), [("I;16", "2.png"), ("I", "2.tiff"), ("F", "2.tiff")])
def test_pixels_of_more_than_eight_bits_are_refused(pictures: Path, mode: str, name: str) -> None:
    Image.new(mode, (6, 4), 900).save(pictures / "owl" / name)

    with pytest.raises(Invalid, match=r"owl/2\.\w+: its pixels are no bytes .*mode [IF].*: save it with 8 bits"):
        read_data(pictures, reading=Reading(images=ImageForm(color="gray")))


def test_a_picture_is_turned_as_its_camera_was(pictures: Path) -> None:
    lying = Image.new("RGB", (4, 6), (0, 0, 255))
    lying.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise by a quarter
    lying.save(pictures / "owl" / "1.png", exif=exif)

    data = read_data(pictures)

    assert data.columns["X"][3, 0, 0, 5] == 1


def test_an_image_that_was_cut_off_is_named(pictures: Path) -> None:
    path = pictures / "owl" / "1.png"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:-900])

    with pytest.raises(Invalid, match=r"owl/1\.png: cannot be read as an image: image file is truncated"):
        read_data(pictures)


def test_a_small_file_of_very_many_pixels_is_not_unpacked(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)

    with pytest.raises(Invalid, match=r"0\.png: cannot be read as an image: Image size \(24 pixels\) exceeds limit"):
        read_data(pictures)


@pytest.mark.parametrize(
    ("labels", "reading", "message"),
    [
        ("cat\n", Reading(), "the class 'owl' is not in the file of labels"),
        ("cat\nowl\ncat\n", Reading(), "a class is named twice"),
        ("", Reading(hashed=("x",)), "--hash-columns: images have no columns"),
        ("", Reading(images=ImageForm(range="0..2")), "--image-range: '0..2' is none of 0..1, -1..1, 0..255"),
        ("", Reading(images=ImageForm(size=(28, 0))), "--image-size: must be a height and a width above 0"),
        ("", Reading(images=ImageForm(std=(0.0,))), "--image-std: must be above 0"),
        ("", Reading(images=ImageForm(mean=(0.1, 0.2))), "--image-mean: 2 values for 3 channels"),
    ],
)
def test_folders_of_images_that_cannot_be_used_are_refused(
    pictures: Path, tmp_path: Path, labels: str, reading: Reading, message: str
) -> None:
    (tmp_path / "labels.txt").write_text(labels)

    with pytest.raises(Invalid, match=message):
        read_data(pictures, str(tmp_path / "labels.txt") if labels else "", reading=reading)


def test_labels_of_images_are_a_file(pictures: Path) -> None:
    with pytest.raises(Invalid, match="species: no such file: for images, --labels is a file with a class per line"):
        read_data(pictures, "species")


def test_a_folder_without_classes_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="there are no folders of classes in it"):
        read_data(tmp_path)


def test_empty_folders_of_classes_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()

    with pytest.raises(Invalid, match="there are no images in its folders"):
        read_data(tmp_path)
