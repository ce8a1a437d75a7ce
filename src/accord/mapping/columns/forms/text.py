"""Text. Case mapping is left to the row form beyond Latin: the Unicode tables of Rust and Python differ by version."""

from __future__ import annotations

import polars as pl

from accord.mapping.columns.column import Column, NoColumn, odd_of
from accord.mapping.columns.forms.table import form
from accord.mapping.columns.operators import together
from accord.mapping.columns.texts import BLANKS, beyond_latin, contains, text_of
from accord.mapping.functions.text import WIDTH_MAX
from accord.record.types import Boolean, List, String

_BLANKS_PATTERN = "[" + "".join(f"\\x{{{ord(c):x}}}" for c in BLANKS) + "]+"
_YES = ["true", "yes", "on", "1", "y", "t"]
_NO = ["false", "no", "off", "0", "n", "f"]


def _text(column: Column) -> str:
    """A literal argument."""
    if not isinstance(column.literal, str):
        raise NoColumn("an argument that is computed")
    return column.literal


def _count(column: Column) -> int:
    if type(column.literal) is not int or abs(column.literal) > 2**31:
        raise NoColumn("an argument that is computed")
    return column.literal


@form("upper")
def upper(text: Column) -> Column:
    return together([text], text.value.str.to_uppercase(), String(), odd=beyond_latin(text.value))


@form("lower")
def lower(text: Column) -> Column:
    return together([text], text.value.str.to_lowercase(), String(), odd=beyond_latin(text.value))


@form("trim")
def trim(text: Column, characters: Column) -> Column:
    which = BLANKS if characters.is_null else _text(characters)
    value = text.value.str.strip_chars(which) if which else text.value
    return together([text], value, String())


@form("squeeze")
def squeeze(text: Column) -> Column:
    value = text.value.str.strip_chars(BLANKS).str.replace_all(_BLANKS_PATTERN, " ")
    return together([text], value, String())


@form("replace")
def replace(text: Column, old: Column, new: Column) -> Column:
    before, after = _text(old), _text(new)
    if not before:
        return text
    odd = None
    if len(after) > len(before):
        odd = text.value.str.len_bytes() > 1_000_000 // (len(after) - len(before))
    return together([text], text.value.str.replace_all(before, after, literal=True), String(), odd=odd)


@form("split")
def split(text: Column, separator: Column, limit: Column) -> Column:
    if not _text(separator) or _count(limit) != -1:
        raise NoColumn("split() with a limit")
    return together([text], text.value.str.split(_text(separator)), List(String()))


@form("join")
def join(parts: Column, separator: Column) -> Column:
    return together([parts], parts.value.list.join(_text(separator), ignore_nulls=True), String())


@form("words")
def words(*parts: Column) -> Column:
    given = [part for part in parts if not part.is_null]
    if not given:
        raise NoColumn("words() of nothing")
    trimmed = [part.value.str.strip_chars(BLANKS) for part in given]
    pieces = [pl.when(t != "").then(t) for t in trimmed]
    return together(
        given, pl.concat_str(pieces, separator=" ", ignore_nulls=True), String(), nullable=False, odd=odd_of(parts)
    )


@form("starts_with")
def starts_with(text: Column, start: Column) -> Column:
    return together([text, start], text.value.str.starts_with(start.value), Boolean())


@form("ends_with")
def ends_with(text: Column, end: Column) -> Column:
    return together([text, end], text.value.str.ends_with(end.value), Boolean())


@form("contains")
def contains_(text: Column, part: Column) -> Column:
    return together([text, part], contains(text, part), Boolean())


@form("left")
def left(text: Column, count: Column) -> Column:
    return together([text], text.value.str.head(max(_count(count), 0)), String())


@form("right")
def right(text: Column, count: Column) -> Column:
    return together([text], text.value.str.tail(max(_count(count), 0)), String())


@form("before")
def before(text: Column, separator: Column) -> Column:
    if not _text(separator):
        return text
    return together([text], text.value.str.splitn(_text(separator), 2).struct.field("field_0"), String())


@form("after")
def after(text: Column, separator: Column) -> Column:
    if not _text(separator):
        return together([text], pl.when(text.value.is_not_null()).then(pl.lit("")), String())
    found = text.value.str.splitn(_text(separator), 2).struct.field("field_1").fill_null("")
    return together([text], pl.when(text.value.is_not_null()).then(found), String())


@form("pad")
def pad(text: Column, width: Column, fill: Column) -> Column:
    return together([text], text.value.str.pad_start(_width(width, fill), _text(fill)), String())


@form("pad_right")
def pad_right(text: Column, width: Column, fill: Column) -> Column:
    return together([text], text.value.str.pad_end(_width(width, fill), _text(fill)), String())


def _width(width: Column, fill: Column) -> int:
    if len(_text(fill)) != 1 or _count(width) > WIDTH_MAX:
        raise NoColumn("a width or fill that is refused")
    return max(_count(width), 0)


@form("shorten")
def shorten(text: Column, width: Column, mark: Column) -> Column:
    most, sign = _count(width), _text(mark)
    if most < 0:
        raise NoColumn("a negative width")
    cut = text.value.str.head(max(most - len(sign), 0)).str.strip_chars_end(BLANKS) + sign
    value = pl.when(text.value.str.len_chars() <= most).then(text.value).otherwise(cut.str.head(most))
    return together([text], value, String())


@form("text")
def text_(value: Column) -> Column:
    return text_of(value)


@form("boolean")
def boolean(value: Column) -> Column:
    if isinstance(value.type, Boolean):
        return value
    if not isinstance(value.type, String):
        raise NoColumn("boolean() of json")
    word = value.value.str.strip_chars(BLANKS).str.to_lowercase()
    yes, no = word.is_in(_YES), word.is_in(_NO)
    made = pl.when(yes).then(pl.lit(value=True)).when(no).then(pl.lit(value=False))
    return together([value], made, Boolean(), odd=~(yes | no))
