"""Lists as GraphQL connections: filters, sort keys and cursors over the shop's tables, or over a list in memory."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import msgspec
from graphql import GraphQLError

from accord.sandbox.shop.wire import gid_number, utc
from accord.sandbox.store import Store

PAGE_MAX = 250
page_max: ContextVar[int] = ContextVar("page_max", default=PAGE_MAX)  # bulk operations read without pages
View = dict[str, Any]
_TERM = re.compile(r"""\s*(?:AND\s+)?(-?)(\w+):(>=|<=|>|<)?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s()]+)""")
_ESCAPED = re.compile(r"\\(.)")
TIMES = ("created_at", "updated_at", "processed_at")


class Source(msgspec.Struct, frozen=True):
    """A table as a connection. ``columns``: filter name to SQL; ``sorts``: sort key to SQL; ``load``: id to view."""

    table: str
    columns: dict[str, str]
    sorts: dict[str, str]
    load: Callable[[int], View | None]
    kind: str
    id: str = "id"
    tags: bool = False


def bad(message: str, code: str = "BAD_REQUEST") -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})


def parse_search(text: str | None, source: Source) -> tuple[list[str], list[Any]]:
    """Terms ``field:value`` joined by AND, with comparisons; what this shop does not know is an error, never ignored."""
    where: list[str] = []
    values: list[Any] = []
    position, text = 0, (text or "").strip()
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise bad(f"The stand-in reads only field:value terms joined by AND, not {text[position:][:80]!r}.")
        negated, field, operator, value = match.groups()
        value = _ESCAPED.sub(r"\1", value[1:-1]) if value[0] in "\"'" else value
        position = match.end()
        if field == "status" and value == "any":
            continue
        condition, bound = _condition(field, operator or "=", value, source)
        where.append(f"NOT ({condition})" if negated else condition)
        values.append(bound)
    return where, values


def _condition(field: str, operator: str, value: str, source: Source) -> tuple[str, Any]:
    if field == "tag" and source.tags:
        return "(', ' || (body ->> 'tags') || ', ') LIKE ?", f"%, {value}, %"
    if field == "id":
        return f"{source.id} {operator} ?", gid_number(value, source.kind)
    column = source.columns.get(field)
    if column is None:
        raise bad(f"The stand-in has no filter {field!r}; it has id, {', '.join(sorted(source.columns))}.")
    if field in TIMES:
        try:
            return f"{column} {operator} ?", utc(value)
        except ValueError:
            raise bad(f"{field} needs a time, not {value!r}.") from None
    if field.endswith("_id") and field != "source_identifier":
        return f"{column} {operator} ?", gid_number(value.rpartition("/")[2], source.kind)
    return f"{column} {operator} ? COLLATE NOCASE", value


def connection(store: Store, source: Source, args: dict[str, Any], extra: Sequence[tuple[str, Any]] = ()) -> View:
    """One page of a table; raises GraphQLError for wrong arguments."""
    size, is_backward = _size(args)
    where, values = parse_search(args.get("query"), source)
    for condition, value in extra:
        where.append(condition)
        values.append(value)
    sort = source.sorts.get(args.get("sortKey") or "ID", source.id)
    is_down = bool(args.get("reverse")) != is_backward
    for name, is_after in (("after", True), ("before", False)):
        if args.get(name):
            key, number = _read_cursor(args[name])
            compare = ">" if is_after != bool(args.get("reverse")) else "<"
            where.append(f"({sort}, {source.id}) {compare} (?, ?)")
            values += [key, number]
    direction = "DESC" if is_down else "ASC"
    conditions = f"WHERE {' AND '.join(where)}" if where else ""
    sql = (
        f"SELECT {source.id}, {sort} FROM {source.table} {conditions} "  # noqa: S608 - names of ours
        f"ORDER BY {sort} {direction}, {source.id} {direction} LIMIT ?"
    )
    rows = store.all(sql, *values, size + 1)
    has_more, rows = len(rows) > size, rows[:size]
    if is_backward:
        rows.reverse()
    return page(
        [(_cursor(key, number), source.load(number)) for number, key in rows],
        has_next=bool(args.get("before")) if is_backward else has_more,
        has_previous=has_more if is_backward else bool(args.get("after")),
    )


def list_connection(items: Sequence[View], args: dict[str, Any]) -> View:
    """One page of a list; cursors are positions."""
    size, is_backward = _size(args)
    found = list(enumerate(items))
    if args.get("reverse"):
        found.reverse()
    start = _place(found, args["after"]) + 1 if args.get("after") else 0
    end = _place(found, args["before"]) if args.get("before") else len(found)
    chosen = found[max(start, end - size) : end] if is_backward else found[start : min(end, start + size)]
    return page(
        [(_cursor(i, 0), item) for i, item in chosen],
        has_next=bool(chosen) and chosen[-1][0] != found[-1][0],
        has_previous=bool(chosen) and chosen[0][0] != found[0][0],
    )


def _place(found: list[tuple[int, View]], cursor: str) -> int:
    position, _ = _read_cursor(cursor)
    for place, (index, _) in enumerate(found):
        if index == position:
            return place
    raise bad(f"{cursor[:80]!r} is not a cursor of this list.")


def page(rows: list[tuple[str, View | None]], *, has_next: bool, has_previous: bool) -> View:
    return {
        "nodes": [view for _, view in rows],
        "edges": [{"cursor": cursor, "node": view} for cursor, view in rows],
        "pageInfo": {
            "hasNextPage": has_next,
            "hasPreviousPage": has_previous,
            "startCursor": rows[0][0] if rows else None,
            "endCursor": rows[-1][0] if rows else None,
        },
    }


def _size(args: dict[str, Any]) -> tuple[int, bool]:
    first, last = args.get("first"), args.get("last")
    if (first is None) == (last is None):
        raise bad("Exactly one of first and last must be given.")
    size = int(first if first is not None else last)  # type: ignore[arg-type]
    if not 0 < size <= page_max.get():
        raise bad(f"A page has from 1 to {PAGE_MAX} nodes.")
    return size, last is not None


def _cursor(key: object, number: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([key, number])).decode()


def _read_cursor(text: str) -> tuple[Any, int]:
    try:
        key, number = msgspec.json.decode(base64.urlsafe_b64decode(text), type=tuple[str | int, int])
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise bad(f"{text[:80]!r} is not a cursor of this shop.") from None
    return key, number
