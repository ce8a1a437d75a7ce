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

import time
from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy as sa

from accord.connectors.sql import capture_setup as setup
from accord.connectors.sql.capture_base import (
    LINGER_S,
    PAGE_BYTES_MAX,
    PAGE_CHANGES,
    POSITION_EVERY_S,
    QUIET_S,
    CaptureStream,
)
from accord.connectors.sql.capture_records import finder
from accord.connectors.sql.capture_rows import Binding, loaders_of
from accord.connectors.sql.database import Database
from accord.connectors.sql.errors import outcome_of
from accord.connectors.sql.pgoutput import (
    EPOCH_UNIX_US,
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
from accord.connectors.sql.spec import SqlSettings
from accord.connectors.sql.tables import Misfit, plan_of, table_name
from accord.record import Entity, Outcome, Reconnect, Reject
from accord.sdk.capture import Capture, Change, ChangeKind, ChangePage

MAY_REPLICATE = "run: ALTER ROLE … REPLICATION, and make it the owner of the tables (or create the publication for it)"
DONE = 2**62  # a transaction that is done altogether


class SlotStream(CaptureStream):
    """A ``ChangeStream``."""

    def __init__(
        self, database: Database, settings: SqlSettings, names: setup.Names, entities: Sequence[Entity], position: Any
    ) -> None:
        super().__init__(database, settings, entities, position)
        self._names = names
        self._wire: Replication | None = None
        self._by_oid: dict[int, str] = {}
        self._bindings: dict[int, Binding] = {}
        self._relations: dict[int, Relation] = {}
        self._txn: Begin | None = None
        self._index = 0  # changes of the transaction so far
        self._done = 0  # of them, those that an earlier page had
        self._kept: Truncate | None = None
        self._is_streaming = False
        self._told_at_s = time.monotonic()
        self._told_lsn = ""

    def _retained_bytes(self, connection: sa.Connection) -> int:
        slot = setup.slot_of(connection, self._names.slot)
        return slot.retained_bytes if slot is not None else 0

    def _outcome_of(self, error: Exception) -> Outcome | None:
        if isinstance(error, sa.exc.SQLAlchemyError):
            return _outcome(getattr(error, "orig", None) or error, error)
        if isinstance(error, psycopg.Error):
            return _outcome(error, error)
        if isinstance(error, (ProtocolError, OSError)):
            return Reconnect(f"the stream of changes broke: {error}")
        return None

    def _point(self) -> str:
        return str(self._position["lsn"])

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
        self._position = {"slot": self._names.slot, "lsn": point, **self._beginning()}
        if self._settings.changes.snapshot:
            frozen = self._held.enter_context(self._database.engine.connect())
            frozen = frozen.execution_options(isolation_level="REPEATABLE READ")
            frozen.begin()
            frozen.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            self._frozen = frozen

    def _next(self) -> ChangePage | None:
        if self._position["pending"]:
            return self._snapshot_page()
        if not self._is_streaming:
            self._start()
        return self._stream_page()

    # The stream

    def _start(self) -> None:
        assert self._wire is not None
        connection = self._looking_at()
        self._load_of = loaders_of(connection.connection.driver_connection)
        self._wire.start(self._names.slot, self._names.publication, lsn_of(self._position["lsn"]))
        self._is_streaming = True

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
        return ChangePage(changes=changes, position=self._place(), notices=self._told_notices())

    def _message(self, wait_s: float) -> tuple[Message, int]:
        """The next message and its size; size 0: nothing came in time. None with a size: nothing that matters."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept, 1
        assert self._wire is not None
        frame = self._wire.receive(wait_s)
        if frame is None:
            self._behind_s = 0.0
            return None, 0
        if isinstance(frame, Keepalive):
            if self._txn is None:
                self._behind_s = 0.0
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
                self._behind_s = max(0.0, time.time() - (message.commit_time_us + EPOCH_UNIX_US) / 1e6)
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
