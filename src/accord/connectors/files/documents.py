"""Formats that are one document: JSON (a list of records), XML, Excel. Read as a stream, resumed by record number.

JSON arrays are cut into their elements by a scan of brackets and strings, so memory is one element. XML is parsed element by
element through defusedxml (entities and document types are refused); elements already read are dropped from the tree.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any, BinaryIO

import defusedxml
import defusedxml.ElementTree
import msgspec

from accord.connectors.files.rows import Mark, Row, Unreadable, json_row, malformed, renamed
from accord.connectors.files.spec import FilesEntity
from accord.connectors.files.values import Converter
from accord.record import types as t
from accord.sdk.http import decode_json

WHOLE_SIZE_MAX = 64 * 1024 * 1024  # what is loaded at once: JSON with a `record` path, spreadsheets other than xlsx
ELEMENTS_PER_RECORD_MAX = 200_000
_CHUNK = 64 * 1024
_STRUCTURE = re.compile(rb'["\\\[\]{},]')


class JsonReader:
    """A JSON document: a list of objects, or an object that holds the list at ``record``, or one object."""

    def __init__(self, extra: FilesEntity, converter: Converter, encoding: str, size_max: int) -> None:
        self.extra, self.converter, self.size_max = extra, converter, size_max

    def rows(self, file: BinaryIO, mark: Mark) -> Iterator[Row]:
        file.seek(0)
        start = file.read(_CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip()
        if not start:
            return
        if not start.startswith(b"[") or self.extra.record:
            yield from self._whole(file, mark)
            return
        number = 0
        for raw in elements(file, self.size_max):
            number += 1
            if number <= mark.number:
                continue
            if raw is None:
                yield malformed("", number, 0, f"the element is longer than {self.size_max} bytes")
            else:
                yield json_row(self.converter, raw.decode("utf-8", "backslashreplace"), number, 0)

    def _whole(self, file: BinaryIO, mark: Mark) -> Iterator[Row]:
        file.seek(0)
        raw = file.read(WHOLE_SIZE_MAX + 1)
        if len(raw) > WHOLE_SIZE_MAX:
            raise Unreadable(
                f"a JSON document that is no list is read up to {WHOLE_SIZE_MAX} bytes; use a list or JSON Lines"
            )
        try:
            value = decode_json(raw.removeprefix(b"\xef\xbb\xbf"))
        except msgspec.DecodeError as error:
            raise Unreadable(f"the file is not JSON: {error}") from None
        for name in self.extra.record.split(".") if self.extra.record else ():
            if not isinstance(value, dict) or name not in value:
                raise Unreadable(f"the document has no '{self.extra.record}'")
            value = value[name]
        for number, each in enumerate(value if isinstance(value, list) else [value], 1):
            if number <= mark.number:
                continue
            if isinstance(each, dict):
                yield Row(renamed(self.converter, each), number, 0)
            else:
                yield malformed(msgspec.json.encode(each).decode(), number, 0, "the element is no object")


def elements(file: BinaryIO, size_max: int) -> Iterator[bytes | None]:
    """The elements of the file's top-level list; None for one longer than ``size_max``. Raises Unreadable at a broken end."""
    file.seek(0)
    depth, in_text, is_escaped = 0, False, False
    current, is_long = bytearray(), False
    while chunk := file.read(_CHUNK):
        begin = 0
        at = 0
        while at < len(chunk):
            if is_escaped:
                is_escaped, at = False, at + 1
                continue
            found = _STRUCTURE.search(chunk, at)
            if found is None:
                break
            at = found.end()
            byte = found.group()
            if in_text:
                is_escaped, in_text = byte == b"\\", byte != b'"'
                continue
            if byte == b'"':
                in_text = True
            elif byte in b"[{":
                depth += 1
                if depth == 1:
                    begin = at
            elif byte in b"]}" or depth == 1:
                ends = byte in b"]}"
                if not ends or depth == 1:
                    current += chunk[begin : at - 1]
                    begin = at
                    if is_long or current.strip():
                        yield None if is_long else bytes(current)
                    elif not ends:
                        yield b""
                    current, is_long = bytearray(), False
                depth -= ends
                if depth == 0:
                    if (chunk[at:] + file.read(_CHUNK)).strip():
                        raise Unreadable("something follows the end of the JSON list")
                    return
        current += chunk[begin:]
        if len(current) > size_max:
            current, is_long = bytearray(), True
    raise Unreadable("the JSON list ends in the middle of a record")


class XmlReader:
    """Records at ``record`` (``orders/order``; default: the children of the root). Fields are child elements or attributes."""

    def __init__(self, extra: FilesEntity, converter: Converter, encoding: str, size_max: int) -> None:
        self.path = [name for name in extra.record.split("/") if name]
        self.converter = converter

    def rows(self, file: BinaryIO, mark: Mark) -> Iterator[Row]:
        file.seek(0)
        number = 0
        try:
            for element in self._records(file):
                number += 1
                if number > mark.number:
                    yield Row(self._record(element), number, 0)
        except (ET.ParseError, defusedxml.DefusedXmlException, ValueError) as error:
            raise Unreadable(f"the XML cannot be read after record {number}: {type(error).__name__} {error}") from None

    def _records(self, file: BinaryIO) -> Iterator[ET.Element]:
        stack: list[ET.Element] = []
        inside, count = 0, 0
        events = defusedxml.ElementTree.iterparse(file, events=("start", "end"), forbid_dtd=True)
        for event, element in events:
            if event == "start":
                stack.append(element)
                count += 1
                if not inside and self._is_record(stack):
                    inside, count = len(stack), 0
                if count > ELEMENTS_PER_RECORD_MAX and inside:
                    raise ValueError(f"a record has more than {ELEMENTS_PER_RECORD_MAX} elements")
                continue
            if inside == len(stack):
                yield element
                inside = 0
            stack.pop()
            if stack and not inside:
                stack[-1].remove(element)
                element.clear()

    def _is_record(self, stack: list[ET.Element]) -> bool:
        if not self.path:
            return len(stack) == 2
        return len(stack) == len(self.path) and all(
            local(element.tag) == name for element, name in zip(stack, self.path, strict=True)
        )

    def _record(self, element: ET.Element) -> dict[str, Any]:
        record = {}
        for field, name in self.converter.names.items():
            declared = self.converter.fields[field].type
            if isinstance(declared, t.List | t.Object):
                value = _structure(element, name, declared, self.converter)
                if value is not None:
                    record[field] = value
                continue
            text = _text(element, name)
            if text is not None:
                record[field] = self.converter.of_text(field, text)
        return record


def local(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]


def _children(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element if local(child.tag) == name]


def _text(element: ET.Element, name: str) -> str | None:
    if name.startswith("@"):
        return element.get(name[1:])
    found = _children(element, name)
    if found:
        return "".join(found[0].itertext())
    return element.get(name)


def _structure(element: ET.Element, name: str, declared: t.Type, converter: Converter) -> Any:
    found = _children(element, name)
    if isinstance(declared, t.List):
        if len(found) == 1 and len(found[0]) and not _looks_like(found[0], declared.item):
            found = list(found[0])  # <lines><line>…</line><line>…</line></lines>
        return [_value(child, declared.item, converter) for child in found]
    return _value(found[0], declared, converter) if found else None


def _looks_like(element: ET.Element, item: t.Type) -> bool:
    return isinstance(item, t.Object) and any(local(child.tag) in item.fields for child in element)


def _value(element: ET.Element, declared: t.Type, converter: Converter) -> Any:
    if not isinstance(declared, t.Object):
        alone = Converter({"it": t.Field(type=declared)}, converter.extra, converter.zone)
        return alone.of_text("it", "".join(element.itertext()))
    inner = Converter(declared.fields, converter.extra, converter.zone)
    record = {}
    for field, each in declared.fields.items():
        if isinstance(each.type, t.List | t.Object):
            value = _structure(element, field, each.type, converter)
            if value is not None:
                record[field] = value
        elif (text := _text(element, field)) is not None:
            record[field] = inner.of_text(field, text)
    return record


class ExcelReader:
    """A sheet's rows; the first names the columns. xlsx is streamed by openpyxl, other spreadsheets loaded by calamine."""

    def __init__(self, extra: FilesEntity, converter: Converter, encoding: str, size_max: int) -> None:
        self.extra, self.converter = extra, converter

    def rows(self, file: BinaryIO, mark: Mark) -> Iterator[Row]:
        cells = self._cells(file)
        fields = list(self.converter.fields)
        if self.extra.header:
            by_name = {name: field for field, name in self.converter.names.items()}
            fields = [by_name.get(str(cell or "").strip(), "") for cell in next(cells, ())]
        number = 0
        for row in cells:
            if all(cell is None or cell == "" for cell in row):
                continue
            number += 1
            if number > mark.number:
                pairs = zip(fields, row, strict=False)
                record = {field: self.converter.of_cell(field, cell) for field, cell in pairs if field}
                yield Row(record, number, 0)

    def _cells(self, file: BinaryIO) -> Iterator[tuple[Any, ...]]:
        file.seek(0)
        is_zip = file.read(2) == b"PK"
        file.seek(0)
        try:
            if is_zip and not _is_open_document(file):
                yield from self._streamed(file)
            else:
                yield from self._loaded(file)
        except ImportError as error:
            mend = "pip install 'accord-integration[excel]'"
            raise Unreadable(f"spreadsheets need the package {error.name}: {mend}") from None
        except Unreadable:
            raise
        except Exception as error:  # noqa: BLE001 - both libraries raise whatever a broken file makes them stumble over
            raise Unreadable(f"the spreadsheet cannot be read: {type(error).__name__}") from None

    def _streamed(self, file: BinaryIO) -> Iterator[tuple[Any, ...]]:
        import openpyxl

        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        try:
            if self.extra.sheet and self.extra.sheet not in book.sheetnames:
                raise Unreadable(f"there is no sheet '{self.extra.sheet}'")
            sheet = book[self.extra.sheet] if self.extra.sheet else book.worksheets[0]
            yield from sheet.iter_rows(values_only=True)
        finally:
            book.close()

    def _loaded(self, file: BinaryIO) -> Iterator[tuple[Any, ...]]:
        import python_calamine

        file.seek(0, 2)
        if file.tell() > WHOLE_SIZE_MAX:
            raise Unreadable(
                f"spreadsheets other than xlsx are read up to {WHOLE_SIZE_MAX} bytes; save it as xlsx or CSV"
            )
        file.seek(0)
        book = python_calamine.CalamineWorkbook.from_filelike(file)
        if self.extra.sheet and self.extra.sheet not in book.sheet_names:
            raise Unreadable(f"there is no sheet '{self.extra.sheet}'")
        name = self.extra.sheet or book.sheet_names[0]
        for row in book.get_sheet_by_name(name).iter_rows():
            yield tuple(row)


def _is_open_document(file: BinaryIO) -> bool:
    """ODS begins with an uncompressed member called mimetype (OpenDocument 1.3 part 2, 3.3)."""
    start = file.read(60)
    file.seek(0)
    return b"mimetype" in start
