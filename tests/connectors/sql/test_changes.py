"""The stream of changes of a real PostgreSQL: values as a read gives them, keys that change, large values, lost slots, bounds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.connectors.sql.streams import Stream, nothing, told
from tests.servers import PostgresServer, running_postgres, wait_until

from accord.connectors.sql.spec import SqlChanges
from accord.record import Reject
from accord.record import types as t
from accord.sdk.connector import ReadFailed

FIELDS: dict[str, t.Type] = {
    "id": t.Integer(),
    "name": t.String(),
    "total": t.Decimal(),
    "ratio": t.Float(),
    "paid": t.Boolean(),
    "day": t.Date(),
    "at": t.DateTime(),
    "local_at": t.DateTime(),
    "took": t.Duration(),
    "extra": t.Json(),
    "code": t.String(),
    "raw": t.String(),
    "large": t.String(),
}
TABLE = """
CREATE TABLE things (id bigint PRIMARY KEY, name text, total numeric(12,3), ratio double precision, paid boolean, day date,
  at timestamptz, local_at timestamp, took interval, extra jsonb, code uuid, raw bytea, large text);
ALTER TABLE things ALTER large SET STORAGE EXTERNAL
"""
ROW = """
INSERT INTO things VALUES (%s, E'ä "\\n', 12.5, 0.1, true, '2024-02-29', '2024-02-29 23:59:59.000001+05', '2024-02-29 12:00',
  '1 day 2 hours', '{"a": 1.10, "b": [null]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\x00ff', repeat('z', 4000))
"""
NULLS = "INSERT INTO things (id) VALUES (%s)"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as found:
        yield found


@pytest.fixture
def db(server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """An empty table, without slot and publication."""
    with psycopg.connect(server.url, autocommit=True) as found:
        found.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        found.execute("DROP PUBLICATION IF EXISTS accord_erp")
        found.execute("DROP TABLE IF EXISTS things, other")
        found.execute(TABLE)
        yield found


def played(
    server: PostgresServer,
    folder: Path,
    scene: Callable[[Stream], Coroutine[Any, Any, None]],
    changes: SqlChanges | None = None,
    names: tuple[str, ...] = ("things",),
    position: Any = None,
) -> Stream:
    stream = Stream(server.url, FIELDS, folder, changes or SqlChanges(), names)
    stream.position = position
    try:
        stream.play(scene)
    finally:
        wait_ended(server)
    return stream


def wait_ended(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as db:
        active = "SELECT FROM pg_replication_slots WHERE active"
        wait_until("the server has seen the stream end", lambda: db.execute(active).rowcount == 0)


def test_values_are_those_a_read_gives(server: PostgresServer, db: psycopg.Connection[Any], tmp_path: Path) -> None:
    db.execute(ROW, (1,))
    db.execute(NULLS, (2,))

    async def scene(stream: Stream) -> None:
        frozen = [change.record for change in await stream.snapshot()]
        db.execute("DELETE FROM things")
        db.execute(ROW, (1,))
        db.execute(NULLS, (2,))
        streamed = await stream.read(4)
        assert told(streamed) == [("delete", 1), ("delete", 2), ("insert", 1), ("insert", 2)]
        assert streamed[0].record == {"id": 1}
        read = [record async for page in stream.connection.read(stream.entities[0]) for record in page.records]
        assert [change.record for change in streamed[2:]] == read == frozen
        assert not any(change.malformed for change in streamed)

    played(server, tmp_path, scene)


def test_keys_change_and_large_values_are_not_lost(
    server: PostgresServer, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    db.execute(ROW, (1,))

    async def scene(stream: Stream) -> None:
        await stream.snapshot()
        db.execute("UPDATE things SET name = 'new' WHERE id = 1")
        (update,) = await stream.read(1)
        assert (update.kind, update.record["name"], update.record["large"]) == ("update", "new", "z" * 4000)
        db.execute("UPDATE things SET id = 7 WHERE id = 1")
        gone, came = await stream.read(2)
        assert told([gone, came]) == [("delete", 1), ("insert", 7)]
        assert gone.event_id == came.event_id + "-"
        assert came.record["large"] == "z" * 4000
        with db.transaction():  # the row is gone before the update is read: only its end is told
            db.execute("UPDATE things SET name = 'never seen' WHERE id = 7")
            db.execute("DELETE FROM things WHERE id = 7")
        assert told(await stream.read(1)) == [("delete", 7)]
        db.execute("ALTER TABLE things REPLICA IDENTITY FULL")
        db.execute(ROW, (8,))
        db.execute("UPDATE things SET name = 'x' WHERE id = 8")
        _, update = await stream.read(2)
        assert update.old is not None
        assert (update.old["name"], update.record["large"]) == ('ä "\n', "z" * 4000)

    played(server, tmp_path, scene)


def test_a_stream_goes_on_in_the_middle_of_a_transaction(
    server: PostgresServer, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    async def begin(stream: Stream) -> None:
        await stream.snapshot()
        db.execute("INSERT INTO things (id) SELECT generate_series(1, 5000)")
        first = await stream.read(1)
        assert len(first) == 2000
        assert stream.position["index"] == 2000

    async def go_on(stream: Stream) -> None:
        db.execute("INSERT INTO things (id) VALUES (5001)")
        rest = await stream.read(3001)
        assert told(rest) == [("insert", id) for id in range(2001, 5002)]
        assert len({change.event_id for change in rest}) == 3001

    position = played(server, tmp_path, begin).position
    played(server, tmp_path, go_on, position=position)


def test_tables_that_come_later_are_read_first(
    server: PostgresServer, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    db.execute(NULLS, (1,))
    position = played(server, tmp_path, nothing).position
    db.execute("CREATE TABLE other (id bigint PRIMARY KEY) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE other_low PARTITION OF other FOR VALUES FROM (0) TO (100)")
    db.execute("INSERT INTO other VALUES (5)")

    async def both(stream: Stream) -> None:
        db.execute("ALTER TABLE things ADD COLUMN colour text")
        assert [(c.entity, c.kind, c.record["id"]) for c in await stream.snapshot()] == []
        first = await stream.read(1)
        assert [(c.entity, c.kind, c.record["id"]) for c in first] == [("erp.other", "snapshot", 5)]
        db.execute("INSERT INTO other VALUES (6)")
        db.execute("INSERT INTO things (id) VALUES (2)")
        assert [c.entity for c in await stream.read(2)] == ["erp.other", "erp.things"]
        db.execute("ALTER TABLE things ADD COLUMN size text")
        db.execute("INSERT INTO things (id) VALUES (3)")
        await stream.read(1)
        assert any("column size came" in notice for notice in stream.notices)
        db.execute("TRUNCATE other, things")
        emptied = await stream.read(2)
        assert {(c.entity, str(c.kind)) for c in emptied} == {("erp.other", "truncate"), ("erp.things", "truncate")}

    played(server, tmp_path, both, names=("things", "other"), position=position)


def refused(
    server: PostgresServer, folder: Path, code: str, position: Any = None, names: tuple[str, ...] = ("things",)
) -> str:
    async def never(stream: Stream) -> None:
        raise AssertionError("it was opened")

    with pytest.raises(ReadFailed) as failed:
        played(server, folder, never, position=position, names=names)
    outcome = failed.value.outcome
    assert isinstance(outcome, Reject)
    assert outcome.code == code
    return outcome.reason


def test_a_lost_slot_stops_or_begins_again(server: PostgresServer, db: psycopg.Connection[Any], tmp_path: Path) -> None:
    async def some(stream: Stream) -> None:
        await stream.snapshot()
        db.execute(NULLS, (1,))
        await stream.read(1)
        assert (await stream.connection.captures())[0].is_active  # type: ignore[attr-defined]

    older = dict(played(server, tmp_path, some).position)
    with psycopg.connect(server.url, autocommit=True) as other:
        other.execute(NULLS, (2,))
        other.execute("SELECT pg_replication_slot_advance('accord_erp', pg_current_wal_lsn())")
    assert "the journal is older" in refused(server, tmp_path, "connector.sql-slot-lost", older)
    db.execute("SELECT pg_drop_replication_slot('accord_erp')")
    assert "on_lost: snapshot" in refused(server, tmp_path, "connector.sql-slot-lost", older)

    async def again(stream: Stream) -> None:
        page = await stream.stream.next()
        assert told(page.changes) == [("snapshot", 1), ("snapshot", 2)]
        assert "deletes" in page.notices[0]
        lag = await stream.stream.lag()
        assert lag.retained_bytes_max == 1
        assert lag.may_drop

    played(server, tmp_path, again, SqlChanges(on_lost="snapshot", above_lag="snapshot", lag_max=1), position=older)


def test_a_table_whose_rows_cannot_be_told_apart_is_not_published(
    server: PostgresServer, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    db.execute("CREATE TABLE other (id bigint)")
    db.execute("INSERT INTO other VALUES (1)")
    assert "REPLICA IDENTITY FULL" in refused(server, tmp_path, "connector.sql-identity", names=("things", "other"))
    assert db.execute("UPDATE other SET id = 2").rowcount == 1  # its owner is not disturbed


def test_a_user_who_may_not_replicate_is_told_so(
    server: PostgresServer, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    db.execute("DROP ROLE IF EXISTS clerk")
    db.execute("CREATE ROLE clerk LOGIN")
    db.execute("GRANT ALL ON SCHEMA public TO clerk")
    db.execute("GRANT CREATE ON DATABASE postgres TO clerk")
    db.execute("ALTER TABLE things OWNER TO clerk")
    try:
        server_url = server.url.replace("accord@", "clerk@")

        class Clerk:
            url = server_url

        assert "REPLICATION" in refused(Clerk(), tmp_path, "connector.sql-replication")  # type: ignore[arg-type]
    finally:
        db.execute("DROP OWNED BY clerk CASCADE")
        db.execute("DROP ROLE clerk")


def test_a_server_without_logical_log_is_told_how_to_mend_it(tmp_path: Path) -> None:
    with running_postgres(wal_level="replica") as server:
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute(TABLE)
        assert "ALTER SYSTEM SET wal_level" in refused(server, tmp_path, "connector.sql-wal-level")
