"""Typed signatures of functions.

Types are written as text, in the order of the Python function's parameters: ``"string, integer -> string"``. Besides the
types of the language there are ``any`` (every type), ``T`` (any type, the same wherever it stands), ``N`` (a number; integer
and decimal meet as decimal), ``C`` (anything that has an order), ``a|b`` (either), ``list[T]``, and ``const`` (text that must be a
literal). A ``?`` lets a parameter be null; without it a null argument makes the result null and the function is not called.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from accord.mapping.value import NUMBERS, ORDERED, Null, meet, outward
from accord.record.types import (
    Boolean,
    Date,
    DateTime,
    Decimal,
    Duration,
    Enum,
    Float,
    Integer,
    Json,
    List,
    String,
)


class Rejected(ValueError):
    """A function cannot work on this value: the record is rejected. ``reason`` must not contain the value; ``value`` may."""

    def __init__(self, reason: str, value: Any = None) -> None:
        self.reason = reason
        self.value = value
        super().__init__(reason)


class Pattern(msgspec.Struct, frozen=True):
    """``kind``: a type's name, ``any``, ``const``, a variable (T, N, C), ``list`` (of ``parts[0]``) or ``or`` (of ``parts``)."""

    kind: str
    nullable: bool = False
    parts: tuple[Pattern, ...] = ()

    def __str__(self) -> str:
        if self.kind == "list":
            text = f"list[{self.parts[0]}]"
        elif self.kind == "or":
            text = "|".join(str(p) for p in self.parts)
        else:
            text = {"const": "literal text", "N": "number", "C": "value with an order"}.get(self.kind, self.kind)
        return text + ("?" if self.nullable else "")


class Parameter(msgspec.Struct, frozen=True):
    """``default`` is ``inspect.Parameter.empty`` when the argument must be given; ``is_variadic`` takes any number of arguments."""

    name: str
    pattern: Pattern
    default: Any = inspect.Parameter.empty
    is_variadic: bool = False

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty and not self.is_variadic


class Signature(msgspec.Struct, frozen=True):
    parameters: tuple[Parameter, ...]
    result: Pattern

    def __str__(self) -> str:
        shown = []
        for p in self.parameters:
            default = "" if p.default is inspect.Parameter.empty else f" = {_literal(p.default)}"
            shown.append(f"{'*' if p.is_variadic else ''}{p.name}: {p.pattern}{default}")
        return f"({', '.join(shown)}) -> {self.result}"


def _literal(value: Any) -> str:
    return (
        {None: "null", True: "true", False: "false"}.get(value, repr(value))
        if not isinstance(value, int) or isinstance(value, bool)
        else repr(value)
    )


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """One function of the language.

    ``call`` is the row form; ``columns`` the column form (None: row only). ``inline`` is a template of Python source with
    ``{0}``, ``{1}`` for the arguments, used instead of a call. ``special`` compiles the call itself (lazy arguments).
    ``prepare`` turns a literal argument into what the row form takes, raising ValueError when it is not usable.
    ``clears_personal``: the result does not reveal the arguments. ``example`` is an expression that is true.
    """

    name: str
    family: str
    signature: Signature
    doc: str
    example: str
    call: Callable[..., Any]
    columns: Callable[..., Any] | None = None
    inline: str = ""
    special: Callable[..., Any] | None = None
    prepare: Mapping[str, Callable[[Any], Any]] = {}
    needs_environment: bool = False
    clears_personal: bool = False
    is_project: bool = False
    file: str = ""
    line: int = 0


_TOKEN = re.compile(r"\s*(list\[|[A-Za-z_]+|[|\]?,]|->)")
TYPES: dict[str, Any] = {
    "string": String(),
    "boolean": Boolean(),
    "integer": Integer(),
    "decimal": Decimal(),
    "float": Float(),
    "date": Date(),
    "datetime": DateTime(),
    "duration": Duration(),
    "json": Json(),
}
_VARIABLES = ("T", "N", "C", "any", "const")


def read_signature(text: str, call: Callable[..., Any], *, skip: int = 0) -> Signature:
    """Joins the written types with the names and defaults of the Python function (leaving out its first ``skip`` parameters)."""
    left, _, right = text.partition("->")
    patterns = _read_patterns(left) if left.strip() else []
    parameters = list(inspect.signature(call).parameters.values())[skip:]
    if len(patterns) != len(parameters):
        raise TypeError(f"{call.__name__}: {len(patterns)} types for {len(parameters)} parameters")
    return Signature(
        tuple(
            Parameter(p.name.rstrip("_"), pattern, p.default, p.kind is inspect.Parameter.VAR_POSITIONAL)
            for p, pattern in zip(parameters, patterns, strict=True)
        ),
        _read_patterns(right)[0],
    )


def _read_patterns(text: str) -> list[Pattern]:
    tokens = _TOKEN.findall(text)
    position = 0

    def one() -> Pattern:
        nonlocal position
        found = [atom()]
        while position < len(tokens) and tokens[position] == "|":
            position += 1
            found.append(atom())
        if len(found) == 1:
            return found[0]
        return Pattern("or", found[-1].nullable, tuple(Pattern(p.kind, False, p.parts) for p in found))

    def atom() -> Pattern:
        nonlocal position
        word = tokens[position]
        position += 1
        if word == "list[":
            inner = one()
            if tokens[position] != "]":
                raise TypeError(f"bad signature: {text}")
            position += 1
            found = Pattern("list", False, (inner,))
        elif word in TYPES or word in _VARIABLES:
            found = Pattern(word)
        else:
            raise TypeError(f"unknown type {word!r} in signature: {text}")
        if position < len(tokens) and tokens[position] == "?":
            position += 1
            found = Pattern(found.kind, True, found.parts)
        return found

    patterns = [one()]
    while position < len(tokens) and tokens[position] == ",":
        position += 1
        patterns.append(one())
    if position != len(tokens):
        raise TypeError(f"bad signature: {text}")
    return patterns


def fits(pattern: Pattern, type_: Any, bound: dict[str, Any], nullable: bool = False) -> bool:
    """Whether a value of ``type_`` may stand for ``pattern``; binds variables. Nullability of the value itself is not looked at."""
    if isinstance(type_, Null):
        return True
    match pattern.kind:
        case "any":
            return True
        case "or":
            return any(fits(part, type_, bound) for part in pattern.parts)
        case "list":
            return isinstance(type_, List) and fits(pattern.parts[0], type_.item, bound)
        case "T" | "N" | "C":
            allowed = {"N": NUMBERS, "C": ORDERED}.get(pattern.kind)
            if allowed is not None and not isinstance(type_, allowed):
                return False
            known = bound.get(pattern.kind)
            joined = type_ if known is None else meet(known, type_)
            if joined is None or (pattern.kind == "C" and not isinstance(joined, ORDERED)):
                return False
            bound[pattern.kind] = joined
            return True
        case "const":
            return isinstance(type_, String)
        case "string":
            return isinstance(type_, String | Enum)
        case "decimal":
            return isinstance(type_, Decimal | Integer)
        case _:
            return bool(type_ == TYPES[pattern.kind])


def result_type(pattern: Pattern, bound: Mapping[str, Any]) -> Any:
    """The type a result pattern stands for once variables are bound."""
    match pattern.kind:
        case "list":
            inner = pattern.parts[0]
            return List(outward(result_type(inner, bound)), inner.nullable)
        case "T" | "N" | "C":
            return bound.get(pattern.kind, Null())
        case "const":
            return String()
        case _:
            return TYPES[pattern.kind]
