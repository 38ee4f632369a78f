"""Reading images to measure a classifier on: a folder per class, every image brought into one shape.

How pixels become numbers is told by whoever packs, because a model does not say it; it is recorded in the bundle, so
that whoever asks the model later can do the same.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tidegate.author.extras import need
from tidegate.author.session import Array
from tidegate.author.tables import MATRIX, MAX_BYTES
from tidegate.errors import Invalid

MOST_IMAGES = 100_000
MODES = {"rgb": "RGB", "gray": "L"}
RANGES: Mapping[str, tuple[float, float]] = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}
LAYOUTS = ("nchw", "nhwc")
BYTE = 255.0
TWO = 2  # height and width


@dataclass(frozen=True, slots=True)
class ImageForm:
    """What an image is made into: float32 of `layout`, scaled into `range`, then (x - mean) / std per channel.

    `size` is (height, width) in pixels, None: all images have one already.  Images are turned as their EXIF data tell,
    then stretched to it, bilinearly.
    """

    size: tuple[int, int] | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    color: Literal["rgb", "gray"] = "rgb"
    range: str = "0..1"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Images:
    """What was read: one array, the class number of each row, the names of the classes, and a digest of all files."""

    pixels: Array
    labels: Array
    classes: tuple[str, ...]
    digest: str
    preprocessing: Mapping[str, Any]

    def columns(self) -> dict[str, Array]:
        return {MATRIX: self.pixels}


def read_images(folder: Path, form: ImageForm, order: Sequence[str] = ()) -> Images:
    """Every image below `folder`, by class; `order` gives the classes' numbers, else their names sorted do.

    Raises Invalid naming the file for images that are broken or of other sizes, and for a folder without classes.
    """
    _check(form)
    need("PIL", extra="images")
    classes = _classes(folder, order)
    files = [(path, number) for number, name in enumerate(classes) for path in _files(folder / name)]
    if not files:
        raise Invalid("there are no images in its folders", where=str(folder))
    if len(files) > MOST_IMAGES:
        raise Invalid(f"{len(files)} images, more than {MOST_IMAGES}", where=str(folder), do="measure on fewer")
    pixels = _stacked([path for path, _ in files], form)
    labels = np.array([number for _, number in files], dtype=np.int64)
    size = pixels.shape[1:3]
    return Images(_as_told(pixels, form), labels, classes, _digest(folder, files), _recorded(form, size, classes))


def _check(form: ImageForm) -> None:
    for name, value, known in (
        ("layout", form.layout, LAYOUTS),
        ("color", form.color, tuple(MODES)),
        ("range", form.range, tuple(RANGES)),
    ):
        if value not in known:
            raise Invalid(f"'{value}' is none of {', '.join(known)}", where=f"--image-{name}")
    if form.size and not (len(form.size) == TWO and all(side > 0 for side in form.size)):
        raise Invalid("must be a height and a width above 0", where="--image-size")
    channels = 3 if form.color == "rgb" else 1
    for name, values in (("mean", form.mean), ("std", form.std)):
        if values and len(values) not in (1, channels):
            raise Invalid(f"{len(values)} values for {channels} channels", where=f"--image-{name}")
    if any(not value > 0 for value in form.std):
        raise Invalid("must be above 0", where="--image-std")


def _classes(folder: Path, order: Sequence[str]) -> tuple[str, ...]:
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise Invalid(
            "there are no folders of classes in it",
            where=str(folder),
            do="put the images of each class into a folder that is called like it",
        )
    if not order:
        return tuple(found)
    unknown = [name for name in found if name not in order]
    if unknown:
        raise Invalid(f"the class '{unknown[0]}' is not in the file of labels", where=str(folder / unknown[0]))
    return tuple(order)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():  # a class of the file of labels without images here
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _stacked(paths: Sequence[Path], form: ImageForm) -> Array:
    """Bytes of [rows, height, width, channels]."""
    first = _pixels(paths[0], form)
    if len(paths) * first.size * 4 > MAX_BYTES:
        raise Invalid(
            f"{len(paths)} images of {first.shape} are more than {MAX_BYTES} bytes",
            where=str(paths[0].parent.parent),
            do="measure on fewer images, or make them smaller: --image-size HxW",
        )
    stacked = np.empty((len(paths), *first.shape), dtype=np.uint8)
    for number, path in enumerate(paths):
        pixels = _pixels(path, form)
        if pixels.shape != first.shape:
            raise Invalid(
                f"it has {_size(pixels)} pixels, {paths[0].name} before it has {_size(first)}",
                where=str(path),
                do="bring all to one size: --image-size HEIGHTxWIDTH",
            )
        stacked[number] = pixels
    return stacked


def _size(pixels: Array) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"


def _pixels(path: Path, form: ImageForm) -> Array:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # a small file that unpacks to gigabytes
            with Image.open(path) as image:
                _require_bytes(image.mode, path)
                shown = ImageOps.exif_transpose(image).convert(MODES[form.color])
                if form.size:
                    height, width = form.size
                    shown = shown.resize((width, height), Image.Resampling.BILINEAR)
                pixels = np.asarray(shown, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        what = str(error).partition("\n")[0].replace(f" '{path}'", "")[:160]
        raise Invalid(
            f"cannot be read as an image: {what}", where=str(path), do="mend it or take it out of the folder"
        ) from None
    return pixels.reshape(*pixels.shape[:2], -1)


def _require_bytes(mode: str, path: Path) -> None:
    """Pixels of 16 or 32 bits would all become white: nobody knows which of their values is meant by it."""
    if mode.startswith(("I", "F")):
        raise Invalid(
            f"its pixels are no bytes (Pillow's mode {mode})",
            where=str(path),
            do="save it with 8 bits per channel, scaled as for the training",
        )


def _as_told(pixels: Array, form: ImageForm) -> Array:
    low, high = RANGES[form.range]
    scaled: Array = pixels.astype(np.float32)
    if form.range != "0..255":
        scaled = scaled * np.float32((high - low) / BYTE) + np.float32(low)
    if form.mean:
        scaled = scaled - np.array(form.mean, np.float32)
    if form.std:
        scaled = scaled / np.array(form.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)) if form.layout == "nchw" else scaled


def _recorded(form: ImageForm, size: Sequence[int], classes: tuple[str, ...]) -> dict[str, Any]:
    recorded: dict[str, Any] = {
        "size": [int(side) for side in size],
        "layout": form.layout,
        "color": form.color,
        "range": form.range,
    }
    if form.size:
        recorded["resized"] = "stretched, bilinear"
    if form.mean:
        recorded["mean"] = list(form.mean)
    if form.std:
        recorded["std"] = list(form.std)
    return {"images": {**recorded, "classes": list(classes)}}


def _digest(folder: Path, files: Sequence[tuple[Path, int]]) -> str:
    """Of the names and the bytes of all images, so that a metric can be traced to them."""
    total = hashlib.sha256()
    for path, _ in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return f"sha256:{total.hexdigest()}"
