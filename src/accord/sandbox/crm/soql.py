"""The subset of SOQL that integrations write: parsed, then asked of one record after the other. Pure.

    SELECT field, Parent.field, … | COUNT() FROM Object [WHERE conditions]
        [ORDER BY field [ASC|DESC] [NULLS FIRST|LAST], …] [LIMIT n] [OFFSET n]

Conditions: = != <> < <= > >= LIKE IN NOT IN, AND, OR, NOT, brackets; null, booleans, numbers, texts, dates, date-times. Texts are
compared without regard to case. Source: Salesforce, "SOQL and SOSL Reference".
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import msgspec

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')"
    r"|(?P<moment>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))|(?P<date>\d{4}-\d\d-\d\d)"
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w.]*)|(?P<sign><=|>=|!=|<>|[=<>(),]))"
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_WORDS = {
    "select",
    "from",
    "where",
    "order",
    "by",
    "limit",
    "offset",
    "and",
    "or",
    "not",
    "in",
    "like",
    "nulls",
    "all",
    "rows",
    "for",
}

Look = Callable[[str], Any]
Condition = Callable[[Look], bool]


class MalformedQuery(Exception):
    """Not in the subset; the message says near what."""


class Order(msgspec.Struct, frozen=True):
    name: str
    is_descending: bool
    are_nulls_last: bool


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """``names``: every field name asked for or used, with its path. ``equals``: conditions of the form field = value that must
    hold, for finding records by index."""

    columns: tuple[str, ...]
    is_count: bool
    object: str
    where: Condition | None
    equals: dict[str, Any]
    names: tuple[str, ...]
    orders: tuple[Order, ...]
    limit: int | None
    offset: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.names: list[str] = []
        self.equals: dict[str, Any] = {}
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise MalformedQuery(f"unexpected token: '{text[at : at + 20].strip()}'")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.at = 0

    def peek(self, *words: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at][1].lower() in words

    def take(self, *words: str) -> bool:
        if self.peek(*words):
            self.at += 1
            return True
        return False

    def need(self, word: str) -> None:
        if not self.take(word):
            raise MalformedQuery(f"expecting '{word}', found '{self._here()}'")

    def _here(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else "<EOF>"

    def name(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != "name" or self.peek(*_WORDS):
            raise MalformedQuery(f"unexpected token: '{self._here()}'")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def whole(self) -> int:
        if self.at >= len(self.tokens) or not self.tokens[self.at][1].isdigit():
            raise MalformedQuery(f"expecting a number, found '{self._here()}'")
        self.at += 1
        return int(self.tokens[self.at - 1][1])

    def query(self) -> Query:
        self.need("select")
        columns, is_count = self._columns()
        self.need("from")
        object_ = self.name()
        where = self._any(is_sole=True) if self.take("where") else None
        orders = self._orders() if self.take("order") else ()
        limit = self.whole() if self.take("limit") else None
        offset = self.whole() if self.take("offset") else 0
        if self.take("all"):
            self.need("rows")
        if self.at < len(self.tokens):
            raise MalformedQuery(f"unexpected token: '{self._here()}'")
        return Query(
            columns=columns,
            is_count=is_count,
            object=object_,
            where=where,
            equals=self.equals,
            names=tuple(dict.fromkeys((*columns, *self.names, *(order.name for order in orders)))),
            orders=orders,
            limit=limit,
            offset=offset,
        )

    def _columns(self) -> tuple[tuple[str, ...], bool]:
        if self.peek("count") and self.tokens[self.at + 1 : self.at + 3] == [("sign", "("), ("sign", ")")]:
            self.at += 3
            return (), True
        found = [self.name()]
        while self.take(","):
            found.append(self.name())
        return tuple(found), False

    def _orders(self) -> tuple[Order, ...]:
        self.need("by")
        found: list[Order] = []
        while True:
            name = self.name()
            is_descending = not self.take("asc") and self.take("desc")
            are_last = False
            if self.take("nulls"):
                are_last = self.take("last")
                if not are_last:
                    self.need("first")
            found.append(Order(name, is_descending, are_last))
            if not self.take(","):
                return tuple(found)

    def _any(self, *, is_sole: bool) -> Condition:
        sides = [self._all(is_sole=is_sole)]
        while self.take("or"):
            self.equals.clear()  # none of them must hold
            sides.append(self._all(is_sole=False))
        return sides[0] if len(sides) == 1 else lambda look: any(side(look) for side in sides)

    def _all(self, *, is_sole: bool) -> Condition:
        sides = [self._one(is_sole=is_sole)]
        while self.take("and"):
            sides.append(self._one(is_sole=is_sole))
        return sides[0] if len(sides) == 1 else lambda look: all(side(look) for side in sides)

    def _one(self, *, is_sole: bool) -> Condition:
        if self.take("not"):
            inner = self._one(is_sole=False)
            return lambda look: not inner(look)
        if self.take("("):
            inner = self._any(is_sole=False)
            self.need(")")
            return inner
        return self._comparison(is_sole=is_sole)

    def _comparison(self, *, is_sole: bool) -> Condition:
        name = self.name()
        self.names.append(name)
        if self.take("like"):
            pattern = _like(self._value())
            return lambda look: isinstance(look(name), str) and pattern.fullmatch(look(name)) is not None
        is_negated = self.take("not")
        if self.take("in"):
            self.need("(")
            values = [folded(self._value())]
            while self.take(","):
                values.append(folded(self._value()))
            self.need(")")
            return lambda look: (folded(look(name)) in values) is not is_negated
        sign = self._here()
        if is_negated or sign not in _COMPARE:
            raise MalformedQuery(f"unexpected token: '{sign}'")
        self.at += 1
        value = folded(self._value())
        if sign == "=" and is_sole:
            self.equals[name.lower()] = value
        compare = _COMPARE[sign]
        return lambda look: compare(folded(look(name)), value)

    def _value(self) -> Any:
        if self.at >= len(self.tokens):
            raise MalformedQuery("unexpected token: '<EOF>'")
        kind, text = self.tokens[self.at]
        self.at += 1
        match kind:
            case "text":
                return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1])
            case "moment":
                return dt.datetime.fromisoformat(text)
            case "date":
                return dt.date.fromisoformat(text)
            case "number":
                return float(text) if "." in text else int(text)
            case "name" if text.lower() in ("true", "false", "null"):
                return {"true": True, "false": False, "null": None}[text.lower()]
        raise MalformedQuery(f"unexpected token: '{text}'")


def _less(one: Any, other: Any) -> bool:
    return one is not None and other is not None and bool(one < other)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: bool(one == other),
    "!=": lambda one, other: bool(one != other),
    "<>": lambda one, other: bool(one != other),
    "<": _less,
    ">": lambda one, other: _less(other, one),
    "<=": lambda one, other: one == other or _less(one, other),
    ">=": lambda one, other: one == other or _less(other, one),
}


def folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _like(pattern: Any) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise MalformedQuery("LIKE wants a text")
    parts = [{"%": ".*", "_": "."}.get(c, re.escape(c)) for c in pattern]
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def parse(text: str) -> Query:
    """Raises MalformedQuery."""
    return _Parser(text).query()
