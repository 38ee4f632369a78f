"""How a client wants rows explained: the parameters of its request, called as the options of `tidegate explain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from tidegate.attribution.explaining import Called, Wish
from tidegate.attribution.game import Baseline
from tidegate.attribution.methods import SHAPLEY, WAYS
from tidegate.attribution.players import PictureForm
from tidegate_runtime.errors import BadRequest
from tidegate_runtime.signature import LONGEST_SHOWN

CALLED: Final = Called("inputs", "outputs", "parameters.")
USUAL: Final = Wish(called=CALLED)
MOST: Final = {"rows": 1 << 24, "rounds": 100_000, "patch": 1 << 16, "seed": (1 << 63) - 1}
LEAST: Final = {"rows": 1, "rounds": 1, "patch": 0, "seed": 0}
WORDS: Final = {"method": tuple(WAYS), "baseline": ("mean", "zero")}
OF_INFERENCE: Final = ("binary_data_output", "nonfinite", "timeout")  # they mean here what they mean there
KNOWN: Final = ("method", "rows", "rounds", "baseline", "picture", "patch", "seed")


def wish(given: Mapping[str, Any]) -> Wish:
    """The wish in a request's parameters; raises BadRequest."""
    if unknown := [name for name in given if name not in KNOWN and name not in OF_INFERENCE]:
        known = ", ".join((*KNOWN, *OF_INFERENCE))
        raise BadRequest(f"parameters.{unknown[0][:LONGEST_SHOWN]} is not known here: there are {known}")
    return Wish(
        method=_word(given, "method", SHAPLEY),
        rows=_whole(given, "rows", USUAL.rows),
        rounds=_whole(given, "rounds", USUAL.rounds),
        baseline=cast("Baseline", _word(given, "baseline", USUAL.baseline)),
        picture=_picture(given),
        seed=_whole(given, "seed", USUAL.seed),
        called=CALLED,
    )


def _word(given: Mapping[str, Any], name: str, default: str) -> str:
    value, words = given.get(name, default), WORDS[name]
    if value not in words:
        raise BadRequest(f"parameters.{name} must be {' or '.join(words)}")
    return str(value)


def _whole(given: Mapping[str, Any], name: str, default: int) -> int:
    value, least, most = given.get(name, default), LEAST[name], MOST[name]
    if type(value) is not int or not least <= value <= most:
        raise BadRequest(f"parameters.{name} must be a whole number from {least} to {most}")
    return value


def _picture(given: Mapping[str, Any]) -> PictureForm:
    size, patch = given.get("picture", ""), _whole(given, "patch", 0)
    if type(size) is not str:
        raise BadRequest("parameters.picture must be a text such as 28x28")
    try:
        return PictureForm.read(size, patch)
    except ValueError as error:
        raise BadRequest(f"parameters.picture: {error}: write, for example, 28x28") from None
