"""One load into one table: every chunk with its ledger row in one transaction, staged modes shown in one at the end.

Of rows with one key in one load the last counts (append: each is a row of its own).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from accord.connectors.duckdb.errors import ROW_CODES, outcome_of
from accord.connectors.duckdb.spec import LEDGER
from accord.connectors.duckdb.store import File, Session
from accord.connectors.duckdb.table import CONSTRAINTS, Table
from accord.errors import ConnectorError
from accord.record import Entity, Reject
from accord.sdk.bulk import (
    Chunk,
    LedgerEntry,
    Loaded,
    LoadMode,
    LoadSpec,
    RowReject,
    Written,
    loaded_of,
    too_many_deleted,
)
from accord.sdk.connector import LoadFailed

if TYPE_CHECKING:
    import polars

T = TypeVar("T")
FINISHED = -1


class DuckdbLoad:
    at_once = 1
    tells = True

    def __init__(self, file: File, entity: Entity, spec: LoadSpec, *, kept: dt.timedelta, may_create: bool) -> None:
        self._file = file
        self._spec = spec
        self._kept = kept
        self._may_create = may_create
        self._table = Table(entity, spec.fields, spec.id)
        self._started = spec.started or dt.datetime.now(dt.UTC).isoformat()
        self._is_holding = False

    async def begin(self) -> None:
        if self._spec.mode not in (LoadMode.APPEND, LoadMode.REPLACE) and not self._table.entity.key:
            raise LoadFailed(
                Reject(
                    f"mode {self._spec.mode} needs a key of '{self._table.entity.name}'", code="connector.duckdb-schema"
                )
            )
        self._file.hold()
        self._is_holding = True
        await self._work(self._begin)

    async def write(self, chunk: Chunk) -> Written:
        return await self._work(lambda session: self._write(session, chunk))

    async def known(self, number: int) -> Written | None:
        entry = await self._work(lambda session: self._find(session, number))
        return None if entry is None else entry.written

    async def finish(self) -> Loaded:
        return await self._work(self._finish)

    async def abandon(self) -> None:
        await self._work(lambda session: session.run(f"DROP TABLE IF EXISTS {self._table.stage}"))

    async def leave(self) -> None:
        """The file is closed, for others to read."""
        if self._is_holding:
            self._is_holding = False
            await self._file.release()

    async def _work(self, work: Callable[[Session], T]) -> T:
        try:
            return await self._file.run(work)
        except ConnectorError:
            raise
        except Exception as error:
            raise LoadFailed(outcome_of(error)) from error

    def _begin(self, session: Session) -> None:
        if self._may_create:
            for statement in self._table.create(is_history=self._spec.mode is LoadMode.HISTORY):
                session.run(statement)
        session.run(
            f"DELETE FROM {LEDGER} WHERE kept_at < current_localtimestamp() - to_seconds(?)",
            [int(self._kept.total_seconds())],
        )
        if self._spec.mode.is_staged and self._find(session, FINISHED) is None:
            columns = session.run(self._table.describe(is_history=self._spec.mode is LoadMode.HISTORY))
            session.run(self._table.create_stage(columns, session.run(CONSTRAINTS, self._table.place)))

    def _find(self, session: Session, chunk: int) -> LedgerEntry | None:
        rows = session.run(f"SELECT entry FROM {LEDGER} WHERE load_id = ? AND chunk = ?", [self._table.load_id, chunk])
        return msgspec.json.decode(rows[0][0], type=LedgerEntry) if rows else None

    def _store(self, session: Session, chunk: int, entry: LedgerEntry) -> None:
        text = msgspec.json.encode(entry).decode()
        session.run(
            f"INSERT INTO {LEDGER} (load_id, chunk, entry) VALUES (?, ?, ?)", [self._table.load_id, chunk, text]
        )

    # chunks

    def _write(self, session: Session, chunk: Chunk) -> Written:
        known = self._find(session, chunk.number)
        if known is not None:
            return known.written
        frame = chunk.frame.with_row_index("accord row")
        key = list(self._table.entity.key)
        if key and self._spec.mode is not LoadMode.APPEND:
            frame = frame.unique(subset=key, keep="last", maintain_order=True)
        superseded = len(chunk.frame) - len(frame)
        refused: list[RowReject] = []
        while True:
            try:
                with session.transaction():
                    inserted, updated = self._put(session, frame)
                    rows = len(frame) + superseded
                    entry = LedgerEntry(
                        rows=rows,
                        rejects=tuple(refused),
                        inserted=inserted,
                        updated=updated,
                        unchanged=self._unchanged(frame, inserted, updated),
                        attempt=chunk.attempt,
                    )
                    self._store(session, chunk.number, entry)
                return Written(entry.rows, entry.rejects)
            except Exception as error:
                if not _is_of_rows(error) or frame.is_empty():
                    raise
                frame, found = self._good_of(session, frame)
                refused = sorted([*refused, *found], key=lambda reject: reject.row)

    def _unchanged(self, frame: polars.DataFrame, inserted: int, updated: int) -> int:
        is_shown_later = self._spec.mode.is_shown_at_end
        return 0 if is_shown_later else len(frame) - inserted - updated

    def _good_of(self, session: Session, frame: polars.DataFrame) -> tuple[polars.DataFrame, list[RowReject]]:
        """The rows that go in together, found by trying: good ones so far and the next piece, taken back each time."""
        import polars as pl

        good, refused = frame[:0], []
        waiting = [frame]
        while waiting:
            piece = waiting.pop()
            try:
                self._try(session, pl.concat([good, piece]))
                good = pl.concat([good, piece])
            except Exception as error:
                if not _is_of_rows(error):
                    raise
                if len(piece) > 1:
                    half = len(piece) // 2
                    waiting += [piece[half:], piece[:half]]
                    continue
                why = outcome_of(error)
                assert isinstance(why, Reject)
                refused.append(RowReject(piece["accord row"][0], why.reason, why.path, why.code))
        return good, refused

    def _try(self, session: Session, frame: polars.DataFrame) -> None:
        session.run("BEGIN")
        try:
            self._put(session, frame)
        finally:
            session.run("ROLLBACK")

    def _put(self, session: Session, frame: polars.DataFrame) -> tuple[int, int]:
        """Inserted and updated rows."""
        table, mode = self._table, self._spec.mode
        with session.given("accord_fresh", frame):
            if mode is LoadMode.APPEND:
                return session.one(table.insert(table.name, "accord_fresh"))[0], 0
            if mode is not LoadMode.UPSERT:
                if table.entity.key:
                    session.run(table.delete_of(table.stage, "accord_fresh"))
                if mode is LoadMode.HISTORY:
                    session.run(table.fill_stage_of_versions("accord_fresh"), [self._started])
                else:
                    session.run(table.insert(table.stage, "accord_fresh"))
            if mode in (LoadMode.UPSERT, LoadMode.DELETE_MISSING):
                updated = session.one(table.update("accord_fresh"))[0] if table.others else 0
                return session.one(table.insert_new("accord_fresh"))[0], updated
        return 0, 0  # told when they are shown

    # the end

    def _finish(self, session: Session) -> Loaded:
        if self._find(session, FINISHED) is None:
            with session.transaction():
                self._store(session, FINISHED, self._show(session))
        session.run(f"DROP TABLE IF EXISTS {self._table.stage}")
        texts = session.run(f"SELECT entry FROM {LEDGER} WHERE load_id = ?", [self._table.load_id])
        return loaded_of(msgspec.json.decode(text, type=LedgerEntry) for (text,) in texts)

    def _show(self, session: Session) -> LedgerEntry:
        table = self._table
        match self._spec.mode:
            case LoadMode.REPLACE:
                deleted = session.one(f"DELETE FROM {table.name}")[0]
                return LedgerEntry(inserted=session.one(table.insert(table.name, table.stage))[0], deleted=deleted)
            case LoadMode.DELETE_MISSING:
                total, gone = session.one(
                    f"SELECT count(*), count(*) FILTER (WHERE {table.missing()}) FROM {table.name} t"
                )
                refusal = too_many_deleted(gone, total, self._spec.deleted_share_max)
                if refusal is not None:
                    raise LoadFailed(refusal)
                return LedgerEntry(deleted=session.one(f"DELETE FROM {table.name} AS t WHERE {table.missing()}")[0])
            case LoadMode.HISTORY:
                closed = session.one(table.close_versions(), [self._started])[0]
                opened = session.one(table.open_versions(), [self._started])[0]
                return LedgerEntry(inserted=opened - closed, updated=closed)
        return LedgerEntry()


def _is_of_rows(error: Exception) -> bool:
    outcome = outcome_of(error)
    return isinstance(outcome, Reject) and outcome.code in ROW_CODES
