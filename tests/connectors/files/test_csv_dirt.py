"""Thirty and more kinds of dirt in a CSV: the right result of each, the same in columns and row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.connectors.files.share import share
from tests.connectors.files.test_bulk_reading import flat, in_bulk, same

FIELDS = {"id": "integer", "name": "string", "total": "decimal?", "day": "date?"}
HEAD = b"id,name,total,day\n"
Kind = tuple[bytes, dict[str, Any], list[Any]]


def odd(**record: Any) -> dict[str, Any]:
    return record


def unread(reason: str) -> str:
    return reason


# raw bytes, declaration, and per row: its first three typed values, an odd record's part, or why it cannot be read
DIRT: dict[str, Kind] = {
    "quoted delimiter": (HEAD + b'1,"a,b",1,\n', {}, [(1, "a,b", 1)]),
    "doubled quotes": (HEAD + b'1,"say ""hi""",1,\n', {}, [(1, 'say "hi"', 1)]),
    "line end in a value": (HEAD + b'1,"a\nb",1,\n2,c,,\n', {}, [odd(id=1, name="a\nb", total=1), (2, "c", None)]),
    "windows line end in a value": (HEAD + b'1,"a\r\nb",1,\r\n2,c,,\r\n', {}, [odd(id=1, name="a\nb"), (2, "c", None)]),
    "byte order mark": (b"\xef\xbb\xbf" + HEAD + b"1,a,1,\n", {}, [(1, "a", 1)]),
    "byte order mark in the middle": (HEAD + b"1,\xef\xbb\xbfa,1,\n", {}, [(1, "\ufeffa", 1)]),
    "byte order mark at the start of a row": (HEAD + b"\xef\xbb\xbf1,a,1,\n", {}, [odd(id="\ufeff1")]),
    "mixed line ends": (HEAD + b"1,a,1,\r\n2,b,2,\n3,c,3,\r\n", {}, [(1, "a", 1), (2, "b", 2), (3, "c", 3)]),
    "lone carriage return": (HEAD + b"1,a\rb,1,\n2,c,,\n", {}, [unread("quotes"), (2, "c", None)]),
    "no last line end": (HEAD + b"1,a,1,", {}, [(1, "a", 1)]),
    "wrong encoding": (HEAD + b"1,M\xfcller,1,\n2,b,,\n", {}, [unread("not utf-8"), (2, "b", None)]),
    "declared encoding": (HEAD + b"1,M\xfcller,1,\n", {"encoding": "cp1252"}, [(1, "Müller", 1)]),
    "utf-16": ((HEAD + "1,Ådä,1,\n".encode()).decode().encode("utf-16"), {"encoding": "utf-16"}, [(1, "Ådä", 1)]),
    "row too short": (HEAD + b"1,a\n2,b,,\n", {}, [unread("2 values"), (2, "b", None)]),
    "row too long": (HEAD + b"1,a,1,,x\n2,b,,\n", {}, [unread("5 values"), (2, "b", None)]),
    "short and long make up for each other": (HEAD + b"1,a\n2,b,,,,\n", {}, [unread("2 values"), unread("6 values")]),
    "nul": (HEAD + b"1,a\x00b,1,\n", {}, [odd(id=1, name="a\x00b")]),
    "other control character": (HEAD + b"1,a\x1f,1,\n", {}, [odd(id=1, name="a")]),
    "date that does not exist": (HEAD + b"1,a,1,2026-02-30\n", {}, [odd(id=1, day="2026-02-30")]),
    "date of another format": (HEAD + b"1,a,1,31/01/2026\n", {}, [odd(day="31/01/2026")]),
    "number with a comma": (HEAD + b'1,a,"1,5",\n', {}, [odd(total="1,5")]),
    "decimal comma": (b"id;name;total;day\n1;a;1.234,50;\n", {"delimiter": ";", "decimal_comma": True}, [(1, "a", 1234.5)]),
    "exponent": (HEAD + b"1,a,1e5,\n", {}, [odd(id=1, total=100_000)]),
    "exponent in a whole number": (HEAD + b"1e5,a,1,\n", {}, [odd(id="1e5")]),
    "leading zeros": (HEAD + b"007,0042,0.50,\n", {}, [(7, "0042", 0.5)]),
    "more digits than the column keeps": (HEAD + b"1,a,0.12345678901,\n", {}, [odd(id=1)]),
    "number beyond 64 bits": (HEAD + b"99999999999999999999,a,1,\n", {}, [odd(id=99999999999999999999)]),
    "spaces around values": (HEAD + b" 1 ,\ta ,\xc2\xa01.5 , \n", {}, [(1, "a", 1.5)]),
    "spaces kept": (HEAD + b"1, a ,1,\n", {"trim": False}, [(1, " a ", 1)]),
    "space before a quote": (HEAD + b'1, "a",1,\n', {}, [odd(name='"a"')]),
    "the same header twice": (b"id,name,name,total,day\n1,a,b,1,\n", {}, [(1, "b", 1)]),
    "spaces in the header": (b" id , name,total ,day\n1,a,1,\n", {}, [(1, "a", 1)]),
    "columns in another order": (b"day,total,name,id\n,1,a,1\n", {}, [(1, "a", 1)]),
    "optional column missing": (b"id,name\n1,a\n", {}, [(1, "a", None)]),
    "required column missing": (b"id,total\n1,1\n", {}, [unread("lacks the column 'name'")]),
    "column nobody declared": (b"id,extra,name,total,day\n1,x,a,1,\n", {}, [(1, "a", 1)]),
    "empty lines": (HEAD + b"\n1,a,1,\n\n\r\n2,b,2,\n\n", {}, [(1, "a", 1), (2, "b", 2)]),
    "line of spaces": (HEAD + b"   \n1,a,1,\n", {}, [unread("1 values"), (1, "a", 1)]),
    "very long cell": (HEAD + b"1," + b"x" * 3000 + b",1,\n2,b,,\n", {}, [unread("longer than 2000"), (2, "b", None)]),
    "quote that never closes": (HEAD + b'1,"a,1,\n2,b,2,\n', {}, [unread("never closed"), (2, "b", 2)]),
    "quote in the middle": (HEAD + b'1,5" pipe,1,\n', {}, [odd(name='5" pipe')]),
    "text after a closing quote": (HEAD + b'1,"a"b,1,\n2,c,,\n', {}, [unread("quotes"), (2, "c", None)]),
    "empty quotes": (HEAD + b'1,"","",""\n', {}, [(1, "", None)]),
    "words for nothing": (HEAD + b"1,a,NULL,n/a\n", {"nulls": ["NULL", "n/a"]}, [(1, "a", None)]),
    "not a number": (HEAD + b"1,a,NaN,\n2,b,inf,\n", {}, [odd(total="NaN"), odd(total="inf")]),
    "digits of another script": (HEAD + "٣,a,1,\n".encode(), {}, [odd(id="٣")]),
    "header only": (HEAD, {}, []),
    "nothing at all": (b"", {}, []),
}  # fmt: skip


@pytest.mark.parametrize("kind", DIRT)
def test_dirt(tmp_path: Path, kind: str) -> None:
    raw, declared, wanted = DIRT[kind]
    files = share(tmp_path)
    files.put("o.csv", raw)
    entity: dict[str, Any] = {"pattern": "*.csv", "fields": FIELDS, **declared}
    for rows in (1, 50_000):
        by_place = flat(in_bulk(files, entity, rows, record_size_max=2000))
        found = [by_place[place] for place in sorted(by_place, key=lambda place: int(place.rpartition(" ")[2]))]
        assert len(found) == len(wanted)
        for row, right in zip(found, wanted, strict=True):
            if isinstance(right, str):
                assert right in row.reason
            elif isinstance(right, dict):
                assert not row.reason and {name: row.record[name] for name in right} == right
            else:
                assert tuple(row[name] for name in ("id", "name", "total")) == right
    same(files, entity, 2, record_size_max=2000)
