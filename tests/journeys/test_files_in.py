"""Files that arrive: good and bad rows, files still being written, a kill in the middle of a large one, two flows for one file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from journeys.live import Live

SHARE = """
system: share
connector: files
settings: {folder: share, stable: 300ms}
entities:
  orders:
    pattern: in/orders*.csv
    key: id
    page_rows: 200
    fields: {id: integer, name: {type: string, personal: identity}, total: {type: decimal, min: 0}}
  notes:
    pattern: in/*.jsonl
    key: id
    fields: {id: integer, text: string?, more: string?}
  hints:
    pattern: in/*.txt
    format: csv
    header: false
    fields: {id: integer?, text: string?}
"""
BOOKS = """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  orders: {fields: {id: integer, name: string, total: decimal}}
  copies: {fields: {id: integer}}
  notes: {fields: {id: integer, text: string?}}
  hints: {fields: {id: integer?, text: string?}}
"""
FILES = {
    "systems/share.yaml": SHARE,
    "systems/books.yaml": BOOKS,
    "flows/orders.yaml": """
flow: orders
on: {files: share.orders, every: 100ms}
steps:
  - validate: share.orders
  - write: books.orders
    mode: create
    with: {id: id, name: name, total: total}
on_error: {first: 50ms, longest: 1s}
""",
    "flows/notes.yaml": """
flow: notes
on: {files: share.notes, every: 100ms}
steps:
  - write: books.notes
    mode: create
    with: {id: id, text: text}
""",
    "flows/hints.yaml": """
flow: hints
on: {files: share.hints, every: 100ms}
steps:
  - write: books.hints
    mode: create
    with: {id: id, text: text}
""",
}
COPIES = """
flow: copies
on: {files: share.orders, every: 1h}
steps:
  - write: books.copies
    mode: create
    with: {id: id}
"""
TABLES = """
CREATE TABLE orders (id INTEGER, name TEXT, total TEXT); CREATE TABLE copies (id INTEGER);
CREATE TABLE notes (id INTEGER, text TEXT); CREATE TABLE hints (id INTEGER, text TEXT)
"""


@pytest.fixture
def live(tmp_path: Path) -> Live:
    (tmp_path / "share/in").mkdir(parents=True)
    return Live(tmp_path, FILES, databases={"books.db": TABLES})


def test_good_rows_arrive_and_bad_ones_become_dead_letters_that_name_their_place(live: Live) -> None:
    share = live.folder / "share"
    (share / "in/orders-1.csv").write_text(
        'id,name,total\n1,Ada,12.30\n2,"Bo ""b""",1.5\nx,Cy,1\n4,Di\n5,Ed,-1\n6,"Fa\nte",0.10\n'
    )
    (share / "in/notes.jsonl").write_text('{"id":1,"text":"a"}\n{"id":2\n[3]\n{"id":4}\n')
    (share / "in/hints.txt").write_text("1,a\n2,b,c\n,\n")
    with live:
        live.wait(lambda: len(list((share / "processed").rglob("*.*"))) == 3, "all files are processed")
        counts = {name: live.wait_settled(name) for name in ("orders", "notes", "hints")}
        assert {name: (one["done"], one["dead"]) for name, one in counts.items()} == {
            "orders": (3, 3),
            "notes": (2, 2),
            "hints": (2, 1),
        }
        assert live.rows("books.db", "SELECT * FROM orders ORDER BY id") == [
            (1, "Ada", "12.30"),
            (2, 'Bo "b"', "1.5"),
            (6, "Fa\nte", "0.10"),
        ]
        assert live.rows("books.db", "SELECT * FROM hints ORDER BY id") == [(None, None), (1, "a")]
        letters = live.api("dead-letters?limit=100")
        assert {(one["flow"], one["origin"]) for one in letters} == {
            ("orders", "in/orders-1.csv row 3"),
            ("orders", "in/orders-1.csv row 4"),
            ("orders", "in/orders-1.csv row 5"),
            ("notes", "in/notes.jsonl row 2"),
            ("notes", "in/notes.jsonl row 3"),
            ("hints", "in/hints.txt row 2"),
        }
        by_origin = {one["origin"]: one for one in letters}
        assert "the row has 2 values, the header 3" in by_origin["in/orders-1.csv row 4"]["reason"]
        assert by_origin["in/orders-1.csv row 4"]["code"] == "connector.malformed"
        assert by_origin["in/orders-1.csv row 5"]["path"] == "total"
        assert "not JSON" in by_origin["in/notes.jsonl row 2"]["reason"]
        assert (
            "3" in by_origin["in/hints.txt row 2"]["reason"]
        )  # else three optional fields would let it pass as an empty record
        # mended, a row goes its way
        seq = by_origin["in/orders-1.csv row 4"]["seq"]
        live.api(f"dead-letters/{seq}/replay", "POST", json.dumps({"id": 4, "name": "Di", "total": "4.00"}).encode())
        live.wait_settled("orders")
        assert live.rows("books.db", "SELECT total FROM orders WHERE id = 4") == [("4.00",)]


def test_a_file_that_still_grows_is_left_until_it_is_whole(live: Live) -> None:
    path = live.folder / "share/in/orders-2.csv"
    with live, path.open("w") as file:
        file.write("id,name,total\n")
        for id in range(12):
            file.write(f"{id},Ada,1.00")
            file.flush()
            live.wait(lambda: live.request("GET", "/healthz")[0] == 200, "it lives")
            before = len(live.rows("books.db", "SELECT id FROM orders"))
            assert before == 0, "the file was read while it grew"
            # quicker than `stable`, over several looks at the folder
            _pause(0.1)
            file.write("\n")
            file.flush()
        file.close()
        live.wait(lambda: not path.exists(), "the file is processed")
        live.wait_settled("orders")
        found = live.rows("books.db", "SELECT id, count(*) FROM orders GROUP BY id ORDER BY id")
        assert found == [(id, 1) for id in range(12)]


def _pause(seconds: float) -> None:
    import time

    time.sleep(seconds)  # the pace of a slow writer, not a wait for anything


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_large_file_loses_and_doubles_no_row(live: Live) -> None:
    count = 20_000
    path = live.folder / "share/in/orders-big.csv"
    path.write_text("id,name,total\n" + "".join(f"{id},Ada {id},{id}.25\n" for id in range(count)))

    def written() -> int:
        return int(live.rows("books.db", "SELECT count(*) FROM orders")[0][0])

    with live:
        for part in (1, 2):
            live.wait(lambda part=part: written() > part * count // 4, f"part {part} is written", 60)  # type: ignore[misc]
            assert written() < count
            live.restart()
        live.wait(lambda: written() >= count, "all rows are written", 90)
        live.wait(lambda: not path.exists(), "the file is processed")
        assert live.wait_settled("orders")["done"] == count
        assert live.rows("books.db", "SELECT count(*), count(DISTINCT id), sum(id) FROM orders") == [
            (count, count, count * (count - 1) // 2)
        ]
        assert (live.folder / "share/processed/in/orders-big.csv").stat().st_size > 0
    assert live.run("journal", "verify").returncode == 0


def test_two_flows_that_take_the_same_files_each_get_every_row(live: Live) -> None:
    (live.folder / "flows/copies.yaml").write_text(COPIES)
    path = live.folder / "share/in/orders-3.csv"
    with live:
        path.write_text("id,name,total\n" + "".join(f"{id},Ada,1.00\n" for id in range(1000)))
        live.wait(lambda: not path.exists(), "the file is processed")
        for flow in ("orders", "copies"):
            assert live.wait_settled(flow)["done"] == 1000
            assert live.rows("books.db", f"SELECT count(DISTINCT id), count(*) FROM {flow}") == [(1000, 1000)]
