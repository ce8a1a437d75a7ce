"""Reading: pages by key (keyset paging), changes by cursor column, one row by key.

Changes: rows are ordered by (cursor, key) and each page takes what is after the last pair, so equal cursor values on a page's
edge are neither lost nor given twice. A transaction that commits late may bring a row whose cursor is before the position
reached; ``overlap`` makes every read start that far back (longer than the longest write transaction), and ``event_ids`` of
key and cursor let the journal drop the rows it has. Without an overlap such a row is missed: the rule is in the README.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from accord.connectors.sql.tables import Child, Plan
from accord.connectors.sql.values import of_row
from accord.record import Field
from accord.record import types as t
from accord.sdk.connector import Page
from accord.sdk.http import encode_json


def page_after(connection: sa.Connection, plan: Plan, position: Any, is_first: bool) -> tuple[Page, bool]:
    """The next page and whether more follows. Position: ``{"after": [raw cursor, raw keys…]}``."""
    order = order_fields(plan)
    after = position.get("after") if isinstance(position, dict) else None
    if after is not None and is_first and plan.extra.overlap and plan.extra.cursor:
        after = [_shifted(_bindable(plan, order[0], after[0]), plan.extra.overlap)]
    statement = sa.select(*plan.columns.selected()).select_from(plan.columns.table)
    if plan.extra.cursor:
        statement = statement.where(plan.columns.column(plan.extra.cursor).is_not(None))
    if after is not None:
        statement = statement.where(is_after(plan, order[: len(after)], after, or_equal=len(after) < len(order)))
    statement = statement.order_by(*(plan.columns.column(name) for name in order)).limit(plan.extra.page_rows)
    rows = connection.execute(statement).all()
    has_more = len(rows) == plan.extra.page_rows
    records = records_of(connection, plan, rows)
    if rows:
        names = list(plan.columns.fields)
        position = {"after": [jsonable(rows[-1][names.index(name)]) for name in order]}
    if not has_more and not plan.extra.cursor:
        position = None  # a whole read starts again from the beginning
    return Page(records, position, event_ids(plan, records)), has_more


def order_fields(plan: Plan) -> list[str]:
    keys = [key for key in plan.entity.key if key != plan.extra.cursor]
    return [plan.extra.cursor, *keys] if plan.extra.cursor else keys


def is_after(plan: Plan, fields: Sequence[str], after: Sequence[Any], *, or_equal: bool) -> sa.ColumnElement[bool]:
    """(a, b) > (x, y) written out: not every database compares rows."""
    values = [_bindable(plan, field, value) for field, value in zip(fields, after, strict=True)]
    columns = [plan.columns.column(field) for field in fields]
    whole: sa.ColumnElement[bool] = columns[-1] >= values[-1] if or_equal else columns[-1] > values[-1]
    for column, value in zip(reversed(columns[:-1]), reversed(values[:-1]), strict=True):
        whole = sa.or_(column > value, sa.and_(column == value, whole))
    return whole


def jsonable(raw: Any) -> Any:
    """A driver's value as JSON that ``_bindable`` gives back exactly."""
    match raw:
        case dt.datetime():
            return {"datetime": raw.isoformat()}
        case dt.date():
            return {"date": raw.isoformat()}
        case decimal.Decimal():
            return {"decimal": str(raw)}
        case float():
            return {"float": raw.hex()}
        case str() | int() | None:
            return raw
        case _:
            return str(raw)


def _bindable(plan: Plan, field: str, value: Any) -> Any:
    match value:
        case {"datetime": text}:
            return dt.datetime.fromisoformat(text)
        case {"date": text}:
            return dt.date.fromisoformat(text)
        case {"decimal": text}:
            return decimal.Decimal(text)
        case {"float": text}:
            return float.fromhex(text)
        case _:
            return value


def _shifted(raw: Any, overlap: dt.timedelta | int) -> Any:
    """The cursor value that far back, in the shape the database holds it."""
    if isinstance(overlap, int):
        return raw - overlap if isinstance(raw, int | decimal.Decimal | float) else raw
    if isinstance(raw, dt.datetime):
        return raw - overlap
    if isinstance(raw, dt.date):
        return raw - dt.timedelta(days=max(1, overlap.days))
    if isinstance(raw, int):
        return raw - int(overlap.total_seconds())
    if isinstance(raw, str):
        moved = (dt.datetime.fromisoformat(raw) - overlap).replace(microsecond=0, tzinfo=None)
        return moved.isoformat(sep="T" if "T" in raw else " ")
    return raw


def event_ids(plan: Plan, records: Sequence[dict[str, Any]]) -> list[str]:
    """Key and cursor of each row: a row changed again has another id. None without a cursor."""
    if not plan.extra.cursor:
        return []
    order = order_fields(plan)
    return [hashlib.blake2b(encode_json([r[f] for f in order]), digest_size=16).hexdigest() for r in records]


def records_of(connection: sa.Connection, plan: Plan, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows to records, child rows put into their list fields (one query per child table)."""
    records = [plan.columns.decode(row) for row in rows]
    for child in plan.children:
        _attach(connection, plan, child, rows, records)
    return records


def _attach(
    connection: sa.Connection, plan: Plan, child: Child, rows: Sequence[Any], records: list[dict[str, Any]]
) -> None:
    index = list(plan.columns.fields).index(plan.entity.key[0])
    by_parent: dict[Any, list[dict[str, Any]]] = {row[index]: [] for row in rows}
    if by_parent:
        wanted = (
            sa.select(*child.columns.selected(), child.parent_key.label("accord_parent"))
            .where(child.parent_key.in_(list(by_parent)))
            .order_by(child.parent_key, *child.order)
        )
        for row in connection.execute(wanted):
            by_parent.get(row[-1], []).append(child.columns.decode(row[:-1]))
    for row, record in zip(rows, records, strict=True):
        record[child.field] = by_parent[row[index]]


def row_by_key(connection: sa.Connection, plan: Plan, key: str) -> dict[str, Any] | None:
    """``key`` as text; of several key fields: their texts joined by '|'."""
    parts = key.split("|") if len(plan.entity.key) > 1 else [key]
    if len(parts) != len(plan.entity.key):
        return None
    same = []
    for name, text in zip(plan.entity.key, parts, strict=True):
        value = _of_text(plan.entity.fields[name], text)
        same.append(plan.columns.column(name) == plan.columns.encode_one(name, value))
    statement = sa.select(*plan.columns.selected()).select_from(plan.columns.table).where(*same)
    rows = connection.execute(statement.limit(1)).all()
    return records_of(connection, plan, rows)[0] if rows else None


def _of_text(field: Field, text: str) -> Any:
    try:
        match field.type:
            case t.Integer():
                return int(text)
            case t.Decimal():
                return decimal.Decimal(text)
            case t.Date():
                return dt.date.fromisoformat(text)
            case t.DateTime():
                return dt.datetime.fromisoformat(text)
            case t.Boolean():
                return text == "true"
            case _:
                return text
    except (ValueError, decimal.InvalidOperation):
        return text


def streamed(connection: sa.Connection, plan: Plan) -> Iterator[list[dict[str, Any]]]:
    """All rows through a server-side cursor, for entities without a key to page by."""
    statement = sa.select(*plan.columns.selected()).select_from(plan.columns.table)
    with connection.execution_options(stream_results=True, yield_per=plan.extra.page_rows).execute(statement) as result:
        for rows in result.partitions():
            yield records_of(connection, plan, rows)


def plain_rows(result: sa.CursorResult[Any], rows_max: int) -> list[dict[str, Any]]:
    """Rows of an undeclared shape, at most ``rows_max`` and one more to show that there are."""
    return [{name: of_row(value) for name, value in row.items()} for row in result.mappings().fetchmany(rows_max + 1)]
