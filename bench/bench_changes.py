"""Changes captured from a database's log: how fast, and whether anything is lost when reader and database are killed.

    python bench/bench_changes.py rate [--rows 200000]
    python bench/bench_changes.py faults [--changes 1000000] [--kills 20] [--restarts 3] [--database mariadb]

``rate``: one transaction of so many inserts and one of as many updates; changes per second (wall and CPU of the reader) decoded to
records, and accepted into a journal. ``faults``: people change a table in four threads while the process that reads it into a journal is
killed (SIGKILL) and the database restarted; then the changes in the journal, played in their order, must give the table, none
twice, and the reader be at the log's end. Delivery to a target is left out: `tests/journeys/test_changes.py` has it, at a smaller size.
"""

from __future__ import annotations

import argparse
import atexit
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psycopg
import sqlalchemy as sa
import uvloop
from tests.journeys import captured_mariadb
from tests.journeys.captured import TABLES, People, files, retained_bytes
from tests.servers import BINLOG, MariaServer, PostgresServer, running_mariadb, running_postgres

from accord.connectors.sql.binlog_setup import bytes_after
from accord.engine.accept import Acceptor
from accord.engine.changes import ChangeReader
from accord.engine.clock import SystemClock
from accord.engine.delivery import Port
from accord.engine.gate import Gate
from accord.engine.scratch import scratch_connection
from accord.flow.trigger import ChangesTrigger
from accord.journal.encoding import decode_message
from accord.journal.group import Journal
from accord.journal.stores.sqlite import SqliteStore
from accord.observe import Observer
from accord.project import load_project
from accord.sdk.capture import ChangeKind
from accord.sdk.http import decode_json

JOURNAL = "journal.db"
WITHIN_S = 3_600.0


def make(folder: Path, url: str) -> None:
    for name, text in {"accord.yaml": "name: bench", **files(url)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def read(folder: Path) -> None:
    """The engine's reader and its journal, for ever."""
    project = load_project(folder)
    system, flow, clock, observer = project.systems["erp"], project.flows["copy"], SystemClock(), Observer()
    journal = Journal(SqliteStore(folder / JOURNAL))
    await journal.start()
    async with scratch_connection(system, folder) as connection:
        await connection.open()
        gate = Gate("erp", system.rate_limit, clock, observer)
        port = Port("erp", connection, gate, {e.name: e for e in system.entities.values()}, {})
        (trigger,) = [each for each in flow.triggers if isinstance(each, ChangesTrigger)]
        acceptor = Acceptor(project.flows, {}, journal, clock)
        await ChangeReader({trigger.entity: [(flow, trigger)]}, port, acceptor, journal, clock, observer).run()


async def decode(folder: Path, wanted: int) -> tuple[float, float]:
    """Seconds and CPU seconds to decode so many changes, from an existing slot."""
    system = load_project(folder).systems["erp"]
    async with scratch_connection(system, folder) as connection:
        await connection.open()
        stream: Any = connection.changes(list(system.entities.values()), position(folder))  # type: ignore[attr-defined]
        await stream.open()
        begun, begun_cpu, count = time.perf_counter(), time.process_time(), 0
        while count < wanted:
            page = await stream.next()
            count += len(page.changes) if page is not None else 0
        took = time.perf_counter() - begun, time.process_time() - begun_cpu
        await stream.close()
        return took


def position(folder: Path) -> Any:
    with closing(sqlite3.connect(folder / JOURNAL)) as db:
        found = db.execute("SELECT position FROM cursors WHERE name = 'changes:erp'").fetchone()
    return decode_json(found[0])


def rate(rows: int) -> None:
    with running_postgres() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, server.url)
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute(TABLES)
            reader = start(folder)
            wait(lambda: bool(slots(server)), "slot")
            reader.kill()
            reader.wait()
            db.execute(
                f"INSERT INTO orders SELECT i, 'name ' || i, i / 100.0, NULL FROM generate_series(1, {rows}) AS i"
            )
            db.execute("UPDATE orders SET total = total + 1")
        wall, cpu = uvloop.run(decode(folder, 2 * rows))
        print(f"decoded   {2 * rows / wall:>9,.0f} changes/s wall {2 * rows / cpu:>9,.0f} per CPU second")
        begun = time.perf_counter()
        reader = start(folder)
        wait(lambda: journaled(folder) >= 2 * rows, "journaled")
        wall, cpu = time.perf_counter() - begun, cpu_s(reader.pid)
        reader.kill()
        reader.wait()
        print(
            f"journaled {2 * rows / wall:>9,.0f} changes/s wall {2 * rows / cpu:>9,.0f} per CPU second (with its start)"
        )


class OnPostgres:
    """What the faults bench asks of a database."""

    running = staticmethod(running_postgres)
    people = People
    lag = "log kept"

    def lag_bytes(self, server: PostgresServer, folder: Path) -> int:
        """What the server keeps for the reader."""
        return retained_bytes(server)

    def make(self, server: PostgresServer) -> None:
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute(TABLES)
            db.execute("INSERT INTO orders SELECT i, 'old', i, NULL FROM generate_series(1, 50000) AS i")

    def readers(self, server: PostgresServer) -> int:
        return slots(server)

    def table(self, server: PostgresServer) -> dict[int, Any]:
        with psycopg.connect(server.url) as connection:
            return {row[0]: tuple(row[1:]) for row in connection.execute("SELECT id, name, total, note FROM orders")}


class OnMariaDB:
    """Its server keeps its log for nobody: how far the reader is behind is asked of the journal."""

    people = captured_mariadb.MariaPeople
    lag = "log not read"

    def running(self) -> Any:
        return running_mariadb(BINLOG)

    def lag_bytes(self, server: MariaServer, folder: Path) -> int:
        """What the server's log holds behind the position in the journal."""
        at = position(folder)
        engine = sa.create_engine(server.url.replace("mariadb:", "mariadb+pymysql:"), poolclass=sa.NullPool)
        with engine.connect() as connection:
            return bytes_after(connection, str(at["log"]), int(at["pos"]))

    def make(self, server: MariaServer) -> None:
        captured_mariadb.make(server, 50_000)

    def readers(self, server: MariaServer) -> int:
        with captured_mariadb.connected(server) as db:
            db.execute("SELECT count(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
            return int(db.fetchone()[0])

    def table(self, server: MariaServer) -> dict[int, Any]:
        with captured_mariadb.connected(server) as db:
            db.execute("SELECT id, name, total, note FROM orders")
            return {row[0]: tuple(row[1:]) for row in db.fetchall()}


def faults(on: Any, changes: int, kills: int, restarts: int) -> None:
    chance = random.Random(11)
    with on.running() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, server.url)
        on.make(server)
        people = [on.people(server, changes // 4, seed, rows_max=1_600, ids=40_000) for seed in range(4)]
        what = ["kill"] * kills + ["restart"] * restarts
        chance.shuffle(what)
        begun, most = time.monotonic(), 0
        reader = start(folder)
        wait(lambda: on.readers(server), "the stream has begun")  # what people did before it would be in the snapshot
        for one in people:
            one.start()
        for number, disturbance in enumerate(what, start=1):
            share = number / (len(what) + 1)
            wait(lambda share=share: sum(one.done for one in people) >= changes * share, "people work", people)  # type: ignore[misc]
            wait(lambda share=share: journaled(folder) >= changes * share * 0.8, "the reader keeps up")  # type: ignore[misc]
            most = max(most, on.lag_bytes(server, folder))
            if disturbance == "kill":
                reader.kill()
                reader.wait()
                reader = start(folder)
            else:
                server.stop()
                server.start()
        for one in people:
            one.join()
        wait(lambda: is_played(on.table(server), folder), "table and journal agree", people)
        took = time.monotonic() - begun
        wait(
            lambda: on.lag_bytes(server, folder) < 64 * 2**20, "the reader has read the log, and the server lets it go"
        )
        left = on.lag_bytes(server, folder)
        reader.kill()
        reader.wait()
        done, twice = sum(one.done for one in people), doubled(folder)
        print(
            json.dumps(
                {
                    "changes": done,
                    "journaled": journaled(folder),
                    "kills": kills,
                    "restarts": restarts,
                    "seconds": round(took, 1),
                    "table equals journal": is_played(on.table(server), folder),
                    "twice": twice,
                    f"{on.lag} at most (MiB)": round(most / 2**20, 1),
                    f"{on.lag} at the end (MiB)": round(left / 2**20, 1),
                }
            )
        )


def start(folder: Path) -> subprocess.Popen[bytes]:
    reader = subprocess.Popen([sys.executable, __file__, "read", "--folder", str(folder)])
    atexit.register(reader.kill)  # also when the bench ends early
    return reader


def journaled(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / JOURNAL}?mode=ro", uri=True, timeout=10)) as db:
            found = db.execute("SELECT max(seq) FROM messages").fetchone()
    except sqlite3.OperationalError:
        return 0  # not made yet
    return int(found[0] or 0)


def doubled(folder: Path) -> int:
    """Changes that stand twice in the journal."""
    seen: set[str] = set()
    twice = 0
    with closing(sqlite3.connect(folder / JOURNAL)) as db:
        for (raw,) in db.execute("SELECT message FROM contents"):
            id_ = decode_message(raw).event_id
            twice += id_ in seen
            seen.add(id_)
    return twice


def is_played(table: dict[int, Any], folder: Path) -> bool:
    """Whether the changes in the journal, played in order, give the table."""
    rows: dict[int, Any] = {}
    with closing(sqlite3.connect(f"file:{folder / JOURNAL}?mode=ro", uri=True, timeout=10)) as db:
        for (raw,) in db.execute("SELECT message FROM contents ORDER BY seq"):
            message = decode_message(raw)
            record = decode_json(message.body)
            if message.headers["accord-change"] == ChangeKind.DELETE:
                rows.pop(record["id"], None)
            else:
                rows[record["id"]] = (record["name"], record["total"], record["note"])
    return rows == table


def slots(server: PostgresServer) -> int:
    with psycopg.connect(server.url) as db:
        found = db.execute("SELECT count(*) FROM pg_replication_slots WHERE active").fetchone()
    return int(found[0]) if found else 0


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def wait(holds: Any, what: str, people: Sequence[People] = ()) -> None:
    end = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not in time")
        if failures := [one.failure for one in people if one.failure]:
            raise SystemExit(f"{what}: {failures}")
        time.sleep(0.25)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["rate", "faults", "read"])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--changes", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--database", choices=["postgresql", "mariadb"], default="postgresql")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    match options.what:
        case "rate":
            rate(options.rows)
        case "faults":
            faults(
                OnMariaDB() if options.database == "mariadb" else OnPostgres(),
                options.changes,
                options.kills,
                options.restarts,
            )
        case "read":
            uvloop.run(read(options.folder))


if __name__ == "__main__":
    main()
