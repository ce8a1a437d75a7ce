"""An entity's table: names, types, statements. Pure.

Tables get no primary key: DuckDB keeps an index for one in memory and refuses to replace a row within one transaction. The key is
the entity's, kept by the statements here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from accord.connectors.duckdb.spec import DuckdbEntity
from accord.record import Entity
from accord.record import types as t

CONSTRAINTS = (
    "SELECT constraint_type, constraint_text, constraint_column_names FROM duckdb_constraints() "
    "WHERE table_name = ? AND schema_name = ? AND database_name = current_database() "
    "AND constraint_type IN ('NOT NULL', 'CHECK', 'FOREIGN KEY') AND referenced_table IS DISTINCT FROM table_name"
)
HISTORY = {"valid_from": "TIMESTAMPTZ", "valid_to": "TIMESTAMPTZ", "is_current": "BOOLEAN"}


def type_of(type_: t.Type) -> str:
    match type_:
        case t.Boolean():
            return "BOOLEAN"
        case t.Integer():
            return "BIGINT"
        case t.Decimal():
            return "DECIMAL(38,10)"
        case t.Float():
            return "DOUBLE"
        case t.Date():
            return "DATE"
        case t.DateTime():
            return "TIMESTAMPTZ"
        case t.Duration():
            return "INTERVAL"
        case t.List(item=item):
            return f"{type_of(item)}[]"
        case t.Object(fields=fields):
            inner = ", ".join(f"{quote(name)} {type_of(field.type)}" for name, field in fields.items())
            return f"STRUCT({inner})"
        case _:
            return "VARCHAR"


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Table:
    """``fields``: those written (all when empty). ``stage``: of one load."""

    def __init__(self, entity: Entity, fields: Sequence[str] = (), load_id: str = "") -> None:
        extra = entity.extra if isinstance(entity.extra, DuckdbEntity) else DuckdbEntity()
        place = (extra.table or entity.short_name).split(".")
        self.entity = entity
        self.schema = place[0] if len(place) > 1 else ""
        self.place = [place[-1], self.schema or "main"]  # name and schema
        self.name = ".".join(quote(part) for part in place)
        self.fields = [field for field in entity.fields if not fields or field in fields]
        self.columns = ", ".join(quote(field) for field in self.fields)
        self.others = [field for field in self.fields if field not in entity.key]
        digest = hashlib.blake2b(f"{load_id}/{entity.name}".encode(), digest_size=8).hexdigest()
        self.load_id = f"{load_id[:47]}/{digest}"
        self.stage = f"accord_stage_{digest}"

    def create(self, *, is_history: bool = False) -> list[str]:
        columns = {field: type_of(declared.type) for field, declared in self.entity.fields.items()}
        columns |= HISTORY if is_history else {}
        text = ", ".join(f"{quote(name)} {type_}" for name, type_ in columns.items())
        schema = [f"CREATE SCHEMA IF NOT EXISTS {quote(self.schema)}"] if self.schema else []
        return [*schema, f"CREATE TABLE IF NOT EXISTS {self.name} ({text})"]

    def describe(self, *, is_history: bool = False) -> str:
        """Names and types of the columns a stage has."""
        names = [*self.fields, *(HISTORY if is_history else ())]
        return f"DESCRIBE SELECT {', '.join(quote(name) for name in names)} FROM {self.name}"

    def create_stage(
        self, columns: Sequence[tuple[Any, ...]], constraints: Sequence[tuple[str, str, list[str]]]
    ) -> str:
        """Like the target, with what it asks of single rows, so that a row it refuses is known when its chunk is written. Nothing is unique
        here: keys come again in later chunks. ``columns``: rows of ``describe``; ``constraints``: of CONSTRAINTS."""
        names = {name.lower() for name, *_ in columns}
        within = [one for one in constraints if names.issuperset(name.lower() for name in one[2])]
        filled = {name.lower() for kind, _, (name, *_) in within if kind == "NOT NULL"}
        parts = [f"{quote(n)} {kind}{' NOT NULL' * (n.lower() in filled)}" for n, kind, *_ in columns]
        parts += [text for kind, text, _ in within if kind != "NOT NULL"]
        return f"CREATE TABLE IF NOT EXISTS {self.stage} ({', '.join(parts)})"

    def fill_stage_of_versions(self, source: str) -> str:
        """$1: when they begin."""
        return (
            f"INSERT INTO {self.stage} ({self.columns}, valid_from, valid_to, is_current) "
            f"SELECT {self.columns}, $1::TIMESTAMPTZ, NULL, true FROM {source}"
        )

    def same_key(self, a: str, b: str) -> str:
        return " AND ".join(f"{a}.{quote(key)} = {b}.{quote(key)}" for key in self.entity.key)

    def differs(self, a: str, b: str) -> str:
        each = [f"{a}.{quote(name)} IS DISTINCT FROM {b}.{quote(name)}" for name in self.others]
        return "(" + " OR ".join(each) + ")" if each else "false"

    def insert(self, target: str, source: str) -> str:
        return f"INSERT INTO {target} ({self.columns}) SELECT {self.columns} FROM {source}"

    def update(self, source: str) -> str:
        """Rows of the source that the table has with other values; the answer is their number."""
        sets = ", ".join(f"{quote(name)} = s.{quote(name)}" for name in self.others)
        return f"UPDATE {self.name} AS t SET {sets} FROM {source} s WHERE {self.same_key('t', 's')} AND {self.differs('t', 's')}"

    def insert_new(self, source: str) -> str:
        return f"INSERT INTO {self.name} ({self.columns}) SELECT {self.columns} FROM {source} s WHERE NOT {self._is_in(self.name)}"

    def delete_of(self, target: str, source: str) -> str:
        return f"DELETE FROM {target} AS t WHERE EXISTS (SELECT 1 FROM {source} s WHERE {self.same_key('t', 's')})"

    def _is_in(self, target: str) -> str:
        return f"EXISTS (SELECT 1 FROM {target} t WHERE {self.same_key('t', 's')})"

    def missing(self) -> str:
        return f"NOT EXISTS (SELECT 1 FROM {self.stage} s WHERE {self.same_key('t', 's')})"

    def close_versions(self) -> str:
        differs = f"EXISTS (SELECT 1 FROM {self.stage} s WHERE {self.same_key('t', 's')} AND {self.differs('t', 's')})"
        return f"UPDATE {self.name} AS t SET valid_to = $1::TIMESTAMPTZ, is_current = false WHERE t.is_current AND {differs}"

    def open_versions(self) -> str:
        return (
            f"INSERT INTO {self.name} ({self.columns}, valid_from, valid_to, is_current) "
            f"SELECT {self.columns}, $1::TIMESTAMPTZ, NULL, true FROM {self.stage} s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.name} t WHERE t.is_current AND {self.same_key('t', 's')})"
        )
