"""The text of the key of a series, the same whatever type a column has.

A number is the digits of the exact number, without exponent and without zeros at the end of its
fraction: 1.0 is `1`, 1.50 is `1.5`, −0 is `0`. Text is kept as it is, so that 007 is not 7.
"""

from collections.abc import Iterable
from decimal import Decimal

import polars as pl

from forecaster.errors import DataError

INEXACT = "\0inexact "
"""Prefix of the text of a float that may stand for several whole numbers; no key contains NUL."""

_WHOLE_UP_TO, _WHOLE_UP_TO_FLOAT32 = 2.0**53, 2.0**24
"""Below, a float is one whole number; from here on, several become the same float."""
_LONGEST_EXPONENT = 2_000
_UNSUPPORTED = (pl.Duration, pl.Unknown)


def key_text(key: pl.Series) -> pl.Series:
    """Return the keys of a column as String, null for those that are missing: NULL and NaN.

    Instants are in UTC and to the microsecond, bytes are hexadecimal digits after `\\x`. A float
    that is not exact begins with INEXACT. DataError for a column of another type.
    """
    match key.dtype:
        case pl.String:
            return key
        case pl.Float32 | pl.Float64:
            return _of_floats(key)
        case pl.Decimal():
            text = key.cast(pl.String)
            is_scaled = text.str.contains(".", literal=True).fill_null(False)
            return text.str.strip_chars_end("0").str.strip_chars_end(".").zip_with(is_scaled, text)
        case pl.Datetime():
            kept = key if key.dtype.time_zone is None else key.dt.convert_time_zone("UTC")
            return kept.dt.cast_time_unit("us").cast(pl.String)
        case pl.Binary:
            return ("\\x" + key.bin.encode("hex")).alias(key.name)
        case pl.Object:
            return texts_of(key.name, key)
    if key.dtype.is_nested() or key.dtype in _UNSUPPORTED:
        raise DataError(f"column {key.name!r} must hold text or numbers, found {key.dtype}")
    return key.cast(pl.String)


def texts_of(name: str, values: Iterable[object]) -> pl.Series:
    """Return values of any types as the keys that they are."""
    return pl.Series(name, [text_of(value) for value in values], dtype=pl.String)


def text_of(value: object) -> str | None:
    """Return one value as the key that it is; None where it is none."""
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case float():
            [text] = _of_floats(pl.Series([value], dtype=pl.Float64))
            return None if text is None else str(text)
        case Decimal():
            return _of_decimal(value)
        case bytes() | bytearray() | memoryview():
            return "\\x" + value.hex()
    return str(value)


def _of_floats(key: pl.Series) -> pl.Series:
    limit = _WHOLE_UP_TO if key.dtype == pl.Float64 else _WHOLE_UP_TO_FLOAT32
    is_number = key.is_finite().fill_null(False)
    is_whole = is_number & (key == key.floor()).fill_null(False)
    is_exact = is_whole & (key.abs() < limit).fill_null(False)
    exact = key.set(~is_exact, None).cast(pl.Int64).cast(pl.String)
    others = (is_number & ~is_exact).arg_true()
    if others.is_empty():
        return exact
    shortest, inexact = key.gather(others).cast(pl.String), is_whole.gather(others)
    plain = {text: _of_decimal(Decimal(text)) for text in shortest.unique()}
    fractions = shortest.replace_strict(plain, return_dtype=pl.String)
    return exact.scatter(others, (INEXACT + shortest).zip_with(inexact, fractions))


def _of_decimal(number: Decimal) -> str | None:
    if not number.is_finite():
        return None
    if abs(number.adjusted()) > _LONGEST_EXPONENT:
        return str(number)  # its digits alone would fill the memory
    digits = f"{number:f}"
    short = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if short == "-0" else short
