"""Reading a table in batches, in one transaction: every batch shows the same moment.

Position: ``{"after": [raw cursor, raw keys…], "row": n}``, what the last row read held, so a read taken up again begins at the next
one. Rows of a table without a key are ordered by all their plain columns and taken up by count.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import sqlalchemy as sa

from accord.connectors.sql.source import is_after, jsonable, records_of
from accord.connectors.sql.tables import Misfit, Plan
from accord.record import Field
from accord.record import types as t
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.frames import Framer

ROWS_MAX = 10_000  # rows of a batch where each was a Python record first
_PLAIN = (t.String, t.Boolean, t.Integer, t.Decimal, t.Float, t.Date, t.DateTime, t.Enum)


def order_of(plan: Plan, request: BulkRead) -> list[str]:
    """The fields rows are ordered by. Raises Misfit for a cursor that is no field."""
    if request.cursor and request.cursor not in plan.columns.fields:
        raise Misfit(f"the cursor '{request.cursor}' is no field of {plan.entity.name}")
    keys = [name for name in plan.entity.key if name != request.cursor]
    order = [request.cursor, *keys] if request.cursor else keys
    if request.cursor and not plan.entity.key:
        raise Misfit("rows with equal cursors could not be told apart: declare `key`")
    return order or [name for name, field in plan.columns.fields.items() if isinstance(field.type, _PLAIN)]


def wanted_fields(plan: Plan, request: BulkRead) -> dict[str, Field]:
    return request.fields_of(plan.entity)


def bounds(plan: Plan, request: BulkRead) -> list[sa.ColumnElement[bool]]:
    """``since`` and ``until`` as conditions."""
    if not request.cursor:
        return []
    column = plan.columns.column(request.cursor)
    found: list[sa.ColumnElement[bool]] = [column.is_not(None)]
    if request.since is not None:
        found.append(column >= plan.columns.encode_one(request.cursor, request.since))
    if request.until is not None:
        found.append(column < plan.columns.encode_one(request.cursor, request.until))
    return found


def batches(connection: sa.Connection, plan: Plan, request: BulkRead) -> Generator[Batch, None, None]:
    """Pages by key within the connection's transaction, so that no page sees what a later commit did."""
    order = order_of(plan, request)
    framer = Framer(wanted_fields(plan, request), as_written=request.as_written)
    names = list(plan.columns.fields)
    rows_max = min(request.rows, ROWS_MAX)
    after, number = read_position(request.position)
    while True:
        rows = connection.execute(_page(plan, request, order, after, number, rows_max)).all()
        records = records_of(connection, plan, rows)
        frame, numbers, odd = framer.split(records, range(number + 1, number + len(rows) + 1), {})
        if rows and plan.entity.key:
            after = [jsonable(rows[-1][names.index(name)]) for name in order]
        number += len(rows)
        yield Batch(
            frame=frame,
            position={"after": after, "row": number},
            numbers=numbers,
            odd=odd,
            origin=origin_of(plan),
            is_last=len(rows) < rows_max,
        )
        if len(rows) < rows_max:
            return


def _page(
    plan: Plan, request: BulkRead, order: Sequence[str], after: list[Any] | None, number: int, rows_max: int
) -> sa.Select[Any]:
    statement = sa.select(*plan.columns.selected()).select_from(plan.columns.table).where(*bounds(plan, request))
    if after is not None:
        statement = statement.where(is_after(plan, order, after, or_equal=False))
    elif number:
        statement = statement.offset(number)
    return statement.order_by(*(plan.columns.column(name) for name in order)).limit(rows_max)


def read_position(position: Any) -> tuple[list[Any] | None, int]:
    given = position if isinstance(position, dict) else {}
    return given.get("after"), int(given.get("row", 0))


def origin_of(plan: Plan) -> str:
    return "query" if plan.extra.query else f"table {plan.extra.table or plan.entity.short_name}"
