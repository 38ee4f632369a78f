"""What a scikit-learn estimator is fed with, and how that becomes ONNX inputs.

Three forms: one matrix of numbers or of texts; a list of texts; columns of several types, each an input of its own.
The form comes from an example of the data where there is one, else from what the fitted steps remember.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tidegate.author.columns import side_by_side
from tidegate.author.request import DataSet
from tidegate.author.session import Array, Tensors
from tidegate.errors import Invalid

Kind = Literal["float", "string"]
NUMBERS: Kind = "float"
TEXTS: Kind = "string"
INPUT = "input"


@dataclass(frozen=True, slots=True)
class Form:
    """The inputs by name, with their kind and number of columns; `as_list`: one text per row, no matrix."""

    kinds: Mapping[str, Kind]
    widths: Mapping[str, int]
    as_list: bool = False
    names: tuple[str, ...] = ()  # of the columns that the estimator was fitted on
    single: bool = False  # the estimator computes in 32 bits, as the model does

    def tensors(self, data: DataSet) -> dict[str, Array]:
        """The data as the model's inputs."""
        if len(self.kinds) == 1:
            (name,) = self.kinds
            return {name: self._cast(_matrix(data, self.widths[name]), self.kinds[name])}
        missing = [name for name in self.kinds if name not in data.columns]
        if missing:
            raise Invalid(f"there is no column '{missing[0]}'", where=data.name)
        return {name: self._cast(data.columns[name].reshape(-1, 1), kind) for name, kind in self.kinds.items()}

    def rows_for(self, tensors: Tensors) -> Any:
        """The model's inputs as the estimator's `X`."""
        if self.as_list:
            return [str(text) for text in tensors[next(iter(self.kinds))].reshape(-1).tolist()]
        if self.names:
            import pandas as pd  # type: ignore[import-untyped]  # it was fitted on a DataFrame, so pandas is here

            columns = [column for name in self.kinds for column in self._as_fitted(tensors[name]).T]
            return pd.DataFrame(dict(zip(self.names, columns, strict=True)))
        parts = [self._as_fitted(tensors[name]) for name in self.kinds]
        same = len({part.dtype.kind for part in parts}) == 1
        return np.concatenate(parts if same else [part.astype(object) for part in parts], axis=1)

    def _as_fitted(self, array: Array) -> Array:
        """The same numbers in 64 bits, because some estimators take nothing else once they were fitted on it."""
        return array.astype(np.float64) if array.dtype == np.float32 and not self.single else array

    @staticmethod
    def _cast(array: Array, kind: Kind) -> Array:
        if kind == NUMBERS:
            return np.ascontiguousarray(_as_numbers(array))
        return np.array([str(item) for item in array.reshape(-1).tolist()], dtype=object).reshape(array.shape)


def _as_numbers(array: Array) -> Array:
    try:
        return array.astype(np.float32)
    except ValueError as error:
        raise Invalid(
            f"the model takes numbers: {error}", where="the data", do="--drop-columns leaves columns out"
        ) from None


def _matrix(data: DataSet, width: int) -> Array:
    matrix = side_by_side(data)
    matrix = matrix.reshape(len(matrix), -1)
    if matrix.shape[1] != width:
        raise Invalid(f"{matrix.shape[1]} columns, the model was fitted on {width}", where=data.name)
    return matrix


def form_of(estimator: Any, example: DataSet | None) -> Form:
    """How this estimator is fed."""
    first = _first_step(estimator)
    if _is_text_reader(first):
        return Form({INPUT: TEXTS}, {INPUT: 1}, as_list=True)
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    width = _width(estimator, first)
    if example is not None:
        _require_width(example, width)
        kinds = {name: _kind_of(column) for name, column in example.columns.items()}
        return _columns(kinds, tuple(kinds) if names else ()) if len(kinds) > 1 else _matrix_form(kinds, width, names)
    kinds = dict(zip(names or _numbered(width), _remembered(first, width), strict=False))
    return _columns(kinds, tuple(names))


def _require_width(example: DataSet, width: int) -> None:
    found = sum(int(np.prod(np.shape(column)[1:])) for column in example.columns.values())
    if found != width:
        raise Invalid(
            f"{found} columns, the model was fitted on {width}",
            where=example.name,
            do="leave out what it was not fitted on: --drop-columns; name what is right: --labels",
        )


def _matrix_form(kinds: Mapping[str, Kind], width: int, names: Sequence[str]) -> Form:
    return Form({INPUT: next(iter(kinds.values()))}, {INPUT: width}, names=tuple(names))


def _columns(kinds: Mapping[str, Kind], names: tuple[str, ...]) -> Form:
    if len(set(kinds.values())) == 1 and not (names and _has_text(kinds)):
        return Form({INPUT: next(iter(kinds.values()))}, {INPUT: len(kinds)}, names=names)
    return Form(kinds, dict.fromkeys(kinds, 1), names=names)


def _has_text(kinds: Mapping[str, Kind]) -> bool:
    return TEXTS in kinds.values()


def _numbered(width: int) -> list[str]:
    return [f"x{number}" for number in range(width)]


def _kind_of(column: Array) -> Kind:
    return TEXTS if column.dtype.kind in "OUS" else NUMBERS


def _first_step(estimator: Any) -> Any:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[0][1]
    return estimator


def _is_text_reader(step: Any) -> bool:
    return type(step).__name__ in ("TfidfVectorizer", "CountVectorizer", "HashingVectorizer")


def _width(estimator: Any, first: Any) -> int:
    width = getattr(estimator, "n_features_in_", None) or getattr(first, "n_features_in_", None)
    width = width or len(getattr(first, "feature_names_", ()))  # of CatBoost, from a file
    if not width:
        raise Invalid(
            f"{type(estimator).__name__} does not say how many columns it was fitted on",
            where="the estimator",
            do="give rows of its data with --data FILE",
        )
    return int(width)


def _remembered(first: Any, width: int) -> list[Kind]:
    """The kind of each column, as far as encoders remember the categories they saw."""
    kinds: list[Kind] = ["float"] * width
    for step, columns in _encoders(first, width):
        for column, categories in zip(columns, getattr(step, "categories_", ()), strict=False):
            if np.asarray(categories).dtype.kind in "OUS":
                kinds[column] = "string"
    return kinds


def _encoders(first: Any, width: int) -> Iterator[tuple[Any, Sequence[int]]]:
    if not hasattr(first, "transformers_"):
        yield first, range(width)
        return
    names = [str(name) for name in getattr(first, "feature_names_in_", ())]
    for _, step, columns in first.transformers_:
        yield _first_step(step), [_position(column, names) for column in _listed(columns, width)]


def _listed(columns: Any, width: int) -> list[Any]:
    if isinstance(columns, slice):
        return list(range(width))[columns]
    found = np.atleast_1d(np.asarray(columns)).tolist()
    return list(np.flatnonzero(found)) if found and isinstance(found[0], bool) else found


def _position(column: Any, names: Sequence[str]) -> int:
    return names.index(str(column)) if isinstance(column, str) else int(column)
