"""PostgreSQL in columns: COPY (SELECT …) TO STDOUT as CSV, read by Polars, by the types the server says the columns have.

One statement is one snapshot. Rows come ordered by cursor and key; the last row's texts are the position, compared by the server in
the columns' own types. A column whose values a reader of rows would not give in the field's type is not read this way
(``is_columnar``): the table then goes page by page.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from accord.connectors.sql.bulk_rows import bounds, order_of, origin_of, read_position, wanted_fields
from accord.connectors.sql.tables import Plan
from accord.record import types as t
from accord.record.batch import Batch, OddRow
from accord.record.columns import schema_of
from accord.sdk import texts
from accord.sdk.bulk import BulkRead
from accord.sdk.frames import Framer
from accord.sdk.http import decode_json

if TYPE_CHECKING:
    import polars as pl
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

BLOCK_SIZE_MAX = 32 * 1024 * 1024  # bytes of one batch as the server sends them: bounds memory where rows are long
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]

# type oids of pg_type.dat
_BOOL, _INTEGERS, _FLOATS, _NUMERIC = 16, (20, 21, 23), (700, 701), 1700
_DATE, _TIMESTAMP, _TIMESTAMPTZ = 1082, 1114, 1184
_JSON = (114, 3802)
_TEXTS = (25, 1043, 1042, 2950)  # text, varchar, bpchar, uuid
_ARRAYS = (1000, 1005, 1007, 1009, 1015, 1016)  # of boolean, int2, int4, text, varchar, int8
_FIRST_OWN_OID = 16384  # enums and other types of the database's own are text to the driver


class Block(NamedTuple):
    """Whole rows as CSV."""

    raw: bytes
    rows: int
    is_last: bool


class Copy:
    """One entity's SELECT and how its columns become typed ones."""

    def __init__(self, connection: sa.Connection, plan: Plan, request: BulkRead, zone: str) -> None:
        self.plan, self.request, self.zone = plan, request, zone
        self.fields = wanted_fields(plan, request)
        self.order = order_of(plan, request)
        self.selected = list(dict.fromkeys([*self.fields, *self.order]))
        self.connection = connection
        self.oids: dict[str, int] = {}

    def is_columnar(self) -> bool:
        if self.plan.children or self.plan.extra.scaled or not self.plan.entity.key:
            return False
        columns = [self.plan.columns.column(name) for name in self.selected]
        probe = sa.select(*columns).select_from(self.plan.columns.table).limit(0)
        with self.connection.execute(probe) as result:
            assert result.cursor is not None
            codes: list[Any] = [column[1] for column in result.cursor.description]
        self.oids = dict(zip(self.selected, codes, strict=True))
        if len(self.selected) == 1:
            return False  # a null alone would be an empty line
        return all(_fits(self.plan.columns.fields[name].type, self.oids[name]) for name in self.selected)

    def blocks(self, condition: sa.ColumnElement[bool] | None = None) -> Generator[Block, None, None]:
        """What the server sends, cut after ``request.rows`` rows."""
        yield from cut(messages(self.connection, self.statement(condition)), self.request.rows)

    def literal(self, text: str | None) -> sa.ColumnElement[Any]:
        """Of no type of its own: the server takes it for the column's it is compared with."""
        from psycopg import sql

        raw: Any = self.connection.connection.driver_connection
        return sa.literal_column(sql.Literal(text).as_string(raw))

    def statement(self, condition: sa.ColumnElement[bool] | None = None) -> bytes:
        """The COPY; of the rows that meet ``condition``."""
        after, _ = read_position(self.request.position)
        columns = [self._sent(name).label(f"c{at}") for at, name in enumerate(self.selected)]
        statement = sa.select(*columns).select_from(self.plan.columns.table).where(*bounds(self.plan, self.request))
        if after is not None:
            values = [self.literal(value) for value in after]
            statement = statement.where(sa.tuple_(*map(self.plan.columns.column, self.order)) > sa.tuple_(*values))
        if condition is not None:
            statement = statement.where(condition)
        statement = statement.order_by(*(self.plan.columns.column(name) for name in self.order))
        text = str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
        return f"COPY ({text}) TO STDOUT (FORMAT csv)".encode()

    def _sent(self, name: str) -> sa.ColumnElement[Any]:
        column = self.plan.columns.column(name)
        return sa.func.to_jsonb(column) if self.oids[name] in _ARRAYS else column

    def batch(self, block: Block, number: int) -> Batch:
        """``number``: rows before this block."""
        import polars as pl

        schema = dict.fromkeys(self.selected, pl.String)
        raw = block.raw
        if raw.startswith(codecs.BOM_UTF8):  # Polars would take it for the mark at a file's beginning
            raw = codecs.BOM_UTF8 + raw
        table = (
            pl.read_csv(raw, has_header=False, schema=schema, infer_schema=False)
            if block.rows
            else pl.DataFrame(schema=schema)
        )
        assert table.height == block.rows, "COPY sent rows that CSV counts otherwise"
        after, _ = read_position(self.request.position)
        if block.rows:
            after = list(table.select(self.order).row(-1))
        frame, wrong = self._typed(table)
        numbers = pl.int_range(number + 1, number + 1 + block.rows, dtype=pl.Int64, eager=True).alias("numbers")
        odd: tuple[OddRow, ...] = ()
        if wrong is not None:
            rows = table.select(list(self.fields)).filter(wrong)
            records = [self._record(row) for row in rows.iter_rows(named=True)]
            odd = tuple(map(OddRow, numbers.filter(wrong), records))
            frame, numbers = frame.filter(~wrong), numbers.filter(~wrong)
        return Batch(
            frame=frame,
            position={"after": after, "row": number + block.rows},
            numbers=numbers,
            odd=odd,
            origin=origin_of(self.plan),
            is_last=block.is_last,
        )

    def _typed(self, table: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series | None]:
        import polars as pl

        made: list[pl.Series] = []
        wrong: pl.Series | None = None
        for name, field in self.fields.items():
            sent = table[name].alias("t")
            column = self._column(name, field.type, sent).alias(name)
            if column.null_count() != sent.null_count():
                bad = column.is_null() & sent.is_not_null()
                if self.oids[name] in _JSON:
                    bad = bad & (sent != "null")
                wrong = bad if wrong is None else wrong | bad
            made.append(column)
        return pl.DataFrame(made, schema=schema_of(self.fields)), wrong if wrong is not None and wrong.any() else None

    def _column(self, name: str, type_: t.Type, sent: pl.Series) -> pl.Series:
        import polars as pl

        oid, exact = self.oids[name], name in self.request.as_written
        if oid == _TIMESTAMPTZ:
            sent = sent.str.replace(r"\+00$", "Z")
        if exact:
            sent = texts.as_kept(sent, type_, zone=self.zone)

        match type_:
            case t.Integer():
                return texts.integers(sent)
            case t.Decimal():
                return texts.decimals(sent)
            case t.Float():
                return texts.floats(sent)
            case t.Boolean():
                return sent.replace_strict({"t": True, "f": False}, default=None, return_dtype=pl.Boolean)
            case t.Date():
                return texts.dates(sent)
            case t.DateTime() if oid == _TIMESTAMPTZ:
                return texts.instants(sent)
            case t.DateTime():
                return texts.local_instants(sent, self.zone)
            case t.Json():
                return sent.to_frame().select(pl.when(pl.col("t") != "null").then(pl.col("t"))).to_series()
            case t.List() | t.Object():
                return _nested(type_, sent, exact=exact)
            case _:
                return sent

    def _record(self, row: dict[str, Any]) -> dict[str, Any]:
        """The odd row as plain data, by the decoders rows go through."""
        record: dict[str, Any] = {}
        for name, text in row.items():
            oid = self.oids[name]
            value: Any = text
            if text is not None and oid == _BOOL:
                value = text == "t"
            elif text is not None and oid in _INTEGERS:
                value = int(text)
            elif text is not None and oid == _TIMESTAMPTZ and text.endswith("+00"):
                value = text + ":00"
            record[name] = None if value is None else self.plan.columns.decoders[name](value)
        return record


def _fits(type_: t.Type, oid: int) -> bool:
    """Whether rows give this column's values in the field's own type, and columns the same."""
    match type_:
        case t.Integer():
            return oid in (*_INTEGERS, _NUMERIC)
        case t.Decimal() | t.Float():
            return oid in (*_INTEGERS, *_FLOATS, _NUMERIC)
        case t.Boolean():
            return oid == _BOOL
        case t.Date():
            return oid == _DATE
        case t.DateTime():
            return oid in (_TIMESTAMP, _TIMESTAMPTZ)
        case t.Json():
            return oid in _JSON
        case t.List():
            return oid in (*_JSON, *_ARRAYS)
        case t.Object():
            return oid in _JSON
        case t.String() | t.Enum():
            return oid in _TEXTS or oid >= _FIRST_OWN_OID
        case _:
            return False


def _nested(type_: t.Type, sent: pl.Series, *, exact: bool) -> pl.Series:
    import polars as pl

    misfits: set[int] = set()
    values = [None if text is None else decode_json(text.encode()) for text in sent]
    column = Framer({"it": t.Field(type=type_)}).column(type_, values, misfits, exact=exact)
    if not misfits:
        return column
    keep = pl.Series([index not in misfits for index in range(len(values))], dtype=pl.Boolean)
    return column.alias("t").to_frame().select(pl.when(keep).then(pl.col("t"))).to_series()


def messages(connection: sa.Connection, statement: bytes) -> Generator[bytes, None, None]:
    """Rows as the server sends them (protocol: a CopyData is a row in COPY OUT)."""
    import psycopg

    raw: object = connection.connection.dbapi_connection
    assert isinstance(raw, psycopg.Connection)
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL datestyle = 'ISO'")
    with raw.cursor() as cursor, cursor.copy(statement) as copy:
        received = (
            raw.pgconn.get_copy_data
        )  # of what has come already: a wait of psycopg's for each row costs as much again as the row
        while row := copy.read():
            yield bytes(row)
            size, row = received(1)
            while size > 0:
                yield bytes(row)
                size, row = received(1)
            if size < 0:  # libpq says so once only, so psycopg cannot hear it any more
                raw.wait(_ended(raw.pgconn))
                return


def _ended(pg: PGconn) -> PQGen[None]:
    """Behind the last row: that the statement went well. Raises psycopg.Error."""
    from psycopg.errors import error_from_result
    from psycopg.pq import ExecStatus
    from psycopg.waiting import Wait

    results: list[PGresult] = []
    while True:
        while pg.is_busy():
            while not (yield Wait.R):
                continue
            pg.consume_input()
        result = pg.get_result()
        if result is None:
            break
        results.append(result)
    for result in results:
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result)


def cut(rows: Iterator[bytes], rows_max: int) -> Generator[Block, None, None]:
    """Whole rows together: ``rows_max``, or fewer where they are long."""
    kept: list[bytes] = []
    size = 0
    add: Callable[[bytes], None] = kept.append
    for row in rows:
        if len(kept) >= rows_max or size >= BLOCK_SIZE_MAX:
            yield Block(b"".join(kept), len(kept), False)
            kept.clear()
            size = 0
        size += len(row)
        add(row)
    yield Block(b"".join(kept), len(kept), True)
