"""PostgreSQL's binary COPY format, rows at a time: numpy lays out rows of equal width.

Every field is a length and its bytes, all big-endian (PostgreSQL documentation, COPY, "Binary
Format"). Rows whose texts, lists and nulls are alike have equal widths, so a frame goes out as a
few blocks, each of them one structured array.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_ROWS_AT_ONCE = 16_384
EPOCH = 946_684_800_000_000
"""2000-01-01, from which PostgreSQL counts, in microseconds since 1970."""
_NULL = -1
_REAL_OID = 700
_WIRE: dict[type[pl.DataType], str] = {
    pl.Boolean: "?",
    pl.Int32: ">i4",
    pl.Int64: ">i8",
    pl.Float32: ">f4",
    pl.Float64: ">f8",
    pl.Datetime: ">i8",
}


def encode(frame: pl.DataFrame) -> Iterator[memoryview]:
    """Return the rows of `frame`, in blocks and without header and trailer; maybe reordered.

    Columns: Boolean, Int32, Int64, Float32, Float64, instants, text of few different values, lists
    of Float32, which become one-dimensional arrays, and lists of arrays of Float32, which become
    two-dimensional ones. A column of a table must have the same width.
    """
    for part in _alike(frame):
        yield from _encode(part)


def _alike(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """Split into parts of one width each; nearly always there is one."""
    marks = [mark for column in frame.iter_columns() for mark in _shapes(column)]
    varying = {f"shape {place}": mark for place, mark in enumerate(marks) if mark.n_unique() > 1}
    if not varying:
        return [frame]
    marked = frame.with_columns(mark.alias(name) for name, mark in varying.items())
    return marked.partition_by(*varying, include_key=False, maintain_order=True)


def _shapes(column: pl.Series) -> Iterator[pl.Series]:
    """Return what decides how wide a field is, where it is not the type alone."""
    if column.dtype == pl.String:
        yield column
    elif column.null_count():
        yield column.is_null()
    if isinstance(column.dtype, pl.List):
        yield column.list.len()


def _encode(part: pl.DataFrame) -> Iterator[memoryview]:
    fields = [_field(column) for column in part.iter_columns()]
    layout = np.dtype([("count", ">i2"), *((str(n), field) for n, (field, _) in enumerate(fields))])
    block = np.empty(min(part.height, _ROWS_AT_ONCE), layout)
    block["count"] = len(fields)
    for place, (_, constants) in enumerate(fields):
        for name, value in constants.items():
            block[str(place)][name] = value
    for rows in part.iter_slices(_ROWS_AT_ONCE):
        filled = block[: rows.height]
        for place, column in enumerate(rows.iter_columns()):
            if "value" in (filled.dtype[place + 1].names or ()):
                filled[str(place)]["value"] = _wire(column)
        yield filled.view(np.uint8).data


def _field(column: pl.Series) -> tuple[np.dtype[Any], dict[str, Any]]:
    """Return the layout of a field that all rows share, and the parts of it that never change."""
    first = column[0]
    if first is None:
        return np.dtype([("length", ">i4")]), {"length": _NULL}
    if isinstance(column.dtype, pl.List):
        inner = column.dtype.inner
        return _array((len(first), *(inner.shape if isinstance(inner, pl.Array) else ())))
    if column.dtype == pl.String:
        text = first.encode()
        layout = np.dtype([("length", ">i4"), ("text", f"V{len(text)}")])
        return layout, {"length": len(text), "text": np.void(text)} if text else {"length": 0}
    number = np.dtype(_WIRE[column.dtype.base_type()])
    return np.dtype([("length", ">i4"), ("value", number)]), {"length": number.itemsize}


def _array(shape: tuple[int, ...]) -> tuple[np.dtype[Any], dict[str, Any]]:
    """An array of reals: dimensions, nulls, type, then for each dimension its size and start."""
    if 0 in shape:
        empty = np.dtype([("length", ">i4"), ("head", ">i4", (3,))])
        return empty, {"length": 12, "head": (0, 0, _REAL_OID)}
    head = (len(shape), 0, _REAL_OID, *(number for size in shape for number in (size, 1)))
    element = np.dtype([("length", ">i4"), ("real", ">f4")])
    size = math.prod(shape)
    value = ("value", element, (size,))
    layout = np.dtype([("length", ">i4"), ("head", ">i4", (len(head),)), value])
    lengths = np.zeros(size, element)
    lengths["length"] = 4
    return layout, {"length": 4 * len(head) + 8 * size, "head": head, "value": lengths}


def _wire(column: pl.Series) -> np.ndarray[Any, Any]:
    if isinstance(column.dtype, pl.List):
        numbers = column.explode().to_numpy().reshape(len(column), -1)
        elements = np.empty(numbers.shape, [("length", ">i4"), ("real", ">f4")])
        elements["length"] = 4
        elements["real"] = numbers
        return elements
    if isinstance(column.dtype, pl.Datetime):
        return column.to_physical().to_numpy() - EPOCH
    return column.to_numpy()
