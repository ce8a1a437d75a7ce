"""The careful reading of plain data: walks a record by its declared types and reports every problem with its path.

It is the meaning of a contract; the fast decoder in ``decoder.py`` must agree with it on every record.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal as PyDecimal
from typing import Any, TypeAlias

import msgspec

from accord.errors import Problem
from accord.mapping.assign import constraint_tests
from accord.mapping.exact import EXPONENT_MAX, is_usable
from accord.mapping.failure import show_value
from accord.record.types import (
    Boolean,
    Date,
    DateTime,
    Decimal,
    Duration,
    Enum,
    Field,
    Float,
    Integer,
    Json,
    List,
    Object,
    String,
    Type,
    name_of,
)

FieldTests: TypeAlias = tuple[tuple[str, str, Callable[[Any], bool]], ...]
PROBLEMS_MAX = 200  # of one record; more would only fill the journal


class Walker:
    """One walk. ``is_wire``: the data was JSON, so only JSON's own types count; else native Python values are welcome too.

    ``types_only`` leaves out everything but type and presence. ``tests`` keeps what fields ask for between walks of one contract.
    """

    def __init__(self, *, is_wire: bool, types_only: bool, tests: dict[int, FieldTests] | None = None) -> None:
        self._tests = tests if tests is not None else {}
        self.is_wire = is_wire
        self.types_only = types_only
        self.problems: list[Problem] = []

    def wrong(self, code: str, path: str, reason: str, value: Any, masked: bool) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(f"record.{code}", path, reason, show_value(value, personal=masked)))

    def record(self, fields: Mapping[str, Field], value: Any, path: str, masked: bool) -> dict[str, Any] | None:
        if not isinstance(value, Mapping):
            self.wrong("type", path, f"must be an object, not {_kind(value)}", value, masked)
            return None
        made: dict[str, Any] = {}
        for name, field in fields.items():
            where = f"{path}.{name}" if path else name
            given = value.get(name)
            if given is None:
                if not field.nullable:
                    state = "is null" if name in value else "is missing"
                    self.wrong("missing", where, f"{state}, but required", None, masked)
                elif name in value:
                    made[name] = None
                continue
            made[name] = self.field(field, given, where, masked)
        return made

    def field(self, field: Field, value: Any, path: str, masked: bool) -> Any:
        masked = masked or bool(field.personal)
        before = len(self.problems)
        made = self.typed(field.type, value, path, masked)
        if self.types_only or len(self.problems) > before:
            return made
        tests = self._tests.get(id(field))
        if tests is None:
            tests = self._tests[id(field)] = tests_of(field)
        for code, reason, is_broken in tests:
            if is_broken(made):
                self.wrong(code, path, reason, value, masked)
        return made

    def typed(self, type_: Type, value: Any, path: str, masked: bool) -> Any:
        match type_:
            case Object(fields=fields):
                return self.record(fields, value, path, masked)
            case List():
                return self.list(type_, value, path, masked)
            case Json():
                return self.json(value, path, masked, 0)
            case Enum(values=values):
                if not isinstance(value, str):
                    self.wrong("type", path, f"must be text, not {_kind(value)}", value, masked)
                elif value not in values:
                    self.wrong("enum", path, f"must be one of {', '.join(values[:12])}", value, masked)
                return value
            case _:
                return self.scalar(type_, value, path, masked)

    def list(self, type_: List, value: Any, path: str, masked: bool) -> Any:
        if not isinstance(value, list | tuple):
            self.wrong("type", path, f"must be a list, not {_kind(value)}", value, masked)
            return None
        made: Any = []
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            if item is None:
                if not type_.is_item_nullable:
                    self.wrong("missing", where, "is null, but required", None, masked)
                made.append(None)
            else:
                made.append(self.typed(type_.item, item, where, masked))
        return made

    def scalar(self, type_: Type, value: Any, path: str, masked: bool) -> Any:
        try:
            return _READERS[type(type_)](value, self.is_wire)
        except _Wrong as wrong:
            self.wrong(wrong.code, path, wrong.reason, value, masked)
        except (ValueError, TypeError, ArithmeticError):
            self.wrong("type", path, f"must be {_a(name_of(type_))}", value, masked)
        return None

    def json(self, value: Any, path: str, masked: bool, depth: int) -> Any:
        match value:
            case None | bool() | int():
                return value
            case str():
                return self.scalar(String(), value, path, masked)
            case PyDecimal():
                return self.scalar(Decimal(), value, path, masked)
            case list() | tuple():
                return [self.json(v, f"{path}[{i}]", masked, depth + 1) for i, v in enumerate(value)]
            case Mapping():
                return {str(k): self.json(v, f"{path}.{k}", masked, depth + 1) for k, v in value.items()}
            case _:
                self.wrong("type", path, f"json cannot hold {_kind(value)}", value, masked)
                return None


class _Wrong(Exception):
    def __init__(self, reason: str, code: str = "type") -> None:
        self.reason = reason
        self.code = code


def _string(value: Any, is_wire: bool) -> str:
    if isinstance(value, uuid.UUID) and not is_wire:
        return str(value)
    if not isinstance(value, str):
        raise _Wrong(f"must be text, not {_kind(value)}")
    if not is_wire and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Wrong("is not valid Unicode text") from None
    return value


def _boolean(value: Any, is_wire: bool) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"must be true or false, not {_kind(value)}")
    return value


def _integer(value: Any, is_wire: bool) -> int:
    if isinstance(value, PyDecimal) and not is_wire and is_usable(value) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Wrong(f"must be a whole number, not {_kind(value)}")
    return value


def _decimal(value: Any, is_wire: bool) -> PyDecimal:
    if isinstance(value, float):
        raise _Wrong("must be an exact decimal, not a float")
    if isinstance(value, bool) or not isinstance(value, int | str | PyDecimal):
        raise _Wrong(f"must be a decimal number, not {_kind(value)}")
    try:
        made = PyDecimal(value)
    except ArithmeticError:
        raise _Wrong("must be a decimal number, but this text is none") from None
    if not is_usable(made):
        raise _Wrong(f"must be finite and between 1e-{EXPONENT_MAX} and 1e{EXPONENT_MAX}", "number")
    return made


def _float(value: Any, is_wire: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | PyDecimal):
        raise _Wrong(f"must be a number, not {_kind(value)}")
    made = float(value)
    if not math.isfinite(made):
        raise _Wrong("must be a finite number", "number")
    return made


def _datetime(value: Any, is_wire: bool) -> dt.datetime:
    if isinstance(value, dt.datetime):
        made = value
    elif isinstance(value, str):
        made = _convert(value, dt.datetime, "must be a time such as 2024-05-31T10:00:00Z")
    else:
        raise _Wrong(f"must be a time such as 2024-05-31T10:00:00Z, not {_kind(value)}")
    if made.tzinfo is None or made.utcoffset() is None:
        raise _Wrong("must carry a zone, such as Z or +02:00; it has none", "no-zone")
    return made


def _date(value: Any, is_wire: bool) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if not isinstance(value, str):
        raise _Wrong(f"must be a day such as 2024-05-31, not {_kind(value)}")
    made: dt.date = _convert(value, dt.date, "must be a day such as 2024-05-31")
    return made


def _duration(value: Any, is_wire: bool) -> dt.timedelta:
    if isinstance(value, dt.timedelta):
        return value
    if not isinstance(value, str):
        raise _Wrong(f"must be a duration such as P2DT3H, not {_kind(value)}")
    made: dt.timedelta = _convert(value, dt.timedelta, "must be an ISO 8601 duration of days and time, such as P2DT3H")
    return made


def _convert(value: str, type_: Any, reason: str) -> Any:
    try:
        return msgspec.convert(value, type_)
    except (msgspec.ValidationError, ValueError):
        raise _Wrong(reason) from None


_READERS: dict[type, Any] = {
    String: _string,
    Boolean: _boolean,
    Integer: _integer,
    Decimal: _decimal,
    Float: _float,
    DateTime: _datetime,
    Date: _date,
    Duration: _duration,
}


def tests_of(field: Field) -> FieldTests:
    """(code, reason, predicate that is true of a bad value) for every constraint of a field."""
    made: list[tuple[str, str, Callable[[Any], bool]]] = []
    for condition, reason, constants in constraint_tests(field):
        predicate = eval(f"lambda _value: {condition.replace('@', '_value')}", dict(constants))  # noqa: S307 - one of ours
        made.append((_code_of(condition), reason, predicate))
    return tuple(made)


def _code_of(condition: str) -> str:
    if "len(" in condition:
        return "length"
    if "_match" in condition:
        return "pattern"
    return "format" if "_check" in condition else "range"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | PyDecimal() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
