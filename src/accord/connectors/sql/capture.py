"""Changes of PostgreSQL tables as a stream: a snapshot, then the log, with nothing between them missed or doubled in effect.

Theory. The slot is made first; with it the server exports the snapshot of the very instant from which the slot tells changes. The
tables are read in that snapshot, page by page by key; then the log follows from that instant. A snapshot does not outlive its
connection: one that is interrupted goes on from the key reached, in the tables as they are then. The rows read so are newer than
the slot's instant, and the log tells the changes they have had again: applied by key, the end is the same (DBLog's argument). A
table that joins later is read in the same way.

Position (JSON): ``{"slot", "lsn", "txn", "index", "tables", "pending"}``. ``lsn``: the end of the last whole transaction; ``txn``
and ``index``: the transaction under way by its commit's LSN, and how many of its changes are done, since a slot only begins again
at a transaction. ``pending``: entities whose snapshot is not finished, with the key reached. ``tables``: entities that have one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import psycopg
import sqlalchemy as sa

from accord.connectors.sql import capture_setup as setup
from accord.connectors.sql.capture_rows import Binding, finder, loaders_of, snapshot_entity
from accord.connectors.sql.database import Database
from accord.connectors.sql.errors import outcome_of
from accord.connectors.sql.pgoutput import (
    Begin,
    Commit,
    Keepalive,
    Message,
    ProtocolError,
    Relation,
    Row,
    Truncate,
    decode_message,
    lsn_of,
    lsn_text,
)
from accord.connectors.sql.replication import Replication
from accord.connectors.sql.source import page_after
from accord.connectors.sql.spec import SqlSettings
from accord.connectors.sql.tables import Misfit, extra_of, plan_of, table_name
from accord.record import Entity, Outcome, Reconnect, Reject
from accord.sdk.capture import Capture, CaptureLag, Change, ChangeKind, ChangePage
from accord.sdk.connector import ReadFailed
from accord.sdk.http import encode_json

R = TypeVar("R")
MAY_REPLICATE = "run: ALTER ROLE … REPLICATION, and make it the owner of the tables (or create the publication for it)"
PAGE_CHANGES = 2_000  # of one commit in the journal
PAGE_BYTES_MAX = 8 * 2**20  # of the rows of a page; a page has at least one
POSITION_EVERY_S = 10.0  # how often the position alone is journaled while only other tables change
DONE = 2**62  # a transaction that is done altogether
QUIET_S = 1.0  # how long `next` waits for a first change
LINGER_S = 0.02  # how long a page that has one waits for more


class SlotStream:
    """A ``ChangeStream``. Its blocking work runs on a thread of its own."""

    def __init__(
        self, database: Database, settings: SqlSettings, names: setup.Names, entities: Sequence[Entity], position: Any
    ) -> None:
        self._database = database
        self._settings = settings
        self._names = names
        self._entities = {entity.name: entity for entity in entities}
        self._zone = ZoneInfo(settings.zone)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="accord-changes")
        self._position: dict[str, Any] = dict(position) if isinstance(position, dict) else {}
        self._held = ExitStack()
        self._wire: Replication | None = None
        self._looking: sa.Connection | None = None
        self._frozen: sa.Connection | None = None  # inside the exported snapshot
        self._by_oid: dict[int, str] = {}
        self._bindings: dict[int, Binding] = {}
        self._notices: list[str] = []
        self._relations: dict[int, Relation] = {}
        self._txn: Begin | None = None
        self._index = 0  # changes of the transaction so far
        self._done = 0  # of them, those that an earlier page had
        self._kept: Truncate | None = None
        self._is_streaming = False
        self._told_at_s = time.monotonic()
        self._told_lsn = ""

    async def open(self) -> None:
        await self._run(self._open)

    async def next(self) -> ChangePage | None:
        return await self._run(self._next)

    async def confirm(self, position: Any) -> None:
        await self._run(self._confirm, position)

    async def lag(self) -> CaptureLag:
        def look() -> int:
            with self._database.reading() as connection:
                slot = setup.slot_of(connection, self._names.slot)
                return slot.retained_bytes if slot is not None else 0

        spec = self._settings.changes
        retained = await self._translated(self._database.run(look))
        return CaptureLag(
            retained_bytes=retained, retained_bytes_max=spec.lag_max, may_drop=spec.above_lag == "snapshot"
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
        except sa.exc.SQLAlchemyError as error:
            raise ReadFailed(_outcome(getattr(error, "orig", None) or error, error)) from None
        except psycopg.Error as error:
            raise ReadFailed(_outcome(error, error)) from error
        except (ProtocolError, OSError) as error:
            raise ReadFailed(Reconnect(f"the stream of changes broke: {error}")) from None

    # Opening

    def _open(self) -> None:
        connection = self._held.enter_context(self._database.engine.connect())
        setup.require_logical(connection)
        self._looking = connection
        wanted = {name: table_name(entity) for name, entity in self._entities.items()}
        self._by_oid = setup.tables_of(connection, wanted)
        slot = setup.slot_of(connection, self._names.slot)
        is_ours = self._position.get("slot") == self._names.slot
        is_there = is_ours and self._has_all(slot)
        connection.rollback()
        setup.publish(connection, self._names.publication, self._by_oid, is_in_use=is_there)
        self._wire = self._new_wire()
        if is_there:
            self._join_tables()
        else:
            self._begin(connection)

    def _has_all(self, slot: Capture | None) -> bool:
        """Whether the slot still tells everything since the position."""
        if slot is None:
            why = "the server has it no more"
        elif slot.state in ("lost", "unfinished"):
            why = f"the server says it is {slot.state}"
        elif lsn_of(slot.confirmed) > lsn_of(self._position["lsn"]):
            why = f"it has gone on to {slot.confirmed}, so the journal is older than it"
        else:
            return True
        if self._settings.changes.on_lost == "stop":
            reason = (
                f"the replication slot '{self._names.slot}' does not hold the changes since {self._position['lsn']}: {why}; "
                "set `changes: {on_lost: snapshot}` to begin again with a snapshot"
            )
            raise Misfit(reason, code="connector.sql-slot-lost")
        self._notices.append(
            f"the slot was lost ({why}): a new snapshot; deletes since {self._position['lsn']} are not told"
        )
        return False

    def _new_wire(self) -> Replication:
        seconds = max(1, int(self._settings.connect_timeout.total_seconds()))
        try:
            wire = Replication(self._database.engine.dialect, self._database.engine.url, seconds)
        except psycopg.OperationalError as error:  # libpq tells no code of a refused login
            if setup.may_replicate(self._looking_at()):
                raise
            raise Misfit(
                f"the database user may not replicate; {MAY_REPLICATE}", code="connector.sql-replication"
            ) from error
        self._held.callback(wire.close)
        return wire

    def _begin(self, connection: sa.Connection) -> None:
        """A new slot, and its snapshot held open."""
        assert self._wire is not None
        setup.drop_slot(connection, self._names.slot)  # of a beginning that nobody has journaled
        point, snapshot = self._wire.create_slot(self._names.slot)
        is_wanted = self._settings.changes.snapshot
        self._position = {
            "slot": self._names.slot,
            "lsn": point,
            "pending": dict.fromkeys(self._entities) if is_wanted else {},
            "tables": [] if is_wanted else sorted(self._entities),
        }
        if is_wanted:
            frozen = self._held.enter_context(self._database.engine.connect())
            frozen = frozen.execution_options(isolation_level="REPEATABLE READ")
            frozen.begin()
            frozen.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            self._frozen = frozen

    def _join_tables(self) -> None:
        """Entities new to the stream get their snapshot; those nobody wants any more would need one again."""
        known = [name for name in self._position.get("tables", []) if name in self._entities]
        pending = {n: at for n, at in (self._position.get("pending") or {}).items() if n in self._entities}
        new = [name for name in self._entities if name not in known and name not in pending]
        if not self._settings.changes.snapshot:
            known, new = [*known, *new], []
        self._position = {**self._position, "tables": sorted(known), "pending": {**pending, **dict.fromkeys(new)}}

    # The snapshot

    def _next(self) -> ChangePage | None:
        if self._position["pending"]:
            return self._snapshot_page()
        if not self._is_streaming:
            self._start()
        return self._stream_page()

    def _snapshot_page(self) -> ChangePage:
        name, at = next(iter(self._position["pending"].items()))
        entity = self._entities[name]
        connection = self._frozen or self._looking
        assert connection is not None
        plan = plan_of(connection, snapshot_entity(entity, extra_of(entity), PAGE_CHANGES), self._zone)
        page, has_more = page_after(connection, plan, at, False)
        if self._frozen is None:
            connection.rollback()
        point = self._position["lsn"]
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
        self._position = {**self._position, "pending": pending, "tables": tables}
        notices, self._notices = tuple(self._notices), []
        return ChangePage(changes=changes, position=dict(self._position), notices=notices)

    # The stream

    def _start(self) -> None:
        assert self._wire is not None
        if self._frozen is not None:
            self._frozen.rollback()
            self._frozen.close()
            self._frozen = None
        connection = self._looking_at()
        self._load_of = loaders_of(connection.connection.driver_connection)
        self._wire.start(self._names.slot, self._names.publication, lsn_of(self._position["lsn"]))
        self._is_streaming = True

    def _looking_at(self) -> sa.Connection:
        assert self._looking is not None
        return self._looking

    def _stream_page(self) -> ChangePage | None:
        """Changes until the page is full or the stream is quiet. A page may end inside a transaction; a truncate is alone."""
        changes: list[Change] = []
        size, wait_s = 0, QUIET_S
        quiet_at_s = time.monotonic() + QUIET_S
        while len(changes) < PAGE_CHANGES and size < PAGE_BYTES_MAX:
            message, bytes_count = self._message(wait_s)
            if message is None and bytes_count == 0:
                break
            if isinstance(message, Truncate):
                if changes:
                    self._kept = message
                    break
                changes = self._truncated(message)
                if changes:
                    break
            elif message is not None:
                self._take(message, changes)
            if changes:
                size += bytes_count
                wait_s = LINGER_S
            elif time.monotonic() > quiet_at_s:
                break
        if self._looking_at().in_transaction():
            self._looking_at().rollback()
        return self._page(changes)

    def _page(self, changes: list[Change]) -> ChangePage | None:
        now_s = time.monotonic()
        is_due = now_s - self._told_at_s > POSITION_EVERY_S and self._position["lsn"] != self._told_lsn
        if not (changes or self._notices or is_due):
            return None
        self._told_at_s, self._told_lsn = now_s, self._position["lsn"]
        notices, self._notices = tuple(self._notices), []
        return ChangePage(changes=changes, position=self._place(), notices=notices)

    def _message(self, wait_s: float) -> tuple[Message, int]:
        """The next message and its size; size 0: nothing came in time. None with a size: nothing that matters."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept, 1
        assert self._wire is not None
        frame = self._wire.receive(wait_s)
        if frame is None:
            return None, 0
        if isinstance(frame, Keepalive):
            if self._txn is None:
                self._reached(frame.end_lsn)
            if frame.wants_reply:
                self._wire.tell()
            return None, 1
        return decode_message(frame.message), len(frame.message)

    def _take(self, message: Message, changes: list[Change]) -> None:
        match message:
            case Row():
                if self._is_due() and message.oid in self._by_oid:
                    binding = self._binding(message.oid)
                    find = finder(self._looking_at(), binding.plan)
                    changes.extend(binding.changes(message, self._event_id(), find))
            case Begin():
                self._txn, self._index = message, 0
                text = lsn_text(message.final_lsn)
                is_known = message.final_lsn < lsn_of(self._position["lsn"])
                self._done = DONE if is_known else self._position["index"] if self._position.get("txn") == text else 0
            case Commit():
                self._txn = None
                self._reached(message.end_lsn)
            case Relation():
                self._related(message)

    def _is_due(self) -> bool:
        """Counts a change of the transaction; False when an earlier page had it."""
        self._index += 1
        return self._index > self._done

    def _truncated(self, message: Truncate) -> list[Change]:
        if not self._is_due():
            return []
        return [
            Change(
                entity=self._by_oid[oid],
                kind=ChangeKind.TRUNCATE,
                record={},
                event_id=self._event_id(),
                origin=f"change {self._event_id()}",
            )
            for oid in message.oids
            if oid in self._by_oid
        ]

    def _event_id(self) -> str:
        assert self._txn is not None
        return f"{lsn_text(self._txn.final_lsn)}:{self._index}"

    def _reached(self, lsn: int) -> None:
        if lsn > lsn_of(self._position["lsn"]):
            kept = {name: self._position[name] for name in ("slot", "tables", "pending")}
            self._position = {**kept, "lsn": lsn_text(lsn)}

    def _place(self) -> dict[str, Any]:
        """Inside a transaction: how many of its changes are done."""
        if self._txn is not None and self._done != DONE:
            return {
                **self._position,
                "txn": lsn_text(self._txn.final_lsn),
                "index": max(self._index, self._done),
            }
        return dict(self._position)

    def _related(self, relation: Relation) -> None:
        before = self._relations.get(relation.oid)
        self._relations[relation.oid] = relation
        if before == relation:
            return
        self._bindings.pop(relation.oid, None)
        entity = self._by_oid.get(relation.oid)
        if entity is not None and before is not None:
            was, now = {c.name for c in before.columns}, {c.name for c in relation.columns}
            told = [f"column {name} came" for name in sorted(now - was)] + [
                f"column {n} went" for n in sorted(was - now)
            ]
            self._notices.append(f"{entity}: the table changed: {', '.join(told) or 'a type or its identity'}")

    def _binding(self, oid: int) -> Binding:
        binding = self._bindings.get(oid)
        if binding is None:
            connection = self._looking_at()
            plan = plan_of(connection, self._entities[self._by_oid[oid]], self._zone)
            binding = Binding(plan, self._relations[oid], self._load_of, connection.dialect)
            self._bindings[oid] = binding
        return binding

    def _confirm(self, position: Any) -> None:
        if self._wire is not None and self._is_streaming:
            self._wire.flushed(lsn_of((position or {}).get("lsn", "0/0")))


def _key_digest(entity: Entity, record: dict[str, Any]) -> str:
    text = encode_json([entity.name, *(record[name] for name in entity.key)])
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _outcome(original: BaseException, error: BaseException) -> Outcome:
    """What the server refuses of replication, with its cure; all else as for every statement."""
    state = getattr(original, "sqlstate", None)
    match state:
        case "42501":
            reason = f"the database user may not do this ({str(original).strip()}); {MAY_REPLICATE}"
            return Reject(reason, code="connector.sql-replication")
        case "53400":
            mend = "drop slots that nobody reads, or raise max_replication_slots and max_wal_senders"
            return Reject(f"the server has no replication slot left; {mend}", code="connector.sql-replication")
        case "55006":
            return Reconnect("the replication slot is in use by another connection; each needs a `slot` of its own")
        case None if isinstance(original, psycopg.OperationalError):
            return Reconnect(f"the connection to the database was lost ({type(original).__name__})")
        case _:
            return outcome_of(error)
