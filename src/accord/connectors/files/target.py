"""Records to files: one file per record (``name``), or lines added to one file (``append``). Formatting is pure."""

from __future__ import annotations

import csv
import io
import re
import string
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from accord.connectors.files.spec import FilesEntity
from accord.connectors.files.values import Converter
from accord.record import Reject
from accord.sdk.http import encode_json

_UNSAFE = re.compile(r"[^\w.@+-]", re.UNICODE)
NAME_LENGTH_MAX = 150


class Unwritable(Exception):
    """A record that does not fit the file; ``reject`` is its outcome."""

    def __init__(self, reason: str, path: str = "") -> None:
        self.reject = Reject(reason, path, "connector.files-value")
        super().__init__(reason)


def name_fields(template: str) -> list[str]:
    """The names in braces. Raises ValueError for a template that cannot be read."""
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def file_name(template: str, record: Mapping[str, Any], effect_id: str) -> str:
    """The name of a record's file; values are made safe, so they cannot lead into another folder. Raises Unwritable."""
    parts = {"effect_id": effect_id}
    for name in name_fields(template):
        if name == "effect_id":
            continue
        value = record.get(name)
        if value is None or str(value).strip(". ") == "":
            raise Unwritable("the file's name needs this field", name)
        text = value.isoformat() if hasattr(value, "isoformat") else str(value)
        if len(text) > NAME_LENGTH_MAX or _UNSAFE.search(text):
            raise Unwritable("the field names the file: letters, digits and . _ - @ + only, at most 150", name)
        parts[name] = text
    return template.format(**parts)


def content(form: str, record: Mapping[str, Any], extra: FilesEntity, converter: Converter, encoding: str) -> bytes:
    """A whole file with one record. Raises Unwritable."""
    if form == "json":
        return encode_json(_named(record, converter)) + b"\n"
    if form == "xml":
        return _xml(record, extra, converter)
    return first_line(form, extra, converter, encoding) + line(form, record, extra, converter, encoding)


def first_line(form: str, extra: FilesEntity, converter: Converter, encoding: str) -> bytes:
    if form != "csv" or not extra.header:
        return b""
    return _csv(list(converter.names.values()), extra).encode(encoding)


def line(form: str, record: Mapping[str, Any], extra: FilesEntity, converter: Converter, encoding: str) -> bytes:
    """One record as a line with its end. Raises Unwritable."""
    try:
        if form == "jsonl":
            return encode_json(_named(record, converter)) + b"\n"
        values = {field: converter.to_text(field, record.get(field)) for field in converter.fields}
        if form == "fixed":
            return (_fixed(values, extra) + "\n").encode(encoding)
        return _csv(list(values.values()), extra).encode(encoding)
    except UnicodeEncodeError:
        raise Unwritable(f"a value has characters that {encoding} does not have") from None
    except csv.Error as error:
        raise Unwritable(f"a value cannot be written as CSV: {error}") from None


def _named(record: Mapping[str, Any], converter: Converter) -> dict[str, Any]:
    named = {name: record[field] for field, name in converter.names.items() if field in record}
    plain: dict[str, Any] = msgspec.to_builtins(named, builtin_types=(Decimal,))
    return plain


def _csv(values: list[str], extra: FilesEntity) -> str:
    out = io.StringIO()
    options: dict[str, Any] = {"quotechar": extra.quote} if extra.quote else {"quoting": csv.QUOTE_NONE}
    csv.writer(out, delimiter=extra.delimiter, lineterminator="\n", **options).writerow(values)
    return out.getvalue()


def _fixed(values: Mapping[str, str], extra: FilesEntity) -> str:
    width = max(column.start - 1 + column.width for column in extra.columns.values())
    row = [" "] * width
    for field, column in extra.columns.items():
        text = values.get(field, "")
        if len(text) > column.width or "\n" in text or "\r" in text:
            raise Unwritable(f"the value does not fit the column's {column.width} characters", field)
        padded = text.rjust(column.width) if column.align == "right" else text.ljust(column.width)
        row[column.start - 1 : column.start - 1 + column.width] = padded
    return "".join(row)


def _xml(record: Mapping[str, Any], extra: FilesEntity, converter: Converter) -> bytes:
    names = [name for name in extra.record.split("/") if name] or ["records", "record"]
    root = ET.Element(names[0])
    element = root
    for name in names[1:]:
        element = ET.SubElement(element, name)
    for field, name in converter.names.items():
        if record.get(field) is not None:
            _add(element, name, record[field], field, converter)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def _add(element: ET.Element, name: str, value: Any, field: str, converter: Converter) -> None:
    if isinstance(value, list):
        for each in value:
            _add(element, name, each, field, converter)
        return
    if isinstance(value, dict):
        child = ET.SubElement(element, name)
        for key, each in value.items():
            if each is not None:
                _add(child, key, each, field, converter)
        return
    text = converter.to_text(field, value)
    if _NOT_XML.search(text):
        raise Unwritable("the value has control characters, which XML does not take", field)
    if name.startswith("@"):
        element.set(name[1:], text)
    else:
        ET.SubElement(element, name).text = text
