"""What the installation gives to every deployment; a change of it makes no new pods of what is there already."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Platform:
    """The operator's settings, as far as objects show them."""

    runtime_image: str  # where `runtime.image` is not given
    # Who may call the servers' internal endpoints, as their `--access` reads it; "": nobody; None: not known yet.
    access: str | None = ""
