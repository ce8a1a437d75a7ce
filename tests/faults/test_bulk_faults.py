"""Sources and targets that fail under a load: it goes on by itself, or stops where `accord bulk resume` goes on, or a row becomes a reject;
nothing is lost or there twice, and the message says what to do."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.bulk_faults import APPENDS, PATIENT, SHOP, WAREHOUSE, Db, aside, reasons
from tests.servers import (
    PostgresServer,
    mariadb,
    postgres,
)
from tests.unit.engine.bulk.nightly import NIGHTLY, Ran, make, put_orders, rows_of, run

from accord.connectors.files.bulk_csv import CsvBlocks
from accord.sdk.http import HttpResponse, InboundRequest, encode_json
from accord.testing.http_server import Answer, serve

__all__ = ["aside", "mariadb", "postgres", "reasons"]  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load"), pytest.mark.timeout(150)]


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_rows_that_are_not_unique_or_too_long_become_rejects_that_say_so(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    db = Db(request.getfixturevalue(kind), "refused")
    db.do("CREATE TABLE log (number VARCHAR(10) UNIQUE, total DECIMAL(18,2))")
    make(tmp_path, APPENDS, **{"systems/warehouse.yaml": WAREHOUSE.format(url=db.url)})
    names = {5: "R4", 17: "R" * 11, 23: "R1"}
    put_orders(tmp_path, [(n, names.get(n, f"R{n}"), n) for n in range(1, 31)])
    ran = run(tmp_path)
    assert (ran.record.state, ran.counts, ran.record.differences()) == ("done", (30, 27, 3, 0), [])
    assert db.count("log") == 27
    told = {letter.key: letter.problems[0] for letter in ran.rejects}
    assert sorted(told, key=int) == ["5", "17", "23"]
    assert [told[key]["code"] for key in ("5", "17", "23")] == [
        "connector.sql-not-unique",
        "connector.sql-value",
        "connector.sql-not-unique",
    ]
    assert "same unique value" in str(told["5"])


def test_a_load_that_stops_for_its_rejects_keeps_the_chunks_that_were_on_their_way(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    db = Db(postgres, "stopped")
    db.do("CREATE TABLE log (number TEXT, total NUMERIC)")
    flow = APPENDS.replace("chunk: 10}", "chunk: 10}\nstop_after: 20%")
    make(tmp_path, flow, **{"systems/warehouse.yaml": WAREHOUSE.format(url=db.url)})
    put_orders(tmp_path, [(n, f"R{n}", -1 if n > 20 else n) for n in range(1, 31)])
    ran = run(tmp_path)
    assert (ran.record.state, ran.record.code) == ("failed", "engine.bulk-rejects")
    assert (ran.record.rows, ran.record.chunk, db.count("log")) == (20, 2, 20)
    put_orders(tmp_path, [(n, f"R{n}", n) for n in range(21, 31)])
    done = run(tmp_path)
    assert (done.record.state, done.counts, done.record.differences()) == ("done", (30, 30, 0, 0), [])
    assert db.count("log") == 30


API = """
system: shop
connector: http
settings: {{address: "{address}"}}
entities:
  orders:
    path: /orders
    list: data
    paging: {{type: page, size: 10}}
    key: id
    fields: {{id: integer, name: string, total: {{type: decimal, min: 0}}}}
"""


def test_an_api_resets_the_connection_in_the_middle_of_a_page(tmp_path: Path, reasons: list[str]) -> None:
    cut: list[int] = []

    async def answer(request: InboundRequest) -> Answer:
        page = int(dict(part.split("=") for part in request.query.split("&"))["page"])
        records = [{"id": n, "name": "x", "total": n} for n in range((page - 1) * 10 + 1, min(page * 10, 65) + 1)]
        body = encode_json({"data": records})
        if page in (2, 5) and page not in cut:
            cut.append(page)
            return (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body[:50]
            )
        return HttpResponse(status=200, headers={"content-type": "application/json"}, body=body)

    async def scene() -> Ran:
        async with serve(answer) as server:
            make(tmp_path, NIGHTLY + PATIENT, **{"systems/shop.yaml": API.format(address=server.address)})
            return await asyncio.to_thread(run, tmp_path)

    ran = asyncio.run(scene())
    assert (ran.record.state, ran.counts) == ("done", (65, 65, 0, 0))
    assert sorted(cut) == [2, 5]
    assert sorted(rows_of(tmp_path)) == sorted((f"R{n}", n) for n in range(1, 66))


FROM_FILES = """
flow: nightly
on: manual
read: {entity: share.orders, chunk: 50}
steps:
  - validate: share.orders
  - {write: warehouse.log, with: {number: text(id), total: total}, mode: append}
on_error: {attempts: 2, first: 10ms}
"""


def test_a_file_that_is_cut_off_while_it_is_read_stops_the_load_until_it_is_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, FROM_FILES)
    file = tmp_path / "share/in/a.csv"
    whole = "id,name,total\n" + "".join(f"{n},x,{n}\n" for n in range(1, 401))
    file.write_text(whole)
    before = file.stat()
    read, blocks = CsvBlocks.read, []

    def cut_off_after_three(self: CsvBlocks, *how: Any) -> Any:
        blocks.append(threading.get_ident())
        if len(blocks) == 4:
            with file.open("r+b") as other:
                other.truncate(file.stat().st_size * 2 // 3)
        return read(self, *how)

    monkeypatch.setattr(CsvBlocks, "read", cut_off_after_three)
    ran = run(tmp_path)
    assert ran.record.state == "failed"
    assert "shorter than it was" in ran.record.error and "--fresh" in ran.record.error
    loaded = len(rows_of(tmp_path, "log"))
    assert loaded == ran.record.rows < 400
    again = run(tmp_path)
    assert (again.record.state, again.record.rows) == ("failed", loaded)
    assert f"its first {loaded} rows are loaded" in again.record.error
    file.write_text(whole)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(tmp_path).counts == (400, 400, 0, 0)
    assert sorted(int(n) for n, _ in rows_of(tmp_path, "log")) == list(range(1, 401))
    assert not file.exists()


def test_a_row_committed_late_is_read_by_the_next_run(tmp_path: Path, postgres: PostgresServer) -> None:
    db = Db(postgres, "late")
    db.do("CREATE TABLE orders (id BIGINT PRIMARY KEY, name TEXT, total NUMERIC, changed_at TIMESTAMPTZ)")
    shop = SHOP.replace("min: 0}}}}}}", "min: 0}}, changed_at: datetime}}}}").format(url=db.url)
    flow = APPENDS.replace("chunk: 10", "cursor: changed_at, overlap: 5m, chunk: 10")
    make(tmp_path, flow, **{"systems/shop.yaml": shop})
    with psycopg.connect(db.url.replace("+psycopg", "")) as late:
        late.execute("INSERT INTO orders VALUES (1, 'late', 1, now() - interval '1 minute')")
        db.do("INSERT INTO orders VALUES (2, 'in time', 2, now())")
        assert run(tmp_path).counts == (1, 1, 0, 0)
    second = run(tmp_path)
    assert (second.record.passed, second.record.known) == (1, 1)
    assert rows_of(tmp_path, "log") == [("in time", 2), ("late", 1)]
