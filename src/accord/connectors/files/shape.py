"""The columns of files: a CSV's header, a Parquet file's schema, the keys of the first records of JSON Lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import msgspec

from accord.connectors.files.folder import Arrived
from accord.connectors.files.packed import is_packed
from accord.connectors.files.rows import CsvReader, Mark, Unreadable, texts
from accord.connectors.files.source import extra_of, opened
from accord.connectors.files.spec import FilesSettings
from accord.connectors.files.values import Converter
from accord.record import Entity
from accord.sdk.http import decode_json
from accord.sdk.shape import Shape

SAMPLE_ROWS = 100  # records of JSON Lines whose keys are looked at


def shapes(entity: Entity, settings: FilesSettings, files: list[Arrived]) -> Iterator[Shape]:
    """Of the files that have columns. One that cannot be read is left to the reader, which says why. Packed ones are not looked into."""
    extra = extra_of(entity)
    converter = Converter(entity.fields, extra, ZoneInfo(settings.zone))
    fields = {column: field for field, column in converter.names.items()}
    encoding = extra.encoding or settings.encoding
    for file in files:
        form = extra.format_of(file.name)
        if is_packed(file.name) or form not in ("csv", "jsonl", "parquet") or (form == "csv" and not extra.header):
            continue
        try:
            columns = _columns(file, form, encoding, CsvReader(extra, converter, encoding, settings.record_size_max))
        except Unreadable:
            continue
        if not columns:
            continue  # an empty file
        named = {fields.get(column, column): type_ for column, type_ in columns.items()}
        named |= dict.fromkeys(extra.partition, "")  # they stand in the names of folders
        yield Shape(place=file.name, columns=named, is_whole=form != "jsonl")


def _columns(file: Arrived, form: str, encoding: str, csv: CsvReader) -> dict[str, str]:
    """Raises Unreadable."""
    if form == "parquet":
        import polars as pl

        try:
            return {name: str(dtype) for name, dtype in pl.read_parquet_schema(file.path).items()}
        except pl.exceptions.PolarsError as error:
            raise Unreadable(str(error)) from None
    with opened(file.path, encoding) as (stream, encoding):
        if form == "csv":
            csv.encoding = encoding
            return dict.fromkeys(csv.names(stream)[0], "")
        found: dict[str, str] = {}
        for text, _, _ in itertools.islice(texts(stream, Mark(), encoding, csv.size_max), SAMPLE_ROWS):
            _add_keys(found, text)
        return found


def _add_keys(found: dict[str, str], text: str) -> None:
    """The first type that is not null counts; of whole numbers and others, number."""
    try:
        record = decode_json(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return
    if not isinstance(record, dict):
        return
    for name, value in record.items():
        kind = _kind(value)
        if not found.get(name) or (found[name], kind) == ("integer", "number"):
            found[name] = kind


def _kind(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "number"
