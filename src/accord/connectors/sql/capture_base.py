"""What every stream of changes out of a database's log does alike: a thread of its own for blocking work, the snapshot by key, and
tables that join later. The position's keys ``tables`` (entities that have their snapshot) and ``pending`` (the others, with the key
reached) are kept here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from accord.connectors.sql.capture_records import snapshot_entity
from accord.connectors.sql.database import Database
from accord.connectors.sql.source import page_after
from accord.connectors.sql.spec import SqlSettings
from accord.connectors.sql.tables import Misfit, extra_of, plan_of
from accord.record import Entity, Outcome
from accord.sdk.capture import CaptureLag, Change, ChangeKind, ChangePage
from accord.sdk.connector import ReadFailed
from accord.sdk.http import encode_json

R = TypeVar("R")
PAGE_CHANGES = 2_000  # of one commit in the journal
PAGE_BYTES_MAX = 8 * 2**20  # of the rows of a page; a page has at least one
POSITION_EVERY_S = 10.0  # how often the position alone is journaled while only other tables change
QUIET_S = 1.0  # how long `next` waits for a first change
LINGER_S = 0.02  # how long a page that has one waits for more


class CaptureStream:
    """The common half of a ``ChangeStream``; the other half knows the log."""

    def __init__(self, database: Database, settings: SqlSettings, entities: Sequence[Entity], position: Any) -> None:
        self._database = database
        self._settings = settings
        self._entities = {entity.name: entity for entity in entities}
        self._zone = ZoneInfo(settings.zone)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="accord-changes")
        self._position: dict[str, Any] = dict(position) if isinstance(position, dict) else {}
        self._held = ExitStack()
        self._looking: sa.Connection | None = None
        self._frozen: sa.Connection | None = None  # inside the snapshot of the stream's beginning
        self._notices: list[str] = []
        self._behind_s = 0.0  # since the commit of the last change read; 0 when nothing more is there

    # Of the log

    def _open(self) -> None:
        raise NotImplementedError

    def _next(self) -> ChangePage | None:
        raise NotImplementedError

    def _confirm(self, position: Any) -> None:
        raise NotImplementedError

    def _point(self) -> str:
        """Where in the log the position is, as text."""
        raise NotImplementedError

    def _retained_bytes(self, connection: sa.Connection) -> int:
        """Of log that is kept for the stream, or not read yet."""
        raise NotImplementedError

    def _outcome_of(self, error: Exception) -> Outcome | None:
        """Of the driver's errors; None: not one of them."""
        raise NotImplementedError

    # The contract

    async def open(self) -> None:
        await self._run(self._open)

    async def next(self) -> ChangePage | None:
        return await self._run(self._next)

    async def confirm(self, position: Any) -> None:
        await self._run(self._confirm, position)

    async def lag(self) -> CaptureLag:
        def look() -> int:
            with self._database.reading() as connection:
                return self._retained_bytes(connection)

        spec = self._settings.changes
        return CaptureLag(
            retained_bytes=await self._translated(self._database.run(look)),
            retained_bytes_max=spec.lag_max,
            may_drop=spec.above_lag == "snapshot",
            behind_s=self._behind_s,
        )

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._held.close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[..., R], *arguments: Any) -> R:
        future = asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        found: R = await self._translated(future)
        return found

    async def _translated(self, work: Any) -> Any:
        try:
            return await work
        except Misfit as misfit:
            raise ReadFailed(misfit.reject) from None
        except Exception as error:
            outcome = self._outcome_of(error)
            if outcome is None:
                raise
            raise ReadFailed(outcome) from error

    # The snapshot

    def _looking_at(self) -> sa.Connection:
        assert self._looking is not None
        return self._looking

    def _beginning(self) -> dict[str, Any]:
        """``tables`` and ``pending`` of a stream that begins."""
        is_wanted = self._settings.changes.snapshot
        return {
            "pending": dict.fromkeys(self._entities) if is_wanted else {},
            "tables": [] if is_wanted else sorted(self._entities),
        }

    def _join_tables(self) -> None:
        """Entities new to the stream get their snapshot; those nobody wants any more would need one again."""
        known = [name for name in self._position.get("tables", []) if name in self._entities]
        pending = {n: at for n, at in (self._position.get("pending") or {}).items() if n in self._entities}
        new = [name for name in self._entities if name not in known and name not in pending]
        if not self._settings.changes.snapshot:
            known, new = [*known, *new], []
        self._position = {**self._position, "tables": sorted(known), "pending": {**pending, **dict.fromkeys(new)}}

    def _snapshot_page(self) -> ChangePage:
        name, at = next(iter(self._position["pending"].items()))
        entity = self._entities[name]
        connection = self._frozen or self._looking_at()
        plan = plan_of(connection, snapshot_entity(entity, extra_of(entity), PAGE_CHANGES), self._zone)
        page, has_more = page_after(connection, plan, at, False)
        if self._frozen is None:
            connection.rollback()
        point = self._point()
        changes = [
            Change(
                entity=name,
                kind=ChangeKind.SNAPSHOT,
                record=record,
                event_id=f"{point}:{_key_digest(entity, record)}",
                origin=f"snapshot at {point}",
            )
            for record in page.records
        ]
        pending = {**self._position["pending"], name: page.position}
        tables = self._position["tables"]
        if not has_more:
            del pending[name]
            tables = sorted({*tables, name})
            if not pending:
                self._thaw()
        self._position = {**self._position, "pending": pending, "tables": tables}
        return ChangePage(changes=changes, position=dict(self._position), notices=self._told_notices())

    def _thaw(self) -> None:
        """The snapshot's transaction is not needed any more."""
        if self._frozen is not None:
            self._frozen.rollback()
            self._frozen.close()
            self._frozen = None

    def _told_notices(self) -> tuple[str, ...]:
        notices, self._notices = tuple(self._notices), []
        return notices


def _key_digest(entity: Entity, record: dict[str, Any]) -> str:
    text = encode_json([entity.name, *(record[name] for name in entity.key)])
    return hashlib.blake2b(text, digest_size=16).hexdigest()
