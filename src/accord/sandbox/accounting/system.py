"""Creates and seeds the database, shows it, and locks it when told to be down or slow."""

from __future__ import annotations

import asyncio
import contextlib
import html
from collections.abc import Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, func, insert, select

from accord.sandbox.accounting.lock import BREATH_S, FileLock, TableLock
from accord.sandbox.accounting.tables import CUSTOMERS, INVOICES, METADATA, TABLES
from accord.sandbox.catalogue import buyer
from accord.sandbox.http_server import Refusal, Request, Response, html_response
from accord.sandbox.pages import page, table
from accord.sandbox.system import Config, System

CUSTOMERS_SEEDED = 25
PAGE_INVOICES = 100


class Accounting(System):
    """``settings.database_url`` names a PostgreSQL database (SQLAlchemy form); default is ``accounting.db`` in the folder."""

    FAULTS = ("down", "slow_s")
    STATE = dict.fromkeys(TABLES, "")

    def __init__(self, config: Config) -> None:
        self.url = str(
            config.settings.get("database_url") or f"sqlite:///{Path(config.folder).resolve() / 'accounting.db'}"
        )
        self.engine = create_engine(self.url)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
        METADATA.create_all(self.engine)
        super().__init__(config)
        self.lock = _lock_for(self.engine)
        self._lock_changed = asyncio.Event()
        self.router.add("GET", "/", self.page)

    def seed(self) -> None:
        found = MetaData()
        found.reflect(self.engine)
        with self.engine.begin() as connection:
            for table in reversed(found.sorted_tables):  # tables added by others (effect ids) are emptied too
                connection.execute(table.delete())
            people = [buyer(self.config.seed, -number) for number in range(1, CUSTOMERS_SEEDED + 1)]
            rows = [
                {
                    "name": f"{b.first_name} {b.last_name}",
                    "email": b.email,
                    "country": b.country_code,
                    "currency": b.currency,
                }
                for b in people
            ]
            connection.execute(insert(CUSTOMERS), rows)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that reads even while our own lock is held: waiting for it here would stop the process for ever."""
        if self.lock.reader is not None:
            yield self.lock.reader
            return
        with self.engine.connect() as connection:
            yield connection

    def counts(self) -> dict[str, int]:
        with self.reading() as connection:
            return {n: connection.execute(select(func.count()).select_from(t)).scalar_one() for n, t in TABLES.items()}

    def read_state(self, kind: str, after: str, limit: int) -> tuple[list[dict[str, Any]], str]:
        table = TABLES[kind]
        query = select(table).where(table.c.id > int(after or 0)).order_by(table.c.id).limit(limit)
        with self.reading() as connection:
            rows = [{k: _plain(v) for k, v in row._mapping.items()} for row in connection.execute(query)]
        return rows, str(rows[-1]["id"]) if len(rows) == limit else ""

    def page(self, request: Request) -> Response:
        columns = ("number", "reference", "customer", "issued_on", "currency", "total", "status")
        query = select(*(INVOICES.c[c] for c in columns)).order_by(INVOICES.c.id.desc()).limit(PAGE_INVOICES)
        with self.reading() as connection:
            rows = connection.execute(query).all()
            total = connection.execute(select(func.count()).select_from(INVOICES)).scalar_one()
        head = "".join(f'<th scope="col">{c.replace("_", " ")}</th>' for c in columns)
        body = "".join(
            "<tr>" + "".join(f'<td dir="auto">{html.escape(str(v))}</td>' for v in row) + "</tr>" for row in rows
        )
        shown = f"<p>{total} in all, the newest {len(rows)} shown.</p>{table('Invoices', head, body)}"
        return html_response(page("Invoices", shown, "Sandbox accounting"))

    # --- faults

    def seed_again(self) -> None:
        if self.faults.is_on("down") or self.faults.is_on("slow_s"):
            raise Refusal(409, "locked", "The database is locked by a fault; clear it before a reset.")
        super().seed_again()

    async def apply_down(self, is_down: bool) -> None:
        await self.server.open_listener()  # the page stays: only the database can be down

    def on_fault_change(self) -> None:
        self._lock_changed.set()

    def background(self) -> list[Coroutine[Any, Any, None]]:
        return [self._keep_lock()]

    async def _keep_lock(self) -> None:
        """Holds the lock while down; holds it again and again while slow."""
        try:
            while True:
                self._lock_changed.clear()
                if self.faults.is_on("down"):
                    await self.lock.hold()
                    await self._changed_within(min(0.05, self.faults.seconds_left("down")))
                elif self.faults.is_on("slow_s"):
                    await self.lock.hold()
                    await self._changed_within(self.faults.value("slow_s"))
                    await self.lock.release()
                    await self._changed_within(BREATH_S)
                else:
                    await self.lock.release()
                    await self._lock_changed.wait()
        finally:
            await self.lock.release()

    async def _changed_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._lock_changed.wait()


def _lock_for(engine: Engine) -> FileLock | TableLock:
    return FileLock(Path(str(engine.url.database))) if engine.dialect.name == "sqlite" else TableLock(engine)


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value
