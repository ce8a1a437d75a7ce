"""A live connection to one database.

Writes that arrive while a transaction is running are taken together into the next one (of the same entity and mode), so many
single writes share one COMMIT; alone, a write waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from accord.connectors.sql import binlog_setup
from accord.connectors.sql import capture_setup as setup
from accord.connectors.sql.bulk.ledger import Ledger
from accord.connectors.sql.bulk.load import SqlLoad
from accord.connectors.sql.calls import call
from accord.connectors.sql.database import Database, read_url
from accord.connectors.sql.discovery import entities_of
from accord.connectors.sql.effects import Effects
from accord.connectors.sql.errors import PRIVILEGE, outcome_of
from accord.connectors.sql.shape import shape_of_table
from accord.connectors.sql.source import page_after, row_by_key, streamed
from accord.connectors.sql.spec import SqlSettings
from accord.connectors.sql.tables import Misfit, Plan, plan_of
from accord.connectors.sql.target import write
from accord.errors import ConnectorError
from accord.record import Done, Entity, Outcome, Partial, Reject
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead, LoadSpec
from accord.sdk.capture import Capture, ChangeStream
from accord.sdk.connector import CallItem, Connection, Context, Operation, Page, ReadFailed, WriteItem, WriteMode
from accord.sdk.shape import Shape
from accord.sdk.spread import ReadPart

LOAD_STATEMENT_MAX_S = 6 * 3600.0  # of a load's statement: a merge takes as long as the table is large, but ends
_Pending = tuple[Sequence[WriteItem], "asyncio.Future[Outcome]"]


class SqlConnection(Connection):
    def __init__(
        self,
        settings: SqlSettings,
        entities: Mapping[str, Entity],
        operations: Mapping[str, Operation],
        context: Context,
    ) -> None:
        self._settings = settings
        self._context = context
        self._operations = operations
        self._zone = ZoneInfo(settings.zone)
        self._effects = Effects(settings.effects_table)
        self._has_effects = settings.read_only
        self._plans: dict[str, Plan] = {}
        self._pending: dict[tuple[str, WriteMode], deque[_Pending]] = {}
        self._runners: dict[tuple[str, WriteMode], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._database: Database | None = None
        self._loading: Database | None = None

    @property
    def database(self) -> Database:
        if self._database is None:
            raise ConnectorError(f"The connection to '{self._context.system}' is not open.", mend="Call open() first.")
        return self._database

    async def open(self) -> None:
        url = read_url(self._settings, self._context.folder)
        self._database = Database(self._settings, url)
        try:
            await self.database.run(self._prepare)
        except sa.exc.SQLAlchemyError as error:
            if isinstance(outcome_of(error), Reject):
                raise ConnectorError(
                    f"The database of '{self._context.system}' refuses the first statements: {outcome_of(error)}.",
                    mend="Check user, database name and privileges.",
                    code="connector.sql-refused",
                ) from None
            # the server is not there yet: the effects table is made before the first write

    def _prepare(self) -> None:
        if self._has_effects:
            return
        with self.database.reading() as connection:
            self._effects.ensure(connection)
            self._effects.prune(connection, self._settings.effects_kept)
        self._has_effects = True

    async def close(self) -> None:
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._database is not None:
            await asyncio.to_thread(self._database.dispose)
            self._database = None
        if self._loading is not None:
            await asyncio.to_thread(self._loading.dispose)
            self._loading = None

    async def check(self) -> Outcome:
        return await self.database.run(self._check)

    def _check(self) -> Outcome:
        try:
            with self.database.reading() as connection:
                # SQLite opens a file without reading it: only a look at its tables proves it is a database
                connection.execute(
                    sa.text("SELECT count(*) FROM sqlite_master" if self.database.is_sqlite else "SELECT 1")
                )
        except sa.exc.SQLAlchemyError as error:
            return outcome_of(error)
        return Done(None)

    async def shape(self, entity: Entity, position: Any = None) -> Sequence[Shape]:
        def look() -> list[Shape]:
            self._plans.pop(entity.name, None)  # it may have changed since it was looked at
            with self.database.reading() as connection:
                found = shape_of_table(connection, entity)
            return [found] if found else []

        try:
            return await self.database.run(look)
        except sa.exc.SQLAlchemyError as error:
            raise ReadFailed(outcome_of(error)) from None

    async def discover(self) -> Sequence[Entity]:
        def look() -> list[Entity]:
            with self.database.reading() as connection:
                return entities_of(connection, self._context.system, self._settings.effects_table)

        try:
            return await self.database.run(look)
        except sa.exc.SQLAlchemyError as error:
            raise ReadFailed(outcome_of(error)) from None

    def _plan(self, connection: sa.Connection, entity: Entity) -> Plan:
        plan = self._plans.get(entity.name)
        if plan is None or plan.entity is not entity:
            plan = self._plans[entity.name] = plan_of(connection, entity, self._zone)
        return plan

    async def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        plan = await self._reading(lambda c: self._plan(c, entity))
        if not (plan.extra.cursor or entity.key):
            async for page in self._stream(plan):
                yield page
            return
        has_more, is_first = True, True
        while has_more:
            page, has_more = await self._reading(page_after, plan, position, is_first)
            position, is_first = page.position, False
            if page.records:
                yield page

    async def _reading(self, work: Any, *arguments: Any) -> Any:
        def run() -> Any:
            with self.database.reading() as connection:
                return work(connection, *arguments)

        try:
            return await self.database.run(run)
        except Misfit as misfit:
            raise ReadFailed(misfit.reject) from None
        except sa.exc.SQLAlchemyError as error:
            raise ReadFailed(outcome_of(error)) from None

    async def _stream(self, plan: Plan) -> AsyncIterator[Page]:
        connection = await self.database.run(self.database.engine.connect)
        try:
            rows = streamed(connection, plan)
            while (records := await self.database.run(next, rows, None)) is not None:
                yield Page(records, None)
        except sa.exc.SQLAlchemyError as error:
            raise ReadFailed(outcome_of(error)) from None
        finally:
            await self.database.run(connection.close)

    def read_bulk(self, entity: Entity, request: BulkRead) -> AsyncIterator[Batch]:
        """As ``accord.sdk.bulk``, in one read-only transaction."""
        from accord.connectors.sql.bulk_connection import read_bulk

        return read_bulk(self.database, lambda c: self._plan(c, entity), request, self._settings)

    def parts(self, entity: Entity, request: BulkRead) -> AbstractAsyncContextManager[Sequence[ReadPart]]:
        """See ``accord.sdk.spread``; the address goes with every part."""
        from accord.connectors.sql.bulk_parts import table_parts

        url = read_url(self._settings, self._context.folder)
        return table_parts(self.database, lambda c: self._plan(c, entity), entity, request, self._settings, url)

    def heard(self, notes: Mapping[str, str]) -> None:
        """Parts of a table note nothing."""

    async def get(self, entity: Entity, key: str) -> Outcome:
        def look() -> Outcome:
            try:
                with self.database.reading() as connection:
                    record = row_by_key(connection, self._plan(connection, entity), key)
            except Misfit as misfit:
                return misfit.reject
            except sa.exc.SQLAlchemyError as error:
                return outcome_of(error)
            if record is None:
                return Reject("there is no row with this key", ", ".join(entity.key), "connector.sql-no-row")
            return Done(record)

        return await self.database.run(look)

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        lane = (entity.name, mode)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._pending.setdefault(lane, deque()).append((items, future))
        if self._runners.get(lane, 0) < self.database.threads_count:
            self._runners[lane] = self._runners.get(lane, 0) + 1
            task = asyncio.create_task(self._run_lane(entity, mode))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _run_lane(self, entity: Entity, mode: WriteMode) -> None:
        """Takes what waits, as whole calls, until nothing waits."""
        lane = (entity.name, mode)
        try:
            while waiting := self._pending[lane]:
                calls = [waiting.popleft()]
                size = len(calls[0][0])
                while waiting and size + len(waiting[0][0]) <= self._settings.write_items_max:
                    size += len(waiting[0][0])
                    calls.append(waiting.popleft())
                await self._write_together(entity, mode, calls)
        finally:
            self._runners[lane] -= 1

    async def _write_together(self, entity: Entity, mode: WriteMode, calls: list[_Pending]) -> None:
        items = [item for some, _ in calls for item in some]
        try:
            outcome = await self.database.run(self._write, entity, mode, items)
        except BaseException as error:
            for _, future in calls:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        single = outcome.outcomes if isinstance(outcome, Partial) else None
        start = 0
        for some, future in calls:
            end = start + len(some)
            part: Outcome = (
                outcome if single is None else single[start] if len(some) == 1 else Partial(single[start:end])
            )
            start = end
            if not future.done():
                future.set_result(part)

    def _write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        if self._settings.read_only:
            return Reject("this system is declared `read_only`", code="connector.sql-read-only")
        try:
            self._prepare()
            plan = self._plans.get(entity.name)
            if plan is None or plan.entity is not entity:
                with self.database.reading() as connection:
                    plan = self._plan(connection, entity)
        except Misfit as misfit:
            return misfit.reject
        except ConnectorError as error:
            return Reject(str(error), code=f"connector.{PRIVILEGE}")
        except sa.exc.SQLAlchemyError as error:
            return outcome_of(error)
        outcome = write(self.database, self._effects, plan, mode, items)
        if isinstance(outcome, Reject) and outcome.code == "connector.sql-schema":
            self._plans.pop(entity.name, None)  # the table may have changed under us: look again next time
        return outcome

    def load(self, entity: Entity, spec: LoadSpec) -> SqlLoad:
        """See ``accord.sdk.bulk.BulkTarget``."""
        ledger = Ledger(self._settings.effects_table)
        return SqlLoad(
            self._loading_database(), self._plan, entity, spec, ledger, self._settings.effects_kept, self._zone
        )

    def _loading_database(self) -> Database:
        """MariaDB and MySQL limit statements by session, the driver by connection: loads have connections of their own. PostgreSQL lifts
        its limit in each transaction."""
        if not self.database.is_mysql:
            return self.database
        if self._loading is None:
            url = read_url(self._settings, self._context.folder)
            self._loading = Database(self._settings, url, LOAD_STATEMENT_MAX_S)
        return self._loading

    def changes(self, entities: Sequence[Entity], position: Any) -> ChangeStream:
        if self.database.is_mysql:
            from accord.connectors.sql.binlog_stream import BinlogStream  # PyMySQL is an extra

            return BinlogStream(self.database, self._settings, self._context.system, entities, position)
        self._need_postgresql()
        from accord.connectors.sql.capture import SlotStream  # psycopg is an extra

        return SlotStream(self.database, self._settings, self._capture_names, entities, position)

    async def captures(self) -> Sequence[Capture]:
        if self.database.is_mysql:
            return [await self._reading(binlog_setup.captured)]
        self._need_postgresql()
        found: Capture | None = await self._reading(setup.slot_of, self._capture_names.slot)
        return [found] if found is not None else []

    async def drop_capture(self) -> bool:
        """A binary log is kept for nobody: there is nothing to take away."""
        if self.database.is_mysql:
            return False
        self._need_postgresql()
        is_dropped: bool = await self._reading(setup.drop_slot, self._capture_names.slot)
        if not self._settings.changes.publication:  # one that was named is the database's own
            await self._reading(setup.drop_publication, self._capture_names.publication)
        return is_dropped

    def _need_postgresql(self) -> None:
        name = self.database.engine.dialect.name
        if name != "postgresql":
            reason = f"the log of a database of the kind '{name}' cannot be read; use {{poll: …}}"
            raise ReadFailed(Reject(reason, code="connector.sql-schema"))

    @property
    def _capture_names(self) -> setup.Names:
        return setup.Names(self._settings.changes, self._context.system)

    async def call(self, operation: str, item: CallItem) -> Outcome:
        spec = self._settings.operations[operation]

        def run() -> Outcome:
            if not spec.read_only:
                if self._settings.read_only:
                    return Reject("this system is declared `read_only`", code="connector.sql-read-only")
                try:
                    self._prepare()
                except ConnectorError as error:
                    return Reject(str(error), code=f"connector.{PRIVILEGE}")
                except sa.exc.SQLAlchemyError as error:
                    return outcome_of(error)
            takes = self._operations[operation].takes
            return call(self.database, self._effects, spec, takes, item, self._zone)

        return await self.database.run(run)
