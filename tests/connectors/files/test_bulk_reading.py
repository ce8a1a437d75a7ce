"""Batches of columns hold what the reader of rows gives: the same values in the same order, or the same record as an odd row."""

from __future__ import annotations

import asyncio
import bz2
import datetime as dt
import gzip
import lzma
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.connectors.files.share import ORDER_FIELDS, Share, pages_of, share

from accord.record import types as t
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.frames import Framer
from accord.sdk.http import decode_json, encode_json

FIELDS = {
    **ORDER_FIELDS,
    "amount": "float?",
    "state": {"enum": ["new", "paid"], "nullable": True},
    "more": "json?",
}


def in_bulk(
    files: Share, declared: dict[str, Any], rows: int = 50_000, position: Any = None, **more: Any
) -> list[Batch]:
    async def scene() -> list[Batch]:
        async with files.open(**more) as connection:
            request = BulkRead(position=decode_json(encode_json(position)), rows=rows)
            return [batch async for batch in connection.read_bulk(files.entity(**declared), request)]

    return asyncio.run(scene())


def by_rows(files: Share, declared: dict[str, Any], **more: Any) -> list[tuple[str, dict[str, Any], str]]:
    """Place, record and reason of every row."""

    async def scene() -> list[tuple[str, dict[str, Any], str]]:
        async with files.open(**more) as connection:
            pages = await pages_of(connection, files.entity(**declared))
        return [
            (place, record, page.malformed.get(index, ""))
            for page in pages
            for index, (place, record) in enumerate(zip(page.places, page.records, strict=True))
        ]

    return asyncio.run(scene())


def flat(batches: list[Batch]) -> dict[str, Any]:
    """Each row by its place: typed values of the frame, or the odd row."""
    found: dict[str, Any] = {}
    for batch in batches:
        assert batch.numbers is not None
        assert batch.numbers.is_sorted() and len(batch.numbers) == batch.frame.height
        for number, row in zip(batch.numbers, batch.frame.iter_rows(named=True), strict=True):
            assert found.setdefault(f"{batch.origin} row {number}", row) is row
        for odd in batch.odd:
            assert found.setdefault(f"{batch.origin} row {odd.number}", odd) is odd
    return found


def same(files: Share, declared: dict[str, Any], rows: int = 50_000, **more: Any) -> tuple[int, int]:
    """Compares both readings; how many rows went in columns and how many beside them."""
    entity = files.entity(**declared)
    framer = Framer(entity.fields)
    texts_of_json = [name for name, field in entity.fields.items() if isinstance(field.type, t.Json)]
    batches = in_bulk(files, declared, rows, **more)
    columns = flat(batches)
    wanted = by_rows(files, declared, **more)
    assert list(columns.keys() - {place for place, _, _ in wanted}) == []
    odd_count = 0
    for place, record, reason in wanted:
        found = columns[place]
        if isinstance(found, dict):
            frame, misfits = framer.frame([record])
            assert not misfits and not reason, f"{place}: {record} {reason} was taken as {found}"
            expected = frame.row(0, named=True)
            for name in texts_of_json:
                assert (found[name] is None) == (expected[name] is None)
                assert found[name] is None or decode_json(found[name].encode()) == decode_json(expected[name].encode())
            assert {**expected, **dict.fromkeys(texts_of_json)} == {**found, **dict.fromkeys(texts_of_json)}, place
        else:
            odd_count += 1
            kept = "; the file is kept" in reason
            assert kept or (found.record, found.reason) == (record, reason), place
    assert [b.is_last for b in batches] == [False] * (len(batches) - 1) + [True]
    return len(wanted) - odd_count, odd_count


def test_typed_columns(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put("o.csv", "id,name,total,day,at,paid\n1,Åda,1234.50,2026-01-31,2026-01-31T09:00:00Z,true\n2,,,,,\n")
    (batch,) = in_bulk(files, {"pattern": "*.csv"})
    assert batch.frame.schema == {
        "id": pl.Int64(), "name": pl.String(), "total": pl.Decimal(38, 10), "day": pl.Date(),
        "at": pl.Datetime("us", "UTC"), "paid": pl.Boolean(),
    }  # fmt: skip
    assert batch.frame.rows() == [
        (1, "Åda", Decimal("1234.5"), dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC), True),
        (2, "", None, None, None, None),
    ]
    assert (batch.odd, batch.is_last, batch.origin) == ((), True, "o.csv")


CELLS = st.one_of(
    st.sampled_from(
        [
            "", "1", "-0", "+7", "007", "1e5", "1.50", ".5", "5.", "1,5", "1.234,56",
            "1 234", "12345678901234567890", "0.12345678901",
            "2026-01-31", "2026-02-30", "31.01.2026", "1.2.2026", "2026-01-31T09:00:00Z", "2026-01-31 09:00",
            "2026-01-31T09:00:00.123456+05:30",
            "2026-03-29T02:30:00", "2026-10-25 02:30:00", "2026-01-31T24:00:00", "2026-01-31T09:00:60Z", "0001-01-01T00:00:00+05:00",
            "true", "JA", "yes", "N", "-", "NULL", '"', '""', '"a"', '"a""b"', '"a\nb"', '"a', 'a"b', '"a"b', "a\rb", "\x00", "\x1f1",
            " 1 ", "\u00a01", "\ufeff", "new", "paid ", '{"a": 1.50}', "[1", "٣", "é", "x" * 70, '"1"', "NaN", "inf", "1_000", "1-01-01",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.lists(CELLS, min_size=7, max_size=10), max_size=12),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\n\n", "\r"]), min_size=1, max_size=3),
    german=st.booleans(),
    rows=st.integers(1, 5),
    bom=st.booleans(),
    size_max=st.sampled_from([90, 1_000_000]),
)
def test_random_csv_is_read_alike(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[list[str]],
    ends: list[str],
    german: bool,
    rows: int,
    bom: bool,
    size_max: int,
) -> None:
    files = share(tmp_path_factory.mktemp("csv"))
    separator = ";" if german else ","
    text = separator.join([*FIELDS]) + "\n"
    for at, cells in enumerate(lines):
        whole = cells[:9] if at % 3 else (cells + [""] * 9)[:9]
        text += separator.join(whole) + ends[at % len(ends)]
    files.put("o.csv", ("\ufeff" if bom else "") + text)
    declared: dict[str, Any] = {"pattern": "*.csv", "fields": FIELDS}
    if german:
        declared |= {
            "delimiter": ";", "decimal_comma": True, "dates": ["%d.%m.%Y"], "datetimes": ["%d.%m.%Y %H:%M"],
            "true": ["ja"], "false": ["nein"], "nulls": ["-", "NULL"],
        }  # fmt: skip
    same(files, declared, rows, zone="Europe/Berlin" if german else "UTC", record_size_max=size_max)


ORDER = {
    "id": "integer", "name": "string?", "total": "decimal?", "at": "datetime?", "more": "json?", "ok": "boolean?", "rate": "float?",
    "lines": {"list": {"sku": "string", "price": "decimal", "tags": {"list": "string"}}}, "to": {"object": {"city": "string?"}},
}  # fmt: skip
JSON_VALUES = st.sampled_from(
    [
        "null", "1", "-7", "1.50", "1e3", "12345678901234567890", "0.123456789012", "true", '"x"', '"\\u00e9\\n"', '"12.5"',
        '"2026-01-31T09:00:00Z"',
        '"2026-01-31T09:00:00.5+02:00"', '"2026-01-31 09:00"', "{}", "[]", '{"city": "Köln"}', '{"city": 1}',
        '[{"sku": "a", "price": 1.10}]',
        '[{"sku": "a", "price": 2, "tags": ["x", "y"]}, {"sku": "b", "price": "3.3", "tags": []}]',
        '[{"sku": 1}]', "[null]", '"\\ud800"', "01", "{", "NaN",
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from([*ORDER, "other"]), JSON_VALUES, max_size=9),
            st.sampled_from(["", " ", "\u00a0", "[1]", "x", '{"id": 1}\r', '\ufeff{"id": 3}', '{"id": 1, "id": 2}',
                '{"name": "' + "x" * 200 + '"}']),
        ),
        max_size=8,
    ),
    rows=st.integers(1, 5),
    bad_byte=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8", "latin-1"]),
)  # fmt: skip
def test_random_json_lines_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Any], rows: int, bad_byte: bool, encoding: str
) -> None:
    files = share(tmp_path_factory.mktemp("jsonl"))
    texts = [
        line if isinstance(line, str) else "{" + ", ".join(f'"{k}": {v}' for k, v in line.items()) + "}"
        for line in lines
    ]
    raw = "\n".join(texts).encode(encoding, "replace") + (
        b'\n{"id": 5, "name": "\xff"}\n{"id": 6}' if bad_byte else b""
    )
    files.put("o.jsonl", raw)
    same(files, {"pattern": "*.jsonl", "fields": ORDER, "encoding": encoding}, rows, record_size_max=150)


def test_json_lines_keep_nested_lists(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put(
        "o.jsonl",
        '{"id": 1, "total": 1234.50, "more": {"b": 1.50}, "lines": [{"sku": "a", "price": 0.1, "tags": ["x"]}], "to": {}}\n'
        '{"id": 2, "total": "12.5", "lines": []}\n{"id": 3, "lines": null}\n',
    )
    (batch,) = in_bulk(files, {"pattern": "*.jsonl", "fields": ORDER})
    assert batch.odd == ()
    assert batch.frame["total"].to_list() == [Decimal("1234.5"), Decimal("12.5"), None]
    assert batch.frame["more"].to_list() == ['{"b": 1.50}', None, None]
    assert batch.frame["lines"].to_list() == [[{"sku": "a", "price": Decimal("0.1"), "tags": ["x"]}], [], None]
    assert batch.frame["to"].to_list() == [{"city": None}, None, None]


def test_a_read_taken_up_anywhere_gives_the_same_batches(tmp_path: Path) -> None:
    files = share(tmp_path)
    for name in ("a", "b", "c"):
        rows = "".join(
            f'{i},"{name}{i}{chr(10) * (i % 7 == 0)}",{i}.50\n' + ("\n" if i % 5 == 0 else "") for i in range(40)
        )
        files.put(f"{name}.csv", "id,name,total\n" + rows + "x,bad,1\n")
    files.put("d.csv", "")
    files.put("e.jsonl", '{"id": 1, "name": "e"}\n')
    declared = {"pattern": "*.*"}
    whole = in_bulk(files, declared, 7)
    assert len({b.origin for b in whole}) == 5
    for at, batch in enumerate(whole[:-1]):
        rest = in_bulk(files, declared, 7, batch.position)
        assert [(b.origin, b.position, b.odd) for b in rest] == [(b.origin, b.position, b.odd) for b in whole[at + 1 :]]
        assert all(a.frame.equals(b.frame) for a, b in zip(rest, whole[at + 1 :], strict=True))
    (nothing,) = in_bulk(files, declared, 7, whole[-1].position)
    assert nothing.is_last and nothing.frame.height == 0 and not nothing.odd


def test_only_fields_asked_for_are_read(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put("o.csv", "id,name,total\n1,a,what\n")
    files.put("o.jsonl", '{"id": 2, "name": "b", "total": "what"}\n')

    async def scene() -> list[Batch]:
        async with files.open() as connection:
            request = BulkRead(fields=frozenset({"id", "name"}))
            return [b async for b in connection.read_bulk(files.entity(pattern="*.*"), request)]

    batches = asyncio.run(scene())
    assert [b.frame.rows() for b in batches] == [[(1, "a")], [(2, "b")]] and not any(b.odd for b in batches)


@pytest.mark.parametrize("form", ["xml", "fixed", "json", "excel"])
def test_other_formats_go_by_rows(tmp_path: Path, form: str) -> None:
    files = share(tmp_path)
    more: dict[str, Any] = {}
    if form == "xml":
        files.put(
            "o.xml",
            "<o>"
            + "".join(f"<r><id>{i}</id><name>n</name><total>{i}.5</total></r>" for i in range(9))
            + "<r><id>x</id></r></o>",
        )
    elif form == "fixed":
        files.put("o.txt", "".join(f"{i:3}Ada       1234.50\n" for i in range(9)) + "y  Bo\n")
        columns = {
            "id": {"start": 1, "width": 3},
            "name": {"start": 4, "width": 10},
            "total": {"start": 14, "width": 7},
        }
        more = {"format": "fixed", "columns": columns}
    elif form == "json":
        files.put("o.json", encode_json([{"id": i, "total": Decimal("1.5")} for i in range(9)] + [{"id": "x"}]))
    else:
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in (["id", "name", "total"], *([i, "n", 1.5] for i in range(9)), ["x", "n", None]):
            book.active.append(row)
        book.save(files.root / "o.xlsx")
        book.close()
    assert same(files, {"pattern": "o.*", **more}, 4) == (9, 1)


def test_a_file_that_breaks_says_so_and_the_next_is_read(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put("a.csv", "nmae\n1\n")
    files.put("b.csv", "id,name\n1,a\n")
    first, second = in_bulk(files, {"pattern": "*.csv"})
    assert "lacks the column" in first.odd[0].reason and first.frame.height == 0
    assert second.frame.height == 1 and second.is_last


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", "zst", "zip"])
def test_compressed_files(tmp_path: Path, packed: str) -> None:
    files = share(tmp_path)
    text = ("id,name\n" + "".join(f"{i},n\n" for i in range(30))).encode()
    target = files.root / f"o.csv.{packed}"
    if packed == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("o.csv", text)
    else:
        target.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma, "zst": zstd}[packed].compress(text))  # type: ignore[attr-defined]
    declared = {"pattern": "*.csv.*", "fields": {"id": "integer", "name": "string"}}
    assert same(files, declared, 7) == (30, 0)
    target.write_bytes(target.read_bytes()[:-9])
    (broken,) = in_bulk(files, declared)
    assert "cannot be unpacked" in broken.odd[0].reason


def test_parquet(tmp_path: Path) -> None:
    files = share(tmp_path)
    frame = pl.DataFrame(
        {
            "id": [1, 2], "name": ["Åda", None],
            "total": [Decimal("1.50"), None], "day": [dt.date(2026, 1, 31), None], "paid": [True, None],
            "at": [dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC), dt.datetime(2026, 1, 31, 9, 0, 0, 5, tzinfo=dt.UTC)], "other": [1.5, 2.5],
        }
    )  # fmt: skip
    frame.write_parquet(files.root / "o.parquet")
    assert same(files, {"pattern": "*.parquet"}, 1) == (2, 0)
    (batch,) = in_bulk(files, {"pattern": "*.parquet"})
    assert (
        batch.frame["total"].to_list() == [Decimal("1.5"), None]
        and batch.frame["at"].to_list() == frame["at"].to_list()
    )
    files.put("o.parquet", b"PAR1 this is none")
    (broken,) = in_bulk(files, {"pattern": "*.parquet"})
    assert "cannot be read" in broken.odd[0].reason


def test_rows_outside_of_what_is_asked_for_are_left_out(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put("o.csv", "id,name\n1,a\n2,b\n3,c\nx,d\n")

    async def scene() -> None:
        async with files.open() as connection:
            request = BulkRead(cursor="id", since=2, until=3)
            (batch,) = [b async for b in connection.read_bulk(files.entity(pattern="*.csv"), request)]
        assert batch.frame["id"].to_list() == [2] and batch.numbers is not None and batch.numbers.to_list() == [2]
        assert [odd.number for odd in batch.odd] == [4]

    asyncio.run(scene())
