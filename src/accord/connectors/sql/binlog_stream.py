"""Changes of MariaDB and MySQL tables as a stream: a snapshot, then the binary log, with nothing between them missed or doubled in effect.

Theory. The snapshot is a transaction that shows the tables as they were at a place in the log; the log is read from that place. Once
interrupted, the snapshot goes on in the tables as they are: the log tells their changes again, and by key the end is the same (DBLog's
argument). A table that joins later is read in the same way.

Position (JSON): ``{"server", "log", "pos", "gtid", "txn", "index", "tables", "pending"}``. ``log`` and ``pos``: the end of the last whole
transaction, as file and place; of MariaDB ``gtid`` is the same as a state of GTIDs, which counts: it holds on every server of a
replication. ``txn`` and ``index``: the transaction under way, and how many of its events of rows are done, since a log is only read from
a transaction's beginning. ``server``: MySQL's server_uuid.

The server keeps its log for nobody. What it has removed, or what it holds in another form than rows, is told as Lost, and
``on_lost`` says what follows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pymysql
import sqlalchemy as sa

from accord.connectors.sql import binlog_setup as setup
from accord.connectors.sql.binlog import (
    End,
    Event,
    Format,
    Gtid,
    Idle,
    ProtocolError,
    Query,
    Rotate,
    Rows,
    TableMap,
    Unreadable,
)
from accord.connectors.sql.binlog_rows import TableRows
from accord.connectors.sql.binlog_setup import Lost, Place
from accord.connectors.sql.binlog_statements import Effect, statement_of
from accord.connectors.sql.binlog_values import RowReader, columns_of
from accord.connectors.sql.binlog_wire import BinlogWire, server_id_of
from accord.connectors.sql.capture_base import (
    LINGER_S,
    PAGE_BYTES_MAX,
    PAGE_CHANGES,
    POSITION_EVERY_S,
    QUIET_S,
    CaptureStream,
)
from accord.connectors.sql.capture_records import change_of, finder
from accord.connectors.sql.database import Database
from accord.connectors.sql.errors import outcome_of
from accord.connectors.sql.spec import SqlSettings
from accord.connectors.sql.tables import plan_of, table_name
from accord.record import Entity, Outcome, Reconnect
from accord.sdk.capture import Change, ChangeKind, ChangePage


class BinlogStream(CaptureStream):
    """A ``ChangeStream``."""

    def __init__(
        self, database: Database, settings: SqlSettings, system: str, entities: Sequence[Entity], position: Any
    ) -> None:
        super().__init__(database, settings, entities, position)
        self._server_id = server_id_of(system, settings.changes.server_id)
        self._wire: BinlogWire | None = None
        self._wanted: dict[tuple[str, str], str] = {}  # entities by database and table
        self._definitions: dict[tuple[str, str], bytes] = {}
        self._names: dict[tuple[str, str], list[str]] = {}
        self._maps: dict[int, TableMap] = {}  # of the statement under way
        self._bound: dict[tuple[str, str], TableRows] = {}
        self._group: Gtid | None = None
        self._has_begun = False  # the group is a transaction: an end follows
        self._index = 0  # events of rows of the group so far
        self._done = 0  # of them, those that an earlier page had
        self._given = 0  # changes of the group in earlier pages
        self._kept: tuple[Event, int] | None = None  # a truncate that waits for a page of its own
        self._has_told_statement = False
        self._told_at_s = time.monotonic()
        self._journaled = ""  # the point of the last page

    # Opening

    def _open(self) -> None:
        connection = self._held.enter_context(self._database.engine.connect())
        self._looking = connection
        self._server = setup.server_of(connection)
        database = str(self._database.engine.url.database or "")
        tables = {
            name: setup.located(table_name(entity), database, lower=self._server.lower_names)
            for name, entity in self._entities.items()
        }
        setup.check_tables(connection, tables, allow_cascades=self._settings.changes.cascades == "accept")
        self._wanted = {place: name for name, place in tables.items()}
        connection.rollback()
        if not self._position.get("log"):
            self._begin()
        elif self._position.get("server", "") != self._server.uuid:
            self._lost(Lost("it is another server than the one the position is of"))
        else:
            self._join_tables()

    def _begin(self) -> None:
        """From now on: the snapshot's transaction held open, or without one."""
        connection = self._looking_at()
        is_mariadb = self._server.is_mariadb
        if not self._server.is_synced:
            self._notices.append(
                "sync_binlog is not 1: when the machine of the database fails, its log may lack transactions that were read already"
            )
        if self._settings.changes.snapshot:
            frozen = self._held.enter_context(self._database.engine.connect())
            self._frozen = frozen.execution_options(isolation_level="REPEATABLE READ")
            place = setup.freeze(self._frozen, connection, is_mariadb=is_mariadb)
        else:
            place = setup.now(connection, is_mariadb=is_mariadb)
        connection.rollback()
        self._position = {"server": self._server.uuid, **self._beginning(), **_of(place)}

    def _lost(self, lost: Lost) -> None:
        """Begins again with a snapshot if that is allowed, else raises."""
        if self._settings.changes.on_lost == "stop":
            raise lost
        at = self._point()
        self._stop()
        self._thaw()
        self._begin()
        self._notices.append(f"the binary log was lost ({lost.why}): a new snapshot; deletes since {at} are not told")

    def _stop(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        self._maps.clear()
        self._group, self._kept = None, None
        self._journaled = ""

    def _start(self) -> None:
        engine = self._database.engine
        wire = BinlogWire(engine.dialect, engine.url, self._server_id)
        self._held.callback(wire.close)
        wire.start(self._position["log"], self._position["pos"], self._position.get("gtid"))
        self._log = self._position["log"]
        self._wire = wire

    # Pages

    def _next(self) -> ChangePage | None:
        try:
            if self._position["pending"]:
                return self._snapshot_page()
            if not self._journaled:  # without a snapshot: a killed reader goes on from here
                return self._page([], is_due=True)
            if self._wire is None:
                self._start()
            return self._stream_page()
        except Lost as lost:
            self._lost(lost)
            return None

    def _stream_page(self) -> ChangePage | None:
        """Changes until the page is full, or the log is quiet between transactions. Only a full page ends inside a transaction; a
        truncate is alone."""
        changes: list[Change] = []
        size, begun, wait_s = 0, 0, QUIET_S  # begun: changes before the group under way
        quiet_at_s = time.monotonic() + QUIET_S
        while len(changes) < PAGE_CHANGES and size < PAGE_BYTES_MAX:
            found = self._receive(wait_s)
            if found is None:
                if len(changes) > begun:
                    continue
                self._behind_s = 0.0
                break
            event, bytes_count = found
            if changes and self._is_truncate(event):
                self._kept = found
                break
            if isinstance(event.body, (Rotate, Format)) and self._group is not None:
                del changes[begun:]  # the server died while it wrote the group, and undid it
            emptied = self._take(event, changes)
            if emptied:
                return self._page(emptied)
            if self._group is None:
                begun = len(changes)
            if changes:
                size += bytes_count
                wait_s = LINGER_S
            elif time.monotonic() > quiet_at_s:
                break
        self._given += len(changes) - begun
        if self._looking_at().in_transaction():
            self._looking_at().rollback()
        return self._page(changes)

    def _is_truncate(self, event: Event) -> bool:
        if not isinstance(event.body, Query):
            return False
        found = statement_of(event.body.text, event.body.database, self._wanted)
        return found.effect is Effect.TRUNCATE and bool(found.tables)

    def _page(self, changes: list[Change], *, is_due: bool = False) -> ChangePage | None:
        now_s, at = time.monotonic(), self._point()
        is_due = is_due or (now_s - self._told_at_s > POSITION_EVERY_S and at != self._journaled)
        if not (changes or self._notices or is_due):
            return None
        self._told_at_s, self._journaled = now_s, at
        return ChangePage(changes=changes, position=self._place(), notices=self._told_notices())

    def _receive(self, wait_s: float) -> tuple[Event, int] | None:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept
        assert self._wire is not None
        try:
            return self._wire.receive(wait_s)
        except pymysql.MySQLError as error:
            number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            if refusal := setup.refused(number, str(error.args[-1])):
                raise refusal from None
            raise

    # Events

    def _take(self, event: Event, changes: list[Change]) -> list[Change]:
        """What one event adds to ``changes``; truncates are given back instead."""
        if event.at_s and event.end:
            self._behind_s = max(0.0, time.time() - event.at_s)
        match event.body:
            case Rows():
                self._rows(event.body, changes)
            case TableMap():
                self._maps[event.body.table_id] = event.body
            case Gtid():
                self._begins(event.body)
            case End():
                self._ends(event.end)
            case Query():
                return self._query(event.body, event.end)
            case Rotate() | Format():
                self._rotated(event.body)
            case Unreadable(what=what):
                raise Lost(f"it holds {what}")
            case Idle(is_heartbeat=True):
                self._behind_s = 0.0
        return []

    def _begins(self, gtid: Gtid) -> None:
        self._group, self._index, self._given = gtid, 0, 0
        self._has_begun = self._server.is_mariadb and not gtid.is_standalone
        self._done = self._position["index"] if self._position.get("txn") == self._txn() else 0
        if self._done:
            self._given = 1

    def _txn(self) -> str:
        assert self._group is not None
        return self._group.text or f"{self._position['log']}:{self._position['pos']}"

    def _ends(self, end: int) -> None:
        """The group is whole: the position moves behind it."""
        group, self._group = self._group, None
        self._maps.clear()
        gtid = self._position.get("gtid")
        if gtid is not None and group is not None:
            states = {text.partition("-")[0]: text for text in gtid.split(",") if text}
            states[group.text.partition("-")[0]] = group.text
            gtid = ",".join(states.values())
        kept = {name: self._position[name] for name in ("server", "tables", "pending")}
        self._position = {**kept, **_of(Place(self._log, end, gtid))}

    def _rotated(self, body: Rotate | Format) -> None:
        if self._group is not None and self._given:
            self._group = None
            raise Lost("the server ended while it wrote a transaction of which a part was read already, and undid it")
        self._group = None
        self._maps.clear()
        if isinstance(body, Rotate):
            self._log = body.file

    def _rows(self, rows: Rows, changes: list[Change]) -> None:
        self._index += 1
        table = self._maps.get(rows.table_id)
        if table is None:
            raise ProtocolError(f"rows of a table that was not told ({rows.table_id})")
        place = (
            (table.database.lower(), table.table.lower()) if self._server.lower_names else (table.database, table.table)
        )
        if place not in self._wanted or self._index <= self._done:
            return
        if self._group is not None and self._group.is_prepared_xa:
            raise Lost("an XA transaction changed its tables, and its rows stand apart from its end")
        bound = self._binding(place, table)
        changes.extend(bound.changes(rows, self._event_id(), finder(self._looking_at(), bound.plan)))

    def _event_id(self) -> str:
        return f"{self._txn()}:{self._index}" if self._group is not None else f"{self._point()}:{self._index}"

    def _binding(self, place: tuple[str, str], table: TableMap) -> TableRows:
        bound = self._bound.get(place)
        if bound is not None and self._definitions[place] == table.definition:
            return bound
        connection = self._looking_at()
        columns = columns_of(table.definition)
        opaque, uuids, places = setup.forms_of(connection, *place)
        reader = RowReader(columns, self._server.encodings, opaque, uuids, places)
        plan = plan_of(connection, self._entities[self._wanted[place]], self._zone)
        self._compare(place, [column.name for column in columns])
        bound = self._bound[place] = TableRows(plan, table, columns, reader)
        self._definitions[place] = table.definition
        return bound

    def _compare(self, place: tuple[str, str], names: list[str]) -> None:
        before = self._names.get(place)
        self._names[place] = names
        if before is not None and before != names:
            told = [f"column {name} came" for name in names if name not in before]
            told += [f"column {name} went" for name in before if name not in names]
            self._notices.append(
                f"{self._wanted[place]}: the table changed: {', '.join(told) or 'the order of columns'}"
            )

    # Statements

    def _query(self, query: Query, end: int) -> list[Change]:
        found = statement_of(query.text, query.database, self._wanted)
        emptied: list[Change] = []
        match found.effect:
            case Effect.BEGIN:
                self._has_begun = True
                if self._group is None:  # servers and formats without GTIDs
                    self._begins(Gtid("", False))
                    self._has_begun = True
                return []
            case Effect.COMMIT:
                self._ends(end)
                return []
            case Effect.ROLLBACK:
                if self._given or self._index:
                    raise Lost(
                        "a transaction over tables of several engines was rolled back after its rows were written"
                    )
                if found.verb == "ROLLBACK":
                    self._ends(end)
                return []
            case Effect.WRITE:
                self._written(found.verb, [self._wanted[table] for table in found.tables])
            case Effect.DEFINE:
                for table in found.tables:
                    self._notices.append(
                        f"{self._wanted[table]}: {found.verb}: what it did to rows that are there is not told; load them again if it did"
                    )
            case Effect.TRUNCATE:
                emptied = self._emptied(found.verb, [self._wanted[table] for table in found.tables])
        if self._group is None or not self._has_begun:
            self._ends(end)
        return emptied

    def _written(self, verb: str, entities: list[str]) -> None:
        if entities:
            raise Lost(
                f"a session changed rows of {', '.join(entities)} by a statement ({verb}): its binlog_format was not ROW"
            )
        if not self._has_told_statement:
            self._has_told_statement = True
            self._notices.append(
                f"a session writes statements into the log ({verb}): what they do to tables they do not name (triggers, views) is not told"
            )

    def _emptied(self, verb: str, entities: list[str]) -> list[Change]:
        if verb.startswith("DROP"):
            self._notices += [f"{name}: the table was dropped, which is told as a truncate" for name in entities]
        event_id = self._event_id()
        return [change_of(self._entities[name], ChangeKind.TRUNCATE, {}, f"{event_id}:{name}") for name in entities]

    # Where the stream is

    def _point(self) -> str:
        return str(self._position.get("gtid") or f"{self._position['log']}:{self._position['pos']}")

    def _place(self) -> dict[str, Any]:
        """Inside a transaction: how many of its events are done."""
        if self._group is not None and self._index:
            return {**self._position, "txn": self._txn(), "index": max(self._index, self._done)}
        return dict(self._position)

    def _confirm(self, position: Any) -> None:
        """The server keeps nothing for us."""

    def _retained_bytes(self, connection: sa.Connection) -> int:
        return setup.bytes_after(connection, str(self._position.get("log", "")), int(self._position.get("pos", 0)))

    def _outcome_of(self, error: Exception) -> Outcome | None:
        if isinstance(error, sa.exc.SQLAlchemyError):
            return setup.outcome_of_refusal(getattr(error, "orig", None) or error) or outcome_of(error)
        if isinstance(error, pymysql.MySQLError):
            return setup.outcome_of_refusal(error) or Reconnect(
                f"the connection to the database was lost ({type(error).__name__})"
            )
        if isinstance(error, (ProtocolError, OSError)):
            return Reconnect(f"the stream of changes broke: {error}")
        return None


def _of(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {"log": place.file, "pos": place.position}
    return found if place.gtid is None else {**found, "gtid": place.gtid}
