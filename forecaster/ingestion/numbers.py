"""Numbers in text: plain ones, those with separators, and markers of missing values."""

import polars as pl

MISSING = ("na", "n/a", "#n/a", "<na>", "null", "none", "-", "–", "—")
"""Markers of a missing value, in any case; `nan` is a number that is not finite."""

_SIGN, _EXPONENT = "[+−-]?", "(?:[eE][+-]?[0-9]{1,4})?"
_BLANKS = " \u00a0\u2009\u202f"
_THOUSANDS = {".": f"[,{_BLANKS}'’]", ",": f"[.{_BLANKS}'’]"}
"""Thousands separators, by decimal separator."""


def read(text: pl.Series, decimal: str | None) -> pl.Series:
    """Return Float64; null where there is no value or an unreadable one.

    With a declared `decimal` separator, thousands may be separated by spaces, apostrophes or the
    other sign. Without one, 1,234 and 1 234 are not read: they are ambiguous.
    """
    stripped = text.str.strip_chars()
    if decimal is None:
        return stripped.cast(pl.Float64, strict=False)
    sign, groups = f"\\{decimal}", _THOUSANDS[decimal]
    whole = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{groups}[0-9]{{3}})+)"
    shape = rf"^{_SIGN}(?:{whole}(?:{sign}[0-9]*)?|{sign}[0-9]+){_EXPONENT}$"
    fits = stripped.str.contains(shape)
    plain = stripped.str.replace_all(groups, "").str.replace_all("−", "-", literal=True)
    if decimal == ",":
        plain = plain.str.replace(",", ".", literal=True)
    words = stripped.set(stripped.str.contains("[0-9]"), None)
    return plain.set(~fits, None).zip_with(fits, words).cast(pl.Float64, strict=False)


def is_given(text: pl.Series) -> pl.Series:
    """Return which cells hold a value, readable or not."""
    words = text.str.strip_chars().str.to_lowercase()
    return ((words != "") & ~words.is_in(MISSING)).fill_null(False)
