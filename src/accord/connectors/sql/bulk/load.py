"""One load into one table.

begin: the ledger, and for modes that show nothing before the end a stage. write: the chunk's rows and its ledger row in one
transaction; where the database refuses rows, halves of the chunk are tried in savepoints until each refused row stands alone.
finish: what is staged is shown, with the ledger row that says so, in one transaction; then the stage goes.

Of rows with one key in one load the last counts (append: each is a row of its own).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from accord.connectors.sql.bulk import statements
from accord.connectors.sql.bulk.copying import copy, text_of
from accord.connectors.sql.bulk.ledger import FINISHED, Ledger
from accord.connectors.sql.bulk.table import LoadTable, Reference
from accord.connectors.sql.database import CommitFailed, Database
from accord.connectors.sql.errors import REFERENCE, WHY, outcome_of
from accord.connectors.sql.tables import Misfit, Plan
from accord.errors import ConnectorError
from accord.record import Entity, Reject
from accord.sdk.bulk import Chunk, LedgerEntry, Loaded, LoadMode, LoadSpec, RowReject, Written, too_many_deleted
from accord.sdk.connector import LoadFailed

if TYPE_CHECKING:
    import polars

T = TypeVar("T")
APPENDS_AT_ONCE = 2  # one chunk is encoded while the server takes another


class SqlLoad:
    """``find_plan`` binds the entity to the table as it is; it runs on a database thread."""

    tells = True

    def __init__(
        self,
        database: Database,
        find_plan: Callable[[sa.Connection, Entity], Plan],
        entity: Entity,
        spec: LoadSpec,
        ledger: Ledger,
        kept: dt.timedelta,
        zone: Any,
    ) -> None:
        self._database = database
        self._find_plan = find_plan
        self._entity = entity
        self._spec = spec
        self._ledger = ledger
        self._kept = kept
        self._zone = zone
        self._table: LoadTable | None = None
        self._references: list[Reference] = []  # that the stage does not know of
        self._is_staged = spec.mode.is_staged
        self._is_shown_later = spec.mode.is_shown_at_end
        is_parallel = spec.mode is LoadMode.APPEND and not database.is_sqlite
        self.at_once = APPENDS_AT_ONCE if is_parallel else 1

    @property
    def table(self) -> LoadTable:
        if self._table is None:
            raise ConnectorError("This load has not begun.", mend="Call begin() first.")
        return self._table

    async def begin(self) -> None:
        await self._work(self._begin)

    async def write(self, chunk: Chunk) -> Written:
        return await self._work(lambda: self._write(chunk))

    async def known(self, number: int) -> Written | None:
        return await self._work(lambda: self._known(number))

    async def finish(self) -> Loaded:
        return await self._work(self._finish)

    async def abandon(self) -> None:
        await self._work(self._drop_stage)

    async def leave(self) -> None:
        """Nothing is held open between chunks."""

    async def _work(self, work: Callable[[], T]) -> T:
        """On a database thread; every error of the driver as LoadFailed."""
        try:
            return await self._database.run(work)
        except CommitFailed as failed:
            raise LoadFailed(outcome_of(failed.__cause__ or failed, committing=True)) from failed
        except Misfit as misfit:
            raise LoadFailed(misfit.reject) from None
        except ConnectorError:
            raise
        except Exception as error:
            raise LoadFailed(outcome_of(error)) from error

    # begin

    def _begin(self) -> None:
        with self._database.reading() as connection:
            plan = self._find_plan(connection, self._entity)
            connection.rollback()
            self._table = LoadTable(plan, self._spec, connection.dialect)
            if self._spec.mode is not LoadMode.APPEND and self._spec.mode is not LoadMode.REPLACE:
                self._need_key()
            if self._is_shown_later and not self._database.is_sqlite:
                self._references = self.table.references(connection)
                connection.rollback()
            self._ledger.ensure(connection, self._kept)
            if self._is_staged and self._ledger.find(connection, self.table.load_id, FINISHED) is None:
                connection.rollback()
                self._make_stage(connection)

    def _need_key(self) -> None:
        if self._spec.mode is not LoadMode.HISTORY:
            self.table.need_key()
        elif not self.table.key:
            raise Misfit(f"a history needs a key that tells which rows of {self.table.name} are versions of one record")

    def _make_stage(self, connection: sa.Connection) -> None:
        """Left as it is when it is there: a load taken up again has rows in it."""
        table = self.table
        inspector = sa.inspect(connection)
        is_there = inspector.has_table(table.stage_name, schema=table.plan.table.schema)
        referring = [] if table.has_unique_key else self._referring(inspector)
        connection.rollback()
        if self._spec.mode is LoadMode.REPLACE and referring:
            raise Misfit(
                f"rows of {referring[0]} refer to rows of {table.name}, which cannot be told apart without a unique key: replacing "
                "all of them would break or delete those. Declare the entity's `key`"
            )
        if is_there:
            return
        ddl = ""
        if table.dialect == "sqlite":
            name = table.plan.table.name
            ddl = connection.scalar(
                sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :n"), {"n": name}
            )
        for statement in statements.make_stage(table, ddl or ""):
            connection.exec_driver_sql(statement)
        if table.key and (table.is_history or not table.has_unique_key):
            connection.exec_driver_sql(statements.index_stage(table))
        connection.commit()

    def _referring(self, inspector: sa.Inspector) -> list[str]:
        """Tables with a foreign key to this one."""
        target, schema = self.table.plan.table.name, self.table.plan.table.schema
        names = inspector.get_table_names(schema)
        return [
            n for n in names if any(key["referred_table"] == target for key in inspector.get_foreign_keys(n, schema))
        ]

    # chunks

    def _write(self, chunk: Chunk) -> Written:
        frame, rows = chunk.frame, len(chunk.frame)
        superseded = 0
        if self.table.key_fields and self._spec.mode is not LoadMode.APPEND:
            frame = frame.with_row_index("accord row").unique(
                subset=self.table.key_fields, keep="last", maintain_order=True
            )
            numbers = frame["accord row"].to_list()
            superseded = rows - len(frame)
        else:
            numbers = None
        with self._database.writing() as connection:
            self._without_limit(connection)
            known = self._ledger.find(connection, self.table.load_id, chunk.number)
            if known is not None:
                return known.written
            refused: list[tuple[int, Reject]] = []
            counts = self._put(connection, frame, 0, refused)
            rejects = tuple(
                RowReject(numbers[row] if numbers else row, why.reason, self._path(why), why.code)
                for row, why in refused
            )
            inserted, updated = counts
            entry = LedgerEntry(
                rows=rows - len(rejects),
                rejects=rejects,
                inserted=inserted,
                updated=updated,
                unchanged=0 if self._is_shown_later else rows - superseded - len(rejects) - inserted - updated,
                attempt=chunk.attempt,
            )
            self._ledger.store(connection, self.table.load_id, chunk.number, entry)
        return Written(entry.rows, entry.rejects)

    def _known(self, number: int) -> Written | None:
        with self._database.reading() as connection:
            entry = self._ledger.find(connection, self.table.load_id, number)
        return None if entry is None else entry.written

    def _path(self, why: Reject) -> str:
        """The database names columns, people know fields."""
        fields = {column: field for field, column in self.table.plan.columns.names.items()}
        return ", ".join(fields.get(name, name) for name in why.path.split(", ")) if why.path else ""

    def _put(
        self,
        connection: sa.Connection,
        frame: polars.DataFrame,
        first: int,
        refused: list[tuple[int, Reject]],
    ) -> tuple[int, int]:
        """Inserted and updated rows. Raises what is wrong with the whole target."""
        if frame.is_empty():
            return 0, 0
        savepoint = connection.begin_nested()
        try:
            counts = self._put_where(connection, frame)
            savepoint.commit()
            return counts
        except Exception as error:
            if getattr(error, "connection_invalidated", False):
                raise
            reject = error.reject if isinstance(error, Misfit) else outcome_of(error)
            if not isinstance(reject, Reject) or reject.code in ("connector.sql-privilege", "connector.sql-schema"):
                raise
            savepoint.rollback()
            if len(frame) == 1:
                refused.append((first, reject))
                return 0, 0
        half = len(frame) // 2
        a = self._put(connection, frame[:half], first, refused)
        b = self._put(connection, frame[half:], first + half, refused)
        return a[0] + b[0], a[1] + b[1]

    def _put_where(self, connection: sa.Connection, frame: polars.DataFrame) -> tuple[int, int]:
        """Puts rows where they belong in this mode."""
        table, mode = self.table, self._spec.mode
        if mode is LoadMode.UPSERT:
            return self._upsert(connection, frame)
        if mode is LoadMode.APPEND:
            return self._fill(connection, table.name, frame)
        if not table.key and not self._references:
            self._fill(connection, table.stage, frame)
            return 0, 0
        return self._stage(connection, frame)

    def _fill(self, connection: sa.Connection, target: str, frame: polars.DataFrame) -> tuple[int, int]:
        table = self.table
        if table.dialect == "postgresql":
            copy(connection, f"{target} ({table.column_list})", text_of(table, frame, self._zone))
        else:
            statement = statements.insert(table, target, "?" if self._database.is_sqlite else "%s")
            connection.exec_driver_sql(statement, table.rows(frame))
        return len(frame), 0

    def _fresh(self, connection: sa.Connection, frame: polars.DataFrame) -> str:
        """A temporary table of the frame's rows: where values that fit no column show, before anything is changed."""
        table, name = self.table, f"{self.table.stage_name}_fresh"
        end = " ON COMMIT DROP" if table.dialect == "postgresql" else ""
        made = f"CREATE TEMPORARY TABLE IF NOT EXISTS {name}{end} AS SELECT {table.column_list} FROM {table.name} WHERE 1 = 0"
        connection.exec_driver_sql(made)
        connection.exec_driver_sql(f"DELETE FROM {name}")
        self._fill(connection, name, frame)
        if table.dialect == "postgresql" and self._is_staged:
            connection.exec_driver_sql(f"ANALYZE {name}")
        return name

    def _upsert(self, connection: sa.Connection, frame: polars.DataFrame) -> tuple[int, int]:
        return self._upsert_fresh(connection, self._fresh(connection, frame), len(frame))

    def _upsert_fresh(self, connection: sa.Connection, fresh: str, rows: int) -> tuple[int, int]:
        if self.table.dialect != "postgresql":
            return self._upsert_from(connection, fresh, rows)
        return _counted(connection, statements.upsert_looked_up(self.table, fresh))

    def _upsert_from(self, connection: sa.Connection, fresh: str, rows: int) -> tuple[int, int]:
        table = self.table
        if table.dialect == "postgresql":
            return _counted(connection, statements.upsert_from(table, fresh)[0])
        known, changed = connection.exec_driver_sql(statements.count_known(table, fresh)).one()
        for statement in statements.upsert_from(table, fresh):
            connection.exec_driver_sql(statement)
        return rows - known, int(changed)

    def _stage(self, connection: sa.Connection, frame: polars.DataFrame) -> tuple[int, int]:
        """A key that came in an earlier chunk gives way to this one. Raises Misfit when a row refers to nothing."""
        fresh = self._fresh(connection, frame)
        if self.table.key:
            connection.exec_driver_sql(statements.delete_staged(self.table, fresh))
        insert = statements.stage_from(self.table, fresh)
        if self.table.is_versioned:
            connection.execute(sa.text(insert), self._version())
        else:
            connection.exec_driver_sql(insert)
        for reference in self._references:
            if connection.exec_driver_sql(statements.unreferred(self.table, fresh, reference)).first():
                raise Misfit(WHY[REFERENCE], reference.path, f"connector.{REFERENCE}")
        if self._spec.mode is LoadMode.DELETE_MISSING:
            return self._upsert_fresh(connection, fresh, len(frame))
        return 0, 0  # told when they are shown

    def _without_limit(self, connection: sa.Connection) -> None:
        """The time a statement of a load takes grows with the load; `statement_timeout` is for single ones. Compiling a plan takes longer
        than a chunk."""
        if self.table.dialect == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL jit = off")

    # the end

    def _finish(self) -> Loaded:
        with self._database.writing() as connection:
            self._without_limit(connection)
            known = self._ledger.find(connection, self.table.load_id, FINISHED)
            if known is None:
                self._ledger.store(connection, self.table.load_id, FINISHED, self._show(connection))
            made = self._ledger.sums(connection, self.table.load_id)
        self._drop_stage()
        return made

    def _show(self, connection: sa.Connection) -> LedgerEntry:
        table = self.table
        match self._spec.mode:
            case LoadMode.REPLACE if table.has_unique_key:  # rows that stay are kept: others may refer to them
                deleted = connection.exec_driver_sql(statements.delete_missing(table)).rowcount
                rows = connection.exec_driver_sql(f"SELECT count(*) FROM {table.stage}").scalar_one()
                inserted, updated = self._upsert_from(connection, table.stage, rows)
                unchanged = rows - inserted - updated
                return LedgerEntry(inserted=inserted, updated=updated, unchanged=unchanged, deleted=deleted)
            case LoadMode.REPLACE:
                before, after = statements.replace_all(table)
                deleted = connection.exec_driver_sql(before).rowcount
                return LedgerEntry(inserted=connection.exec_driver_sql(after).rowcount, deleted=deleted)
            case LoadMode.DELETE_MISSING:
                total, gone = connection.exec_driver_sql(statements.count_missing(table)).one()
                refusal = too_many_deleted(int(gone), int(total), self._spec.deleted_share_max)
                if refusal is not None:
                    raise LoadFailed(refusal)
                return LedgerEntry(deleted=connection.exec_driver_sql(statements.delete_missing(table)).rowcount)
            case LoadMode.HISTORY:
                return self._show_versions(connection)
            case _:
                return LedgerEntry()

    def _show_versions(self, connection: sa.Connection) -> LedgerEntry:
        version = self._version()
        closed = connection.execute(sa.text(statements.close_versions(self.table)), {**version, "no": False}).rowcount
        opened = connection.execute(sa.text(statements.open_versions(self.table)), version).rowcount
        return LedgerEntry(inserted=opened - closed, updated=closed)

    def _version(self) -> dict[str, Any]:
        """What a version that begins with this load has, as the driver takes it."""
        started = dt.datetime.fromisoformat(self._spec.started) if self._spec.started else dt.datetime.now(dt.UTC)
        instant = started.astimezone(self._zone).replace(tzinfo=None)
        match self.table.dialect:
            case "postgresql":
                return {"started": started, "yes": True}
            case "sqlite":
                return {"started": instant.isoformat(sep=" "), "yes": True}
            case _:
                return {"started": instant, "yes": True}

    def _drop_stage(self) -> None:
        if self._is_staged:
            with self._database.writing() as connection:
                connection.exec_driver_sql(statements.drop_stage(self.table))


def _counted(connection: sa.Connection, upsert: str) -> tuple[int, int]:
    inserted, touched = connection.exec_driver_sql(statements.counted(upsert)).one()
    return inserted, touched - inserted
