"""CSV of bulk jobs: what was uploaded as values, what was found or came of each row as text. Pure.

Source: Salesforce, "Bulk API 2.0 and Bulk API Developer Guide": Prepare CSV Files (an empty value is left alone, ``#N/A`` is null, a header
``Account.Shop_Id__c`` finds a parent), Valid Date Format in Records, Get Results for a Query Job (every value is quoted).
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from accord.sandbox.crm.errors import Refused
from accord.sandbox.crm.objects import OBJECTS, FieldSpec, ObjectSpec
from accord.sandbox.crm.records import field_of

DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
LINE_ENDS = {"LF": "\n", "CRLF": "\r\n"}
NULL = "#N/A"


def read_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    yield from csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[delimiter], strict=True)


def write_rows(rows: Iterable[Sequence[str]], delimiter: str, line_end: str) -> str:
    out = io.StringIO(newline="")
    made = csv.writer(out, delimiter=DELIMITERS[delimiter], lineterminator=LINE_ENDS[line_end], quoting=csv.QUOTE_ALL)
    made.writerows(rows)
    return out.getvalue()


def check_header(spec: ObjectSpec, header: Sequence[str]) -> None:
    """Raises Refused for a column that is no field, or no relationship with a field."""
    for name in header:
        parent, _, field = name.partition(".")
        if field:
            known = next((f for n, f in spec.relationships().items() if n.lower() == parent.lower()), None)
            if known is None:
                raise Refused("InvalidBatch", f"Field name not found : {name}")
            field_of(OBJECTS[known.reference.lower()], field)
        elif not any(known.lower() == name.lower() for known in spec.fields):
            raise Refused("InvalidBatch", f"Field name not found : {name}")


def record_of(spec: ObjectSpec, header: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """Raises Refused."""
    record: dict[str, Any] = {}
    for name, text in zip(header, row, strict=True):
        if text == "":
            continue
        value = None if text == NULL else text
        parent, _, field = name.partition(".")
        if field:
            record[parent] = {field: value}
        elif value is None:
            record[name] = None
        else:
            record[name] = _value(field_of(spec, name), value)
    return record


def _value(field: FieldSpec, text: str) -> Any:
    if field.type != "boolean":
        return text
    known = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if known is None:
        raise Refused(
            "INVALID_TYPE_ON_FIELD_IN_RECORD", f"{field.name}: value not of required type: {text[:60]}", (field.name,)
        )
    return known


def refused_text(refused: Refused) -> str:
    """As ``sf__Error`` tells it: code, message, fields."""
    return f"{refused.code}:{refused.message}:{', '.join(refused.fields)} --"


def shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case str() if value.endswith("+0000") and len(value) == 28:
            return value.removesuffix("+0000") + "Z"
        case dt.date():
            return value.isoformat()
        case _:
            return str(value)


def found_row(row: dict[str, Any], columns: Sequence[str]) -> list[str]:
    """The values of a query's columns, those of parents under their path."""
    return [shown(_at(row, column.split("."))) for column in columns]


def _at(row: dict[str, Any], path: Sequence[str]) -> Any:
    at: Any = row
    for part in path:
        at = next((v for n, v in at.items() if n.lower() == part.lower()), None) if isinstance(at, dict) else None
    return at
