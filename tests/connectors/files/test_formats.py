"""Each format gives the same typed records, keeps what does not convert, and reports what cannot be read."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from tests.connectors.files.share import ORDER_FIELDS, Share, pages_of, records, share

WANTED: list[dict[str, Any]] = [
    {
        "id": 1,
        "name": 'Ådä, "x"',
        "total": Decimal("1234.50"),
        "day": "2026-01-31",
        "at": "2026-01-31T09:00:00Z",
        "paid": True,
    },
    {"id": 2, "name": "two\nlines", "total": None, "day": None, "at": None, "paid": False},
]


def read(share_: Share, **declared: Any) -> list[dict[str, Any]]:
    async def scene() -> list[dict[str, Any]]:
        async with share_.open() as connection:
            return records(await pages_of(connection, share_.entity(**declared)))

    return asyncio.run(scene())


GERMAN = {
    "delimiter": ";",
    "decimal_comma": True,
    "dates": ["%d.%m.%Y"],
    "datetimes": ["%d.%m.%Y %H:%M"],
    "true": ["ja"],
    "false": ["nein"],
    "nulls": ["-"],
    "headers": {"name": "Name", "total": "Summe"},
}
CSV = 'id;Name;Summe;day;at;paid;other\r\n1;"Ådä, ""x""";1.234,50;31.01.2026;31.01.2026 09:00;Ja;x\r\n2;"two\nlines";-;;;nein;\r\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-32-le"])
def test_csv(tmp_path: Path, encoding: str) -> None:
    files = share(tmp_path)
    files.put("in/o.csv", CSV.encode(encoding))
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    assert read(files, pattern="in/*.csv", encoding=declared, **GERMAN) == WANTED


def test_json_lines_and_json(tmp_path: Path) -> None:
    files = share(tmp_path)
    rows = [
        '{"id": 1, "name": "\\u00c5d\\u00e4, \\"x\\"]", "total": 1234.50, "lines": [{"a": "]}"}]}',
        '{"id": 2, "name": "b\\\\"}',
    ]
    files.put("o.jsonl", "\n".join(rows) + "\n")
    files.put("o.json", "[" + ",\n ".join(rows) + "]\n")
    files.put("p.json", '{"data": {"orders": [' + ", ".join(rows) + "]}}")
    wanted = [{"id": 1, "name": 'Ådä, "x"]', "total": Decimal("1234.50")}, {"id": 2, "name": "b\\"}]
    assert read(files, pattern="*.jsonl") == wanted
    assert read(files, pattern="o.json") == wanted
    assert read(files, pattern="p.json", record="data.orders") == wanted


def test_a_json_list_cut_anywhere_keeps_its_whole_elements(tmp_path: Path) -> None:
    files = share(tmp_path)
    whole = '[{"id": 1, "name": "a"}, {"id": 2, "name": "}]{["}, {"id": 3, "name": "c"}]'
    for cut in range(1, len(whole)):
        files.put("o.json", whole[:cut])
        found = read(files, pattern="o.json")
        good = [r for r in found if "accord_raw" not in r]
        assert len(good) == sum(
            cut > whole.index(f'"id": {i}') + 12 and whole[:cut].count("},") >= i for i in (1, 2, 3)
        )
        assert "accord_reason" in found[-1], f"cut at {cut}: the broken end is told"


def test_xml_with_attributes_namespaces_lists_and_objects(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put(
        "o.xml",
        """<?xml version="1.0" encoding="ISO-8859-1"?><o:batch xmlns:o="urn:x"><o:head><o:n>9</o:n></o:head><o:orders>
        <o:order id="1"><o:name>Åda &amp; co</o:name><o:total>12.50</o:total><o:lines><o:line><o:sku>A</o:sku><o:price>1.10</o:price>
        </o:line><o:line><o:sku>B</o:sku><o:price>2</o:price></o:line></o:lines><o:to><o:city>Köln</o:city></o:to></o:order>
        <o:order id="2"><o:name>b</o:name><o:lines/></o:order></o:orders></o:batch>""".encode("latin-1"),
    )
    fields = {
        "id": "integer",
        "name": "string",
        "total": "decimal?",
        "lines": {"list": {"sku": "string", "price": "decimal"}},
        "to": {"type": "object", "nullable": True, "fields": {"city": "string"}},
    }
    try:
        found = read(files, pattern="*.xml", record="batch/orders/order", headers={"id": "@id"}, fields=fields)
    except AssertionError:
        fields["to"] = {"object": {"city": "string"}}
        found = read(files, pattern="*.xml", record="batch/orders/order", headers={"id": "@id"}, fields=fields)
    assert found[0] == {
        "id": 1,
        "name": "Åda & co",
        "total": Decimal("12.50"),
        "lines": [{"sku": "A", "price": Decimal("1.10")}, {"sku": "B", "price": Decimal(2)}],
        "to": {"city": "Köln"},
    }
    assert found[1]["id"] == 2 and len(found) == 2


def test_xml_bombs_are_refused(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put("o.xml", '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><o><r><id>&b;</id></r></o>')
    (found,) = read(files, pattern="*.xml")
    assert "DTDForbidden" in found["accord_reason"]


def test_fixed_width(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put("o.txt", "001Ada       1234.50\n002Bo\n003" + "x" * 40 + "\n004Cy       7\n")
    columns = {"id": {"start": 1, "width": 3}, "name": {"start": 4, "width": 10}, "total": {"start": 14, "width": 7}}
    found = read(files, pattern="*.txt", format="fixed", columns=columns)
    assert found[:2] == [{"id": 1, "name": "Ada", "total": Decimal("1234.50")}, {"id": 2, "name": "Bo", "total": None}]
    assert found[2]["accord_raw"] == "003" + "x" * 40
    assert found[3]["id"] == 4


def test_excel(tmp_path: Path) -> None:
    files = share(tmp_path)
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Orders")
    sheet.append(["id", "name", "total", "day", "at", "paid", "other"])
    sheet.append([1, 4711, 12.1, dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 9), True, "x"])
    sheet.append([None] * 7)
    sheet.append([2, "b", None, None, None, None, None])
    book.save(files.root / "o.xlsx")
    book.close()
    found = read(files, pattern="*.xlsx", sheet="Orders")
    assert found[0] == {
        "id": 1,
        "name": "4711",
        "total": Decimal("12.1"),
        "day": "2026-01-31",
        "at": "2026-01-31T09:00:00Z",
        "paid": True,
    }
    assert found[1]["id"] == 2 and len(found) == 2
    (broken,) = read(files, pattern="*.xlsx", sheet="Missing")
    assert "no sheet 'Missing'" in broken["accord_reason"]
    files.put("b.xlsx", b"PK this is no spreadsheet")
    assert any("accord_reason" in r for r in read(files, pattern="b.xlsx"))


def test_values_that_do_not_convert_stay_as_they_are(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put(
        "o.csv",
        "id,name,total,day,at,paid\nx1,,1.234.5,31/01/2026,soon,perhaps\n٣,a,1e3,2026-01-31,2026-01-31 10:00,YES\n",
    )
    first, second = read(files, pattern="*.csv")
    assert first == {"id": "x1", "name": "", "total": "1.234.5", "day": "31/01/2026", "at": "soon", "paid": "perhaps"}
    assert second == {
        "id": "٣",
        "name": "a",
        "total": Decimal("1E+3"),
        "day": "2026-01-31",
        "at": "2026-01-31T10:00:00Z",
        "paid": True,
    }


def test_malformed_rows_stop_nobody(tmp_path: Path) -> None:
    files = share(tmp_path)
    lines = [
        b"id,name",
        b"1,a",
        b"2,b,too many",
        b"3",
        b'4,"never closed',
        b"5,e",
        b"6,\xff\xfe",
        b'7,"a"b"',
        b"8," + b"x" * 3000,
        b'9,"good ""quoted"" one"',
        b'10,in"ner quote',
    ]
    files.put("o.csv", b"\n".join(lines))

    async def scene() -> None:
        async with files.open(record_size_max=2000) as connection:
            entity = files.entity(pattern="*.csv", fields={"id": "integer", "name": "string"}, page_rows=3)
            pages = await pages_of(connection, entity)
        found = records(pages)
        good = {r["id"]: r["name"] for r in found if "id" in r}
        assert good == {1: "a", 5: "e", 9: 'good "quoted" one', 10: 'in"ner quote'}
        raw = [r["accord_raw"] for r in found if "id" not in r]
        assert raw[:4] == ["2,b,too many", "3", '4,"never closed', "6,\\xff\\xfe"]
        assert len(raw) == 6 and raw[4] == '7,"a"b"' and raw[5].startswith("8,xxx")
        told = [(p.records[i]["accord_raw"], why) for p in pages for i, why in p.malformed.items()]
        assert [text for text, _ in told] == raw and all(why for _, why in told)

    asyncio.run(scene())


def test_a_missing_required_column_is_told_once(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put("o.csv", "id,nmae\n1,a\n2,b\n")
    (found,) = read(files, pattern="*.csv", fields={k: ORDER_FIELDS[k] for k in ("id", "name")})
    assert "lacks the column 'name'" in found["accord_reason"]
