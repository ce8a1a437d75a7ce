"""Text: case, parts, padding, joining, conversion to text."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from accord.mapping.functions.signature import Rejected
from accord.mapping.functions.table import builtin
from accord.mapping.support import text as _to_text

WIDTH_MAX = 10_000  # characters pad and repeat may make


@builtin("string -> string", 'upper("abc") == "ABC"', inline="{0}.upper()")
def upper(text: str) -> str:
    """The text in upper case."""
    return text.upper()


@builtin("string -> string", 'lower("ABC") == "abc"', inline="{0}.lower()")
def lower(text: str) -> str:
    """The text in lower case."""
    return text.lower()


@builtin("string -> string", 'title("ada lovelace") == "Ada Lovelace"')
def title(text: str) -> str:
    """Each word with a capital letter."""
    return " ".join(word[:1].upper() + word[1:].lower() for word in text.split(" "))


@builtin("string, string? -> string", 'trim("  a b ") == "a b"')
def trim(text: str, characters: str | None = None) -> str:
    """Without blanks (or the given characters) at both ends."""
    return text.strip(characters)


@builtin("string -> string", 'squeeze(" a   b ") == "a b"')
def squeeze(text: str) -> str:
    """Without blanks at both ends, and single blanks between words."""
    return " ".join(text.split())


@builtin("string, string, string -> string", 'replace("1.234,5", ".", "") == "1234,5"')
def replace(text: str, old: str, new: str) -> str:
    """Every occurrence of ``old`` replaced by ``new``."""
    if not old:
        return text
    if len(new) > len(old) and text.count(old) * (len(new) - len(old)) > 1_000_000:
        raise Rejected("replacing would make the text too long", text)
    return text.replace(old, new)


@builtin("string, string, integer -> list[string]", 'split("a,b,c", ",") == ["a", "b", "c"]')
def split(text: str, separator: str, limit: int = -1) -> list[str]:
    """The parts between separators, at most ``limit`` splits (-1: all)."""
    if not separator:
        raise Rejected("the separator is empty", text)
    return text.split(separator, limit)


@builtin("list[string?], string -> string", 'join(["a", "b"], ", ") == "a, b"')
def join(parts: list[str | None], separator: str = "") -> str:
    """The parts in one text; nulls are left out."""
    return separator.join(p for p in parts if p is not None)


@builtin(
    "string?, string?, string?, string?, string?, string? -> string", 'words("Ada", null, "Lovelace") == "Ada Lovelace"'
)
def words(a: str | None, b: str | None = None, c: str | None = None, d: str | None = None,
          e: str | None = None, f: str | None = None) -> str:  # fmt: skip
    """The texts that have a value, trimmed, with a blank between them: names and addresses."""
    return " ".join(p.strip() for p in (a, b, c, d, e, f) if p and p.strip())


@builtin("string, string -> boolean", 'starts_with("INV-1", "INV-")', inline="{0}.startswith({1})")
def starts_with(text: str, start: str) -> bool:
    """Whether the text begins so."""
    return text.startswith(start)


@builtin("string, string -> boolean", 'ends_with("a.pdf", ".pdf")', inline="{0}.endswith({1})")
def ends_with(text: str, end: str) -> bool:
    """Whether the text ends so."""
    return text.endswith(end)


@builtin("string, string -> boolean", 'contains("abc", "b")', inline="({1} in {0})")
def contains(text: str, part: str) -> bool:
    """Whether the part stands in the text."""
    return part in text


@builtin("string, integer -> string", 'left("abcdef", 3) == "abc"')
def left(text: str, count: int) -> str:
    """The first characters, at most ``count``."""
    return text[: max(count, 0)]


@builtin("string, integer -> string", 'right("abcdef", 3) == "def"')
def right(text: str, count: int) -> str:
    """The last characters, at most ``count``."""
    return text[-count:] if count > 0 else ""


@builtin("string, string -> string", 'before("a@b.c", "@") == "a"')
def before(text: str, separator: str) -> str:
    """What stands before the first separator; the whole text when there is none."""
    return text.partition(separator)[0] if separator else text


@builtin("string, string -> string", 'after("a@b.c", "@") == "b.c"')
def after(text: str, separator: str) -> str:
    """What stands after the first separator; empty when there is none."""
    return text.partition(separator)[2] if separator else ""


@builtin("string, integer, string -> string", 'pad("42", 5, "0") == "00042"')
def pad(text: str, width: int, fill: str = " ") -> str:
    """Filled up at the left to ``width`` characters."""
    _width(width, fill)
    return text.rjust(width, fill)


@builtin("string, integer, string -> string", 'pad_right("ab", 4, ".") == "ab.."')
def pad_right(text: str, width: int, fill: str = " ") -> str:
    """Filled up at the right to ``width`` characters."""
    _width(width, fill)
    return text.ljust(width, fill)


@builtin("string, integer, string -> string", 'shorten("a long text", 7) == "a long…"')
def shorten(text: str, width: int, mark: str = "…") -> str:
    """At most ``width`` characters, with a mark where something was cut."""
    if len(text) <= width:
        return text
    return (text[: max(width - len(mark), 0)].rstrip() + mark)[: max(width, 0)]


@builtin("string, string -> string", 'slug("Größe & Crème") == "grosse-creme"')
def slug(text: str, separator: str = "-") -> str:
    """Lower-case ASCII letters and digits, with separators between: for addresses and file names."""
    return re.sub(r"[^a-z0-9]+", lambda _: separator, ascii_(text).lower()).strip(separator or None)


_LETTERS = str.maketrans(
    {"ß": "ss", "Æ": "AE", "æ": "ae", "Ø": "O", "ø": "o", "Ł": "L", "ł": "l", "Đ": "D", "đ": "d", "Œ": "OE", "œ": "oe"}
)


@builtin("string -> string", 'ascii("Crème brûlée") == "Creme brulee"', name="ascii")
def ascii_(text: str) -> str:
    """Without accents; letters that have no ASCII form are left out."""
    return unicodedata.normalize("NFKD", text.translate(_LETTERS)).encode("ascii", "ignore").decode()


@builtin(
    "string|boolean|integer|decimal|float|date|datetime|duration|json -> string", 'text(12.50) == "12.50"', name="text"
)
def text_(value: Any) -> str:
    """Any single value as text: digits without exponent, ISO 8601 dates, true/false."""
    return _to_text(value)


@builtin("string|boolean|json -> boolean", 'boolean("yes")')
def boolean(value: Any) -> bool:
    """true/yes/on/1 and false/no/off/0 (any case) as boolean."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word in ("true", "yes", "on", "1", "y", "t"):
        return True
    if word in ("false", "no", "off", "0", "n", "f"):
        return False
    raise Rejected("this is neither true nor false", value)


def _width(width: int, fill: str) -> None:
    if len(fill) != 1:
        raise Rejected("the fill must be one character", fill)
    if width > WIDTH_MAX:
        raise Rejected(f"the width is over {WIDTH_MAX}", width)
