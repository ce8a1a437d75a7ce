"""Regular expressions in columns.

Python's pattern is parsed by Python and written anew for Rust, kind by kind, so that a difference of dialects cannot slip in.
What Rust cannot do (looking around, going back) or means differently is refused. Classes such as ``\\w`` are written for ASCII,
and a text beyond ASCII is left to the row form.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

import polars as pl

from accord.mapping.columns.column import NoColumn
from accord.mapping.columns.texts import not_ascii

_sre: Any = importlib.import_module("re._constants")
_parser: Any = importlib.import_module("re._parser")
_ASCII_CLASSES = {
    "CATEGORY_DIGIT": "0-9",
    "CATEGORY_WORD": "0-9A-Za-z_",
    "CATEGORY_SPACE": r"\x{9}-\x{d}\x{1c}-\x{20}",
}


class RustPattern:
    """``text`` is the pattern for Rust, ``needs_ascii`` whether it holds for ASCII texts only."""

    def __init__(self, pattern: str, *, is_whole: bool) -> None:
        self.needs_ascii = False
        tree = _parser.parse(pattern)
        if tree.state.flags & ~re.UNICODE:
            raise NoColumn("a pattern with flags")
        items = list(tree)
        if is_whole and items and items[0] == (_sre.AT, _sre.AT_BEGINNING):
            items = items[1:]
        if is_whole and items and items[-1] == (_sre.AT, _sre.AT_END):
            items = items[:-1]
        body = "".join(self._one(op, argument) for op, argument in items)
        self.text = rf"\A(?:{body})\z" if is_whole else body
        try:
            pl.Series([""]).str.contains(self.text)
        except pl.exceptions.PolarsError:
            raise NoColumn("a pattern Polars refuses") from None

    def _all(self, tree: Any) -> str:
        return "".join(self._one(op, argument) for op, argument in tree)

    def _one(self, op: Any, argument: Any) -> str:
        match str(op):
            case "LITERAL":
                return _character(argument)
            case "NOT_LITERAL":
                return f"[^{_character(argument)}]"
            case "ANY":
                return r"[^\x{a}]"
            case "IN":
                return self._class(argument)
            case "CATEGORY":
                return self._class([(op, argument)])
            case "BRANCH":
                return "(?:" + "|".join(self._all(branch) for branch in argument[1]) + ")"
            case "SUBPATTERN":
                group, add, remove, inner = argument
                if add or remove:
                    raise NoColumn("a pattern with flags")
                return ("(" if group is not None else "(?:") + self._all(inner) + ")"
            case "MAX_REPEAT" | "MIN_REPEAT":
                low, high, inner = argument
                most = "" if high is _sre.MAXREPEAT else str(int(high))
                return f"(?:{self._all(inner)}){{{int(low)},{most}}}" + ("?" if str(op) == "MIN_REPEAT" else "")
            case _:
                raise NoColumn("a pattern that looks around")

    def _class(self, items: Any) -> str:
        made = ""
        negated = ""
        for op, argument in items:
            match str(op):
                case "NEGATE":
                    negated = "^"
                case "LITERAL":
                    made += _character(argument)
                case "RANGE":
                    made += f"{_character(argument[0])}-{_character(argument[1])}"
                case "CATEGORY":
                    name = str(argument)
                    if name not in _ASCII_CLASSES:
                        raise NoColumn("a pattern with a negated class")
                    self.needs_ascii = True
                    made += _ASCII_CLASSES[name]
                case _:
                    raise NoColumn("such a class")
        return f"[{negated}{made}]"


def _character(code: int) -> str:
    return f"\\x{{{code:x}}}"


def whole_match(text: pl.Expr, pattern: str, length_max: int) -> tuple[pl.Expr, pl.Expr]:
    """(whether the whole text matches, where that is not sure)."""
    made = RustPattern(pattern, is_whole=True)
    odd = text.str.len_bytes() > length_max
    if made.needs_ascii:
        odd = odd | not_ascii(text)
    return text.str.contains(made.text), odd
