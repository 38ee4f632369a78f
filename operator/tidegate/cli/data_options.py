"""The options of every command that takes rows of data, and the data set that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.author.images import ImageForm
    from tidegate.author.request import DataSet

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="Rows: .npz, .npy, .csv with a header, .parquet, or a folder of images by class.",
    ),
    click.option(
        "--labels",
        default="",
        help="What is right for each row: a column or array of --data, or a file; of images: the classes, one a line.",
    ),
    click.option("--drop-columns", default="", metavar="A,B", help="Columns of --data that are not used at all."),
    click.option("--hash-columns", default="", metavar="A,B", help="Columns that are hashed where rows are published."),
    click.option("--image-size", default="", metavar="HxW", help="Bring images to this height and width."),
    click.option(
        "--image-layout", type=click.Choice(["nchw", "nhwc"]), help="Order of a tensor of images.  [default: nchw]"
    ),
    click.option("--image-color", type=click.Choice(["rgb", "gray"]), help="Channels of an image.  [default: rgb]"),
    click.option(
        "--image-range", type=click.Choice(["0..1", "-1..1", "0..255"]), help="What pixels become.  [default: 0..1]"
    ),
    click.option("--image-mean", default="", metavar="M[,M,M]", help="Taken away then, per channel."),
    click.option("--image-std", default="", metavar="S[,S,S]", help="Divided by then, per channel."),
)


def data_options(command: F) -> F:
    """Add them to a command, which hands its keyword arguments to `data_of`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def data_of(options: Mapping[str, Any]) -> DataSet | None:
    """The data that these options ask for; None where they ask for none.  Raises UsageError and Invalid."""
    path: Path | None = options["data"]
    if path is None:
        _require_nothing_else(options)
        return None
    from tidegate.author.extras import need

    need("numpy", extra="runtime")
    from tidegate.author.data import Reading, read_data

    reading = Reading(_names(options["drop_columns"]), _names(options["hash_columns"]), _images(options))
    return read_data(path, options["labels"], reading=reading)


def _require_nothing_else(options: Mapping[str, Any]) -> None:
    if options["labels"]:
        raise UsageError("labels of what?", where="--labels", do="give the rows with --data FILE")
    for name in ("drop_columns", "hash_columns", *(name for name in options if name.startswith("image_"))):
        if options[name]:
            option = f"--{name.replace('_', '-')}"
            raise UsageError("of what?", where=option, do="give the rows with --data FILE")


def _images(options: Mapping[str, Any]) -> ImageForm | None:
    """None where no option speaks of images."""
    from tidegate.author.images import ImageForm

    told = {
        "size": _size(options["image_size"]),
        "layout": options["image_layout"],
        "color": options["image_color"],
        "range": options["image_range"],
        "mean": _numbers(options["image_mean"], "--image-mean"),
        "std": _numbers(options["image_std"], "--image-std"),
    }
    given = {name: value for name, value in told.items() if value}
    return ImageForm(**given) if given else None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise UsageError(f"'{text}' is not HEIGHTxWIDTH", where="--image-size", do="write, for example, 224x224")
    return int(height), int(width)


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _names(text))
    except ValueError:
        raise UsageError(f"'{text}' is not a list of numbers", where=option, do="write 0.485,0.456,0.406") from None
