"""Look-up tables kept as CSV files: ``{csv: data/countries.csv, key: code, value: name}``."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from accord.errors import Faults, Place, did_you_mean
from accord.settings.decode import decode
from accord.settings.node import Node, plain_scalar

FILE_SIZE_BYTES_MAX = 50_000_000


class CsvTable(msgspec.Struct, frozen=True, kw_only=True):
    """A CSV file with a header line, UTF-8."""

    csv: Annotated[str, Meta(min_length=1, description="The file, relative to the project's folder.")]
    key: Annotated[str, Meta(min_length=1, description="The column that is looked up.")]
    value: Annotated[str, Meta(min_length=1, description="The column that is found.")]
    type: Annotated[Literal["string", "number", "boolean"], Meta(description="What the values are.")] = "string"
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","


def read_lookup_files(node: Node, folder: Path, faults: Faults) -> Node:
    """The declared tables with every CSV table replaced by its rows ``{key: value}``; faulty ones are left out.

    Each row's place is its line of the CSV file. Tables written in place are handed on as they are.
    """
    if not node.is_map:
        return node
    tables: dict[str, Node] = {}
    for name, table in node.items():
        if table.get("csv") is None:
            tables[name] = table
            continue
        spec = decode(table, CsvTable, faults, what=f"look-up table '{name}'")
        rows = _rows(spec, table, folder, faults) if spec else None
        if rows is not None:
            tables[name] = rows
    return Node(dict(tables), node.place, node.key_places)


def _rows(spec: CsvTable, table: Node, folder: Path, faults: Faults) -> Node | None:
    place = table.place_of("csv")
    path = folder / spec.csv
    if not path.resolve().is_relative_to(folder.resolve()):
        faults.add("settings.lookup-file", place, f"'{spec.csv}' lies outside the project.", "Copy the file into it.")
        return None
    try:
        if path.stat().st_size > FILE_SIZE_BYTES_MAX:
            faults.add("settings.lookup-file", place, f"'{spec.csv}' is larger than {FILE_SIZE_BYTES_MAX} bytes.")
            return None
        text = path.read_text("utf-8-sig")
    except OSError as error:
        faults.add("settings.lookup-file", place, f"'{spec.csv}' cannot be read: {error.strerror}.")
        return None
    except UnicodeDecodeError:
        faults.add("settings.lookup-file", place, f"'{spec.csv}' is not UTF-8 text.", "Save it as UTF-8.")
        return None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=spec.delimiter, strict=True)
    try:
        return _read(reader, spec, table, faults)
    except csv.Error as error:
        where = Place(spec.csv, reader.line_num)
        faults.add("settings.lookup-file", where, f"This is not CSV: {error}.", "Check the quotes of this line.")
        return None


def _read(reader: csv.DictReader[str], spec: CsvTable, table: Node, faults: Faults) -> Node | None:
    good = True
    columns = list(reader.fieldnames or ())
    for key in ("key", "value"):
        column = getattr(spec, key)
        if column not in columns:
            good = False
            what = f"'{spec.csv}' has no column '{column}'."
            faults.add("settings.lookup-file", table.place_of(key), what, did_you_mean(column, columns))
    values: dict[str, Node] = {}
    places: dict[str, Place] = {}
    for row in reader if good else ():
        place = Place(spec.csv, reader.line_num)
        name, text = row[spec.key], row[spec.value]
        if not name or text is None:
            what = f"This line has no {spec.key if not name else spec.value}."
        elif name in values:
            what = f"The key '{name}' stands here a second time (first on line {places[name].line})."
        else:
            value = text if spec.type == "string" else plain_scalar(text)
            values[name], places[name] = Node(value, place), place
            is_typed = spec.type == "string" or (value is not None and not isinstance(value, str))
            if is_typed and isinstance(value, bool) == (spec.type == "boolean"):
                continue
            what = f"'{text}' is no {spec.type}."
        faults.add("settings.lookup-file", place, what)
        good = False
    return Node(dict(values), table.place, places) if good else None
