"""The stream of changes of a real MariaDB: values as a read gives them, keys that change, definitions that change, lost logs, settings."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.connectors.sql.streams import Stream, nothing, told
from tests.servers import BINLOG, MariaServer, running_mariadb, wait_until

from accord.connectors.sql import binlog_setup
from accord.connectors.sql.spec import SqlChanges
from accord.record import Reject
from accord.record import types as t
from accord.sdk.capture import Change
from accord.sdk.connector import ReadFailed

pytestmark = pytest.mark.filterwarnings("ignore:Did not recognize type")  # of SQLAlchemy: MariaDB's INET6
FIELDS: dict[str, t.Type] = {
    "id": t.Integer(),
    "name": t.String(),
    "tiny": t.Integer(),
    "large": t.Integer(),
    "total": t.Decimal(),
    "small": t.Decimal(),
    "single": t.Float(),
    "price": t.Float(),
    "ratio": t.Float(),
    "paid": t.Boolean(),
    "bits": t.String(),
    "year": t.Integer(),
    "day": t.Date(),
    "at": t.DateTime(),
    "local_at": t.DateTime(),
    "took": t.Duration(),
    "kind": t.String(),
    "tags": t.String(),
    "extra": t.Json(),
    "code": t.String(),
    "address": t.String(),
    "fixed": t.String(),
    "raw": t.String(),
    "old_text": t.String(),
    "wide": t.String(),
    "note": t.String(),
}
TABLE = """
CREATE TABLE things (id bigint PRIMARY KEY, name varchar(300), tiny tinyint unsigned, large bigint unsigned, total decimal(30,10),
  small decimal(4,4), single float, price float(10,2), ratio double, paid boolean, bits bit(12), year year, day date, at timestamp(3) NULL,
  local_at datetime(6), took time(2), kind enum('a', 'ö'), tags set('x', 'y', 'z'), extra json, code uuid, address inet6, fixed binary(4),
  raw varbinary(20), old_text text CHARACTER SET latin1, wide varchar(400) CHARACTER SET utf16, note mediumtext)
"""
ROW = """
INSERT INTO things VALUES (%s, 'ä "\\n', 250, 18446744073709551615, -12345678901234567890.0123456789, 0.1234, 0.1, 123456.78, 0.1, true,
  b'101', 2024, '2024-02-29', '2024-02-29 23:59:59.123', '2024-02-29 12:00:00.000001', '-10:11:12.5', 'ö', 'x,z',
  '{"a": 1.10, "b": [null]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a00', '::ffff:1.2.3.4', x'6100', x'00ff', 'é€', 'hällo 🦊',
  repeat('z', 70000))
"""
ODD = """INSERT INTO things (id, small, single, year, took, kind, tags, total, name)
  VALUES (%s, -0.0001, 16777217, 0, '838:59:59', '', '', -0.5, '')"""
NULLS = "INSERT INTO things (id) VALUES (%s)"


@pytest.fixture(scope="module")
def server() -> Iterator[MariaServer]:
    with running_mariadb(BINLOG) as found:
        yield found


class Database:
    """A connection that runs statements."""

    def __init__(self, server: MariaServer, mode: str = "") -> None:
        arguments: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "user": "accord", "database": "accord"}
        self.connection = pymysql.connect(**arguments, charset="utf8mb4", autocommit=True)
        self.execute("SET time_zone = '+00:00'")
        self.execute(f"SET sql_mode = '{mode}'")

    def execute(self, text: str, values: Any = None) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall()


@pytest.fixture
def db(server: MariaServer) -> Iterator[Database]:
    """An empty table."""
    found = Database(server)
    found.execute("SET foreign_key_checks = 0")
    for name in ("things", "other", "parents"):
        found.execute(f"DROP TABLE IF EXISTS {name}")
    found.execute(TABLE)
    yield found
    found.connection.close()


def played(
    server: MariaServer,
    folder: Path,
    scene: Callable[[Stream], Coroutine[Any, Any, None]],
    changes: SqlChanges | None = None,
    names: tuple[str, ...] = ("things",),
    position: Any = None,
) -> Stream:
    stream = Stream(server.url, FIELDS, folder, changes or SqlChanges(), names)
    stream.position = position
    stream.play(scene)
    return stream


def test_values_are_those_a_read_gives(server: MariaServer, db: Database, tmp_path: Path) -> None:
    def fill() -> None:
        db.execute(ROW, (1,))
        db.execute(NULLS, (2,))
        db.execute(ODD, (3,))

    fill()

    async def scene(stream: Stream) -> None:
        frozen = [change.record for change in await stream.snapshot()]
        db.execute("DELETE FROM things")
        fill()
        streamed = await stream.read(6)
        kinds = [("delete", n) for n in (1, 2, 3)] + [("insert", n) for n in (1, 2, 3)]
        assert told(streamed) == kinds
        assert streamed[0].record["note"] == "z" * 70_000  # the whole row
        read = [record async for page in stream.connection.read(stream.entities[0]) for record in page.records]
        for change, record in zip(streamed[3:], read, strict=True):
            assert change.record == record
        assert frozen == read
        assert not any(change.malformed for change in streamed)

    played(server, tmp_path, scene)


def test_a_compressed_log_is_read_alike(server: MariaServer, db: Database, tmp_path: Path) -> None:
    async def scene(stream: Stream) -> None:
        await stream.snapshot()
        db.execute("SET GLOBAL log_bin_compress = ON")
        try:
            other = Database(server)
            other.execute(ROW, (1,))
            other.execute("UPDATE things SET name = 'new' WHERE id = 1")
            insert, update = await stream.read(2)
            other.execute("TRUNCATE TABLE things /* a statement long enough to be compressed: " + "x" * 300 + " */")
            assert (insert.record["note"], update.record["name"]) == ("z" * 70_000, "new")
            assert [str(change.kind) for change in await stream.read(1)] == ["truncate"]
            other.connection.close()
        finally:
            db.execute("SET GLOBAL log_bin_compress = OFF")

    played(server, tmp_path, scene)


def test_keys_change_and_rows_come_in_order(server: MariaServer, db: Database, tmp_path: Path) -> None:
    db.execute(ROW, (1,))

    async def scene(stream: Stream) -> None:
        await stream.snapshot()
        db.execute("UPDATE things SET name = 'new' WHERE id = 1")
        (update,) = await stream.read(1)
        assert update.old is not None
        assert (update.kind, update.record["name"], update.old["name"]) == ("update", "new", 'ä "\n')
        db.execute("UPDATE things SET id = 7 WHERE id = 1")
        gone, came = await stream.read(2)
        assert told([gone, came]) == [("delete", 1), ("insert", 7)]
        assert gone.event_id == came.event_id + "-"
        db.execute("BEGIN")
        db.execute("UPDATE things SET name = 'never seen' WHERE id = 7")
        db.execute("DELETE FROM things WHERE id = 7")
        db.execute("ROLLBACK")
        db.execute("BEGIN")
        db.execute("UPDATE things SET name = 'seen' WHERE id = 7")
        db.execute("DELETE FROM things WHERE id = 7")
        db.execute("COMMIT")
        # the address of the update cannot be read from the log, and the row is gone: its end is told
        assert told(await stream.read(1)) == [("delete", 7)]

    played(server, tmp_path, scene)


@pytest.mark.parametrize("by_gtid", [True, False])
def test_a_stream_goes_on_in_the_middle_of_a_transaction(
    server: MariaServer, db: Database, tmp_path: Path, by_gtid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without GTIDs as MySQL is read: by file and place, with a lock for the snapshot."""
    if not by_gtid:
        real = binlog_setup.server_of
        as_mysql = lambda c: binlog_setup.msgspec.structs.replace(real(c), is_mariadb=False)  # noqa: E731
        monkeypatch.setattr(binlog_setup, "server_of", as_mysql)

    async def begin(stream: Stream) -> None:
        await stream.snapshot()
        db.execute("INSERT INTO things (id) SELECT seq FROM seq_1_to_5000")
        first = await stream.read(1)
        assert 2_000 <= len(first) < 5_000
        assert stream.position["index"]
        assert ("gtid" in stream.position) is by_gtid

    async def go_on(stream: Stream) -> None:
        db.execute("INSERT INTO things (id) VALUES (5001)")
        count = len(first)
        rest = await stream.read(5_001 - count)
        assert told(rest) == [("insert", id) for id in range(count + 1, 5_002)]
        assert len({change.event_id for change in [*first, *rest]}) == 5_001

    first: list[Change] = []
    real_read = Stream.read

    async def kept(self: Stream, count: int) -> list[Change]:
        found = await real_read(self, count)
        if not first:
            first.extend(found)
        return found

    monkeypatch.setattr(Stream, "read", kept)
    position = played(server, tmp_path, begin).position
    played(server, tmp_path, go_on, position=position)


def test_tables_come_later_and_change_under_way(server: MariaServer, db: Database, tmp_path: Path) -> None:
    db.execute(NULLS, (1,))
    position = played(server, tmp_path, nothing).position
    db.execute("CREATE TABLE other (id bigint PRIMARY KEY)")
    db.execute("INSERT INTO other VALUES (5)")

    async def both(stream: Stream) -> None:
        first = await stream.read(1)
        assert [(c.entity, c.kind, c.record["id"]) for c in first] == [("erp.other", "snapshot", 5)]
        db.execute("INSERT INTO other VALUES (6)")
        db.execute("INSERT INTO things (id) VALUES (2)")
        assert [(c.entity, c.record["id"]) for c in await stream.read(3)] == [
            ("erp.other", 5),
            ("erp.other", 6),
            ("erp.things", 2),
        ]
        db.execute("ALTER TABLE things ADD COLUMN size varchar(20) FIRST")
        db.execute("INSERT INTO things (id, name, size) VALUES (3, 'three', 'x')")
        assert [c.record["name"] for c in await stream.read(1)] == ["three"]
        assert any("column size came" in notice for notice in stream.notices)
        assert any("ALTER TABLE" in notice for notice in stream.notices)
        db.execute("INSERT INTO other VALUES (7)")
        db.execute("TRUNCATE other")
        db.execute("DROP TABLE things")
        assert [(c.entity, str(c.kind)) for c in await stream.read(3)] == [
            ("erp.other", "insert"),
            ("erp.other", "truncate"),
            ("erp.things", "truncate"),
        ]

    played(server, tmp_path, both, names=("things", "other"), position=position)


def refused(
    server: Any,
    folder: Path,
    code: str,
    position: Any = None,
    names: tuple[str, ...] = ("things",),
    *,
    reads: bool = False,
) -> str:
    async def scene(stream: Stream) -> None:
        assert reads, "it was opened"
        while True:
            await stream.page()

    with pytest.raises(ReadFailed) as failed:
        played(server, folder, scene, position=position, names=names)
    outcome = failed.value.outcome
    assert isinstance(outcome, Reject)
    assert outcome.code == code
    return outcome.reason


def test_a_lost_log_stops_or_begins_again(server: MariaServer, db: Database, tmp_path: Path) -> None:
    position = played(server, tmp_path, nothing).position
    db.execute(NULLS, (1,))
    db.execute("FLUSH BINARY LOGS")
    db.execute(NULLS, (2,))
    db.execute("FLUSH BINARY LOGS")
    (last, *_), *_ = db.execute("SHOW MASTER STATUS")

    def is_purged() -> (
        bool
    ):  # not while a reader that has ended is not noticed, or the server needs a log for its own recovery
        db.execute(f"PURGE BINARY LOGS TO '{last}'")
        return bool(db.execute("SHOW BINARY LOGS")[0][0] == last)

    wait_until("the log is removed", is_purged)
    reason = refused(server, tmp_path, "connector.sql-binlog-lost", position, reads=True)
    assert "has removed" in reason
    assert "on_lost: snapshot" in reason

    async def again(stream: Stream) -> None:
        assert told(await stream.read(2)) == [("snapshot", 1), ("snapshot", 2)]
        assert any("deletes since" in notice for notice in stream.notices)
        db.execute(NULLS, (3,))
        assert told(await stream.read(1)) == [("insert", 3)]

    played(server, tmp_path, again, SqlChanges(on_lost="snapshot"), position=position)
    ahead = {**position, "gtid": "0-1-999999"}
    assert "not in the master's binlog" in refused(server, tmp_path, "connector.sql-binlog-lost", ahead, reads=True)


def test_what_a_session_hides_from_the_log_stops_the_stream(server: MariaServer, db: Database, tmp_path: Path) -> None:
    db.execute(NULLS, (1,))
    position = played(server, tmp_path, nothing).position
    session = Database(server)
    session.execute("SET binlog_row_image = 'MINIMAL'")
    session.execute("UPDATE things SET name = 'x' WHERE id = 1")
    assert "binlog_row_image" in refused(server, tmp_path, "connector.sql-binlog-lost", position, reads=True)
    position = played(server, tmp_path, nothing).position
    session.execute("SET binlog_format = 'STATEMENT'")
    session.execute("UPDATE things SET name = 'y' WHERE id = 1")
    assert "by a statement (UPDATE" in refused(server, tmp_path, "connector.sql-binlog-lost", position, reads=True)
    session.connection.close()

    async def renamed(stream: Stream) -> None:
        await stream.snapshot()
        db.execute("ALTER TABLE things RENAME COLUMN name TO title")
        db.execute("INSERT INTO things (id) VALUES (9)")
        with pytest.raises(ReadFailed, match="no column 'name'"):
            await stream.read(1)

    played(server, tmp_path, renamed)


def test_rows_that_foreign_keys_change_are_refused(server: MariaServer, db: Database, tmp_path: Path) -> None:
    db.execute("CREATE TABLE parents (id bigint PRIMARY KEY)")
    db.execute(
        "CREATE TABLE other (id bigint PRIMARY KEY, CONSTRAINT fk FOREIGN KEY (id) REFERENCES parents (id) ON DELETE CASCADE)"
    )
    assert "ON DELETE CASCADE" in refused(server, tmp_path, "connector.sql-cascade", names=("things", "other"))
    assert played(server, tmp_path, nothing, SqlChanges(cascades="accept"), ("other",)).position["tables"] == [
        "erp.other"
    ]


def test_settings_and_rights_that_are_missing_are_named(server: MariaServer, db: Database, tmp_path: Path) -> None:
    db.execute("SET GLOBAL binlog_row_metadata = 'NO_LOG'")
    db.execute("SET GLOBAL binlog_row_image = 'MINIMAL'")
    try:
        reason = refused(server, tmp_path, "connector.sql-binlog")
        assert "SET GLOBAL binlog_row_metadata = 'FULL'" in reason
        assert "SET GLOBAL binlog_row_image = 'FULL'" in reason
    finally:
        db.execute("SET GLOBAL binlog_row_metadata = 'FULL'")
        db.execute("SET GLOBAL binlog_row_image = 'FULL'")
    db.execute("CREATE USER IF NOT EXISTS clerk@'127.0.0.1'")
    db.execute("GRANT SELECT ON accord.* TO clerk@'127.0.0.1'")

    class Clerk:
        url = server.url.replace("accord@", "clerk@")

    assert "REPLICATION SLAVE" in refused(Clerk(), tmp_path, "connector.sql-replication", reads=True)


def test_how_far_behind_is_measured(server: MariaServer, db: Database, tmp_path: Path) -> None:
    async def scene(stream: Stream) -> None:
        await stream.snapshot()
        db.execute("INSERT INTO things (id, note) SELECT seq, repeat('n', 1000) FROM seq_1_to_3000")
        lag = await stream.stream.lag()
        assert lag.retained_bytes > 3_000_000
        await stream.read(3_000)
        assert not await stream.page()
        lag = await stream.stream.lag()
        assert (lag.retained_bytes, lag.behind_s) == (0, 0.0)
        (capture,) = await stream.connection.captures()  # type: ignore[attr-defined]
        assert capture.is_active
        assert capture.retained_bytes > 3_000_000

    played(server, tmp_path, scene)


def test_a_server_without_a_log_is_told_how_to_mend_it(mariadb: MariaServer, tmp_path: Path) -> None:
    with Database(mariadb).connection as connection:
        connection.cursor().execute("CREATE TABLE IF NOT EXISTS things (id bigint PRIMARY KEY)")
    assert "set log_bin" in refused(mariadb, tmp_path, "connector.sql-binlog")
