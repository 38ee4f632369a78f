"""The options of every command that packs a bundle, and the request that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tidegate.cli.data_options import data_of, data_options

if TYPE_CHECKING:
    from tidegate.author.request import PackRequest

F = TypeVar("F", bound=Callable[..., Any])


def bundle_options(*, samples: str, license_: str) -> Callable[[F], F]:
    """Add them to a command; `samples` and `license_` say what is taken where nothing is said."""
    options = (
        click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The new bundle directory."),
        data_options,
        click.option(
            "--golden", default="generated", help="generated, heldout (rows of --data), none, or a .npz of inputs."
        ),
        click.option("--golden-count", type=int, help=f"How many golden samples (1 to 64).  [default: {samples}]"),
        click.option("--seed", default=20_240_229, show_default=True, help="Of everything that is drawn."),
        click.option(
            "--file",
            "files",
            multiple=True,
            type=click.Path(path_type=Path),
            help="A further file, such as labels.txt.",
        ),
        click.option("--description", default="", help="One sentence about the model."),
        click.option("--license", "license_", default="", help=f"Its license.  [default: {license_}]"),
        click.option(
            "--created-at", default="", help="RFC 3339 time to record; default: of SOURCE_DATE_EPOCH, or none."
        ),
    )

    def added(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return added


def request_of(options: Mapping[str, Any]) -> PackRequest:
    """The bundle that these options ask for, and `--name` and `--version`.  Raises UsageError and Invalid."""
    from tidegate.author.request import GoldenRequest, PackRequest

    data, count = data_of(options), options["golden_count"]
    given = {} if count is None else {"count": count}
    plain = {name: options[name] for name in ("out", "name", "version", "description", "created_at", "files")}
    golden = GoldenRequest(options["golden"], seed=options["seed"], **given)
    return PackRequest(license=options["license_"], data=data, golden=golden, **plain)
