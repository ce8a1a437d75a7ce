"""Lists. Nulls inside a list are left out by every function but len()."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from accord.mapping.functions.table import builtin


@builtin("list[any]|string -> integer", "len([1, 2]) == 2", name="len", inline="len({0})")
def len_(value: Any) -> int:
    """How many items a list, or characters a text, has."""
    return len(value)


@builtin("list[T?] -> T?", "first([3, 4]) == 3")
def first(items: list[Any]) -> Any:
    """The first item that is not null; null when there is none."""
    return next((i for i in items if i is not None), None)


@builtin("list[T?] -> T?", "last([3, 4]) == 4")
def last(items: list[Any]) -> Any:
    """The last item that is not null; null when there is none."""
    return next((i for i in reversed(items) if i is not None), None)


@builtin("list[C?], boolean -> list[C]", "sort([3, 1, 2]) == [1, 2, 3]")
def sort(items: list[Any], descending: bool = False) -> list[Any]:
    """The items in order."""
    return sorted((i for i in items if i is not None), reverse=descending)


@builtin("list[T?] -> list[T]", "reverse([1, 2]) == [2, 1]")
def reverse(items: list[Any]) -> list[Any]:
    """The items from last to first."""
    return [i for i in reversed(items) if i is not None]


@builtin("list[T?] -> list[T]", "unique([1, 2, 1]) == [1, 2]")
def unique(items: list[Any]) -> list[Any]:
    """The items without repetitions, in the order they first came."""
    seen: set[Any] = set()
    made = []
    for item in items:
        mark = _mark(item)
        if item is not None and mark not in seen:
            seen.add(mark)
            made.append(item)
    return made


def _mark(item: Any) -> Any:
    """A hashable stand-in that is equal exactly when the items are."""
    match item:
        case dict():
            return ("object", frozenset((k, _mark(v)) for k, v in item.items()))
        case list():
            return ("list", tuple(_mark(i) for i in item))
        case bool():
            return ("boolean", item)
        case str() | int() | float() | Decimal() | dt.date() | dt.timedelta() | None:
            return item
        case _:
            return repr(item)


@builtin("list[T?] -> list[T]", "compact([1, null, 2]) == [1, 2]")
def compact(items: list[Any]) -> list[Any]:
    """The items that are not null."""
    return [i for i in items if i is not None]


@builtin("list[list[T?]?] -> list[T]", "flatten([[1], [2, 3]]) == [1, 2, 3]")
def flatten(lists: list[Any]) -> list[Any]:
    """The items of a list of lists in one list."""
    return [i for inner in lists if inner is not None for i in inner if i is not None]


@builtin("list[T?], integer -> list[T]", "take([1, 2, 3], 2) == [1, 2]")
def take(items: list[Any], count: int) -> list[Any]:
    """The first items, at most ``count``."""
    return [i for i in items if i is not None][: max(count, 0)]


@builtin("list[boolean?] -> boolean", "any([false, true])", name="any", inline="any({0})")
def any_(items: list[Any]) -> bool:
    """Whether at least one is true: ``any(x.quantity > 9 for x in line_items)``."""
    return any(items)


@builtin("list[boolean?] -> boolean", "all([true, true]) and not all([true, null])", name="all", inline="all({0})")
def all_(items: list[Any]) -> bool:
    """Whether all are true (null is not)."""
    return all(items)


@builtin("list[boolean?] -> integer", "count([true, false, true]) == 2", inline="sum(1 for v in {0} if v)")
def count(items: list[Any]) -> int:
    """How many are true: ``count(x.gift for x in line_items)``."""
    return sum(1 for v in items if v)


@builtin("integer, integer -> list[integer]", "numbers(1, 3) == [1, 2, 3]")
def numbers(first_: int, last_: int) -> list[int]:
    """Whole numbers from the first to the last, at most 10000."""
    return list(range(first_, min(last_, first_ + 9_999) + 1))
