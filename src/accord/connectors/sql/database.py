"""The engine behind a connection: driver settings per dialect, threads, transactions.

Database calls run on ``connections_max`` threads of their own (SQLite: one), each with a pooled connection, so the event loop
never waits for a database. Transactions are READ COMMITTED; SQLite's begin IMMEDIATE for writes, so that two writers queue at
BEGIN instead of failing in the middle.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import QueuePool, StaticPool

from accord.connectors.sql.spec import SqlSettings
from accord.errors import ConnectorError
from accord.sdk.http import decode_json, encode_json
from accord.settings.secret import Secret

R = TypeVar("R")
_WRITES = "accord_writes"
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
_EXTRAS = {"psycopg": "postgresql", "pymysql": "mariadb"}


class CommitFailed(Exception):
    """COMMIT itself failed: whether the work was done is open. ``__cause__`` is the driver's error."""


def read_url(settings: SqlSettings, folder: Path) -> sa.URL:
    """The address with the driver Accord ships, the password put in. Raises ConnectorError, never showing the address."""
    text = settings.url.reveal() if isinstance(settings.url, Secret) else settings.url
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ConnectorError(
            "The `url` is no database address.",
            mend="Write dialect+driver://user@host:port/database, for example postgresql+psycopg://accord@db/erp.",
            code="connector.sql-url",
        ) from None
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if settings.password is not None:
        url = url.set(password=settings.password.reveal())
    if (
        url.get_backend_name() == "sqlite"
        and url.database
        and url.database != ":memory:"
        and "file:" not in url.database
    ):
        url = url.set(database=str(folder / url.database))
    return url


def make_engine(url: sa.URL, settings: SqlSettings, statement_s: float = 0.0) -> sa.Engine:
    """``statement_s``: instead of the settings' ``statement_timeout``; locks are waited for as the settings say."""
    backend, statement_s = url.get_backend_name(), statement_s or settings.statement_timeout.total_seconds()
    options: dict[str, Any] = {
        "hide_parameters": True,
        "json_serializer": lambda value: encode_json(value).decode(),
        "json_deserializer": lambda text: decode_json(text if isinstance(text, bytes) else text.encode()),
        "connect_args": _connect_arguments(backend, settings, statement_s),
    }
    if backend == "sqlite":
        is_memory = not url.database or url.database == ":memory:"
        options |= (
            {"poolclass": StaticPool} if is_memory else {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 1}
        )
    else:
        options |= {
            "pool_size": settings.connections_max,
            "max_overflow": 1,  # a long read holds one while its page is processed
            "pool_timeout": settings.statement_timeout.total_seconds(),
            "pool_recycle": int(settings.connection_age_max.total_seconds()),
            "isolation_level": "READ COMMITTED",
        }
    try:
        engine = sa.create_engine(url, **options)
    except (ImportError, sa.exc.NoSuchModuleError, sa.exc.ArgumentError) as error:
        module = getattr(error, "name", None) or ""
        mend = (
            f"Install it: pip install 'accord-integration[{_EXTRAS[module]}]'." if module in _EXTRAS else "Install it."
        )
        reason = f"The database driver for '{url.drivername}' is not there."
        raise ConnectorError(reason, mend=mend, code="connector.sql-driver") from error
    if backend == "sqlite":
        _prepare_sqlite(engine)
    elif backend in ("mysql", "mariadb"):
        _prepare_mysql(engine, settings, statement_s)
    return engine


def _connect_arguments(backend: str, settings: SqlSettings, statement_s: float) -> dict[str, Any]:
    connect_s = max(1, int(settings.connect_timeout.total_seconds()))
    match backend:
        case "postgresql":
            return {
                "connect_timeout": connect_s,
                "options": f"-c statement_timeout={int(statement_s * 1000)} -c timezone=UTC",
                "application_name": "accord",
                "keepalives_idle": 30,
                "tcp_user_timeout": int((statement_s + connect_s) * 1000),
            }
        case "mysql" | "mariadb":
            wire_s = (
                int(statement_s) + connect_s
            )  # the server's own limit comes first; this is for a server that is gone
            return {"connect_timeout": connect_s, "read_timeout": wire_s, "write_timeout": wire_s, "charset": "utf8mb4"}
        case "sqlite":
            return {"timeout": statement_s, "check_same_thread": False}
        case _:
            return {}


def _prepare_sqlite(engine: sa.Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transactions by itself
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_mysql(engine: sa.Engine, settings: SqlSettings, statement_s: float) -> None:
    lock_s = max(1, int(settings.statement_timeout.total_seconds()))

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
            cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", (lock_s,))
            cursor.execute("SELECT VERSION()")
            if "maria" in str(cursor.fetchone()[0]).lower():
                cursor.execute("SET SESSION max_statement_time = %s", (statement_s,))
            else:
                cursor.execute("SET SESSION max_execution_time = %s", (int(statement_s * 1000),))


@contextmanager
def as_sqlalchemy(connection: sa.Connection, statement: str) -> Iterator[None]:
    """For psycopg's own calls: its errors become SQLAlchemy's, and a connection that is lost goes from the pool."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        is_lost = connection.dialect.is_disconnect(error, connection.connection.dbapi_connection, None)  # type: ignore[arg-type]
        if is_lost:
            connection.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            statement,
            None,
            error,
            psycopg.Error,
            dialect=connection.dialect,
            hide_parameters=True,
            connection_invalidated=is_lost,
        ) from error


class Database:
    """Engine and threads of one system."""

    def __init__(self, settings: SqlSettings, url: sa.URL, statement_s: float = 0.0) -> None:
        self.engine = make_engine(url, settings, statement_s)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.is_mysql = url.get_backend_name() in ("mysql", "mariadb")
        self.threads_count = 1 if self.is_sqlite else min(settings.connections_max, 4 * (os.cpu_count() or 1))
        self._threads = concurrent.futures.ThreadPoolExecutor(self.threads_count, thread_name_prefix="accord-sql")

    async def run(self, work: Callable[..., R], *arguments: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that commits at the end. Raises CommitFailed when COMMIT fails, else the driver's error."""
        with self.engine.connect() as connection:
            connection = connection.execution_options(**{_WRITES: True})
            connection.begin()
            yield connection
            try:
                connection.commit()
            except Exception as error:
                raise CommitFailed from error

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            yield connection

    def dispose(self) -> None:
        self._threads.shutdown(wait=True)
        self.engine.dispose()
