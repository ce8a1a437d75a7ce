"""The file behind a connection: opened for each piece of work, on one thread.

DuckDB lets one process at a time have a file for writing, and nobody else read it meanwhile. So it is closed again as soon as
nothing is under way: dashboards and people read it between loads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from accord.connectors.duckdb.spec import EFFECTS, LEDGER, DuckdbSettings
from accord.errors import ConnectorError

if TYPE_CHECKING:
    import polars

T = TypeVar("T")


class Columns:
    """A frame as DuckDB takes it: by Arrow's C stream, without a copy and without Arrow's own package."""

    def __init__(self, frame: polars.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


class Session:
    """One open connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        done = (
            self.connection.execute(statement, list(parameters)) if parameters else self.connection.execute(statement)
        )
        rows: list[tuple[Any, ...]] = done.fetchall()
        return rows

    def one(self, statement: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        return self.run(statement, parameters)[0]

    def frame(self, query: str) -> polars.DataFrame:
        import polars as pl

        return pl.DataFrame(self.connection.sql(query))

    @contextlib.contextmanager
    def given(self, name: str, frame: polars.DataFrame) -> Iterator[None]:
        """The frame as a view of that name. After an error it stays, since an aborted transaction takes no more; the next one of that
        name takes its place."""
        self.connection.register(name, Columns(frame))
        yield
        self.connection.unregister(name)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.run("BEGIN")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with contextlib.suppress(Exception):  # a failed commit has ended the transaction already
                self.run("ROLLBACK")
            raise


class File:
    """``run`` does work on the file's thread, with the file open; it stays open while other work waits or a ``hold`` lasts."""

    def __init__(self, path: Path, settings: DuckdbSettings) -> None:
        self._path = path
        self._settings = settings
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="accord-duckdb")
        self._waiting = 0
        self._held = 0
        self._session: Session | None = None

    async def run(self, work: Callable[[Session], T]) -> T:
        """Raises what the work and DuckDB raise."""
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._held:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._close)

    def hold(self) -> None:
        self._held += 1

    async def release(self) -> None:
        self._held -= 1
        if not self._held:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)

    async def end(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _work(self, work: Callable[[Session], T]) -> T:
        if self._session is None:
            self._session = self._open()
        return work(self._session)

    def _open(self) -> Session:
        try:
            import duckdb
        except ImportError as error:
            raise ConnectorError(
                "The connector 'duckdb' needs the package duckdb.",
                mend="pip install 'accord-integration[duckdb]'",
                code="connector.duckdb-extra",
            ) from error
        self._path.parent.mkdir(parents=True, exist_ok=True)
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self._settings.memory_max,
            "threads": self._settings.threads,
        }
        session = Session(duckdb.connect(str(self._path), config=config))
        session.run("SET TimeZone = 'UTC'")
        for columns in (f"{LEDGER} (load_id VARCHAR, chunk INTEGER, entry VARCHAR", f"{EFFECTS} (effect_id VARCHAR"):
            session.run(f"CREATE TABLE IF NOT EXISTS {columns}, kept_at TIMESTAMP DEFAULT current_localtimestamp())")
        return session

    def _close(self) -> None:
        if self._session is not None:
            self._session.connection.close()
            self._session = None
