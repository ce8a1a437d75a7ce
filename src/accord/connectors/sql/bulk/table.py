"""A load's table as the statements need it: names, quoted; what is put into which column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from accord.connectors.sql.tables import Misfit, Plan
from accord.record import types as t
from accord.sdk.bulk import LoadMode, LoadSpec
from accord.sdk.http import decode_json

if TYPE_CHECKING:
    import polars

STAGE = "accord_stage_"
VALID_FROM, VALID_TO, IS_CURRENT = "valid_from", "valid_to", "is_current"


class Reference(msgspec.Struct, frozen=True):
    """A foreign key of the target to another table; names are quoted. ``path``: its columns as they are called."""

    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]
    path: str


class LoadTable:
    """``columns``: of the fields that are loaded, in their order; ``key``: the columns that identify a row. All names are quoted."""

    def __init__(self, plan: Plan, spec: LoadSpec, dialect: sa.Dialect) -> None:
        self._quote = dialect.identifier_preparer.quote
        self.plan = plan
        self.is_history = spec.mode is LoadMode.HISTORY
        self.fields = [field for field in plan.columns.fields if not spec.fields or field in spec.fields]
        self.key_fields = list(spec.key)
        self.dialect = dialect.name
        names = plan.columns.names
        self.columns = [self._quote(names[field]) for field in self.fields]
        self._field_of = dict(zip(self.columns, self.fields, strict=True))
        self.key = [self._quote(names[field]) for field in spec.key]
        self.others = [column for column in self.columns if column not in self.key]
        self.name = dialect.identifier_preparer.format_table(plan.table)
        digest = spec.digest_of(plan.entity)
        self.load_id = f"{spec.id[:47]}/{digest}"
        stage = sa.table(f"{STAGE}{digest}", schema=plan.table.schema)
        self.stage_name = stage.name
        self.stage = dialect.identifier_preparer.format_table(stage)

    @property
    def is_versioned(self) -> bool:
        """The stage has the columns of a version as well; PostgreSQL can do without them and keep the other constraints."""
        return self.is_history and self.dialect != "postgresql"

    @property
    def has_unique_key(self) -> bool:
        return bool(self.key) and self.plan.has_unique_key

    def need_key(self) -> None:
        """Raises Misfit when rows cannot be found again by their key."""
        if not self.has_unique_key:
            keys = ", ".join(self.key_fields) or "no key"
            raise Misfit(f"this load needs a primary key or unique index on exactly ({keys}) of {self.name}", keys)

    @property
    def column_list(self) -> str:
        return ", ".join(self.columns)

    def references(self, connection: sa.Connection) -> list[Reference]:
        """To other tables: a row of this one may come with the load."""
        target, preparer = self.plan.table, connection.dialect.identifier_preparer
        found = []
        for key in sa.inspect(connection).get_foreign_keys(target.name, schema=target.schema):
            columns = tuple(self._quote(name) for name in key["constrained_columns"])
            if key["referred_table"] != target.name and set(columns) <= set(self.columns):
                parent = preparer.format_table(sa.table(key["referred_table"], schema=key["referred_schema"]))
                referred = tuple(self._quote(name) for name in key["referred_columns"])
                found.append(Reference(columns, parent, referred, ", ".join(key["constrained_columns"])))
        return found

    def of(self, alias: str, columns: Sequence[str]) -> str:
        return ", ".join(f"{alias}.{column}" for column in columns)

    def same_key(self, a: str, b: str) -> str:
        return " AND ".join(f"{a}.{column} = {b}.{column}" for column in self.key)

    def differs(self, a: str, b: str) -> str:
        """A condition: some column beside the key has another value; nulls are values."""
        if not self.others:
            return "1 = 0"
        if self.dialect == "postgresql":
            sides = [
                ", ".join(f"{alias}.{column}{self._compared(column)}" for column in self.others) for alias in (a, b)
            ]
            return f"({sides[0]}) IS DISTINCT FROM ({sides[1]})"
        operator = "IS NOT" if self.dialect == "sqlite" else "<=>"
        each = [f"{a}.{column} {operator} {b}.{column}" for column in self.others]
        return f"({' OR '.join(each)})" if self.dialect == "sqlite" else f"NOT ({' AND '.join(each)})"

    def _compared(self, column: str) -> str:
        """PostgreSQL's json, unlike jsonb, knows no equality but that of its text."""
        field = self._field_of[column]
        return "::text" if self.plan.columns.shapes[field].kind == "json" else ""

    def rows(self, frame: polars.DataFrame) -> list[tuple[Any, ...]]:
        """The frame's rows as the driver binds them, exactly as single writes do. Raises Misfit, its path saying which field."""
        columns: list[list[Any]] = []
        for field in self.fields:
            declared, values = self.plan.columns.fields[field].type, frame[field].to_list()
            if isinstance(declared, t.Json):
                values = [None if value is None else decode_json(value.encode()) for value in values]
            encode = self.plan.columns.encode_one
            columns.append([None if value is None else encode(field, value) for value in values])
        return list(zip(*columns, strict=True))
