"""The element types that the inference protocol can carry: one row per type.

The names are those of the Open Inference Protocol; the numbers are those of ONNX's TensorProto.DataType.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ElementType:
    """How one type is called and stored; `numpy` is the dtype of its arrays here (BF16 as raw uint16)."""

    name: str
    onnx: int
    numpy: str
    bytes: int  # of one element; 0: as long as it is (BYTES)


ELEMENT_TYPES: dict[str, ElementType] = {
    row.name: row
    for row in (
        ElementType("FP32", 1, "<f4", 4),
        ElementType("UINT8", 2, "|u1", 1),
        ElementType("INT8", 3, "|i1", 1),
        ElementType("UINT16", 4, "<u2", 2),
        ElementType("INT16", 5, "<i2", 2),
        ElementType("INT32", 6, "<i4", 4),
        ElementType("INT64", 7, "<i8", 8),
        ElementType("BYTES", 8, "object", 0),
        ElementType("BOOL", 9, "|b1", 1),
        ElementType("FP16", 10, "<f2", 2),
        ElementType("FP64", 11, "<f8", 8),
        ElementType("UINT32", 12, "<u4", 4),
        ElementType("UINT64", 13, "<u8", 8),
        ElementType("BF16", 16, "<u2", 2),
    )
}
BY_ONNX_NUMBER: dict[int, ElementType] = {row.onnx: row for row in ELEMENT_TYPES.values()}
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
