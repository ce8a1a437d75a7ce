"""What a database holds, as entities."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from accord.connectors.sql.bulk.ledger import LEDGER_END
from accord.connectors.sql.bulk.table import STAGE
from accord.connectors.sql.spec import SqlEntity
from accord.connectors.sql.tables import shape_of
from accord.record import Entity, Field
from accord.record import types as t

TABLES_MAX = 2000  # a catalogue larger than this is no use on a screen

_TYPES: dict[str, t.Type] = {
    "integer": t.Integer(),
    "exact": t.Decimal(),
    "binary-exact": t.Decimal(),
    "float": t.Float(),
    "boolean": t.Boolean(),
    "date": t.Date(),
    "datetime": t.DateTime(),
    "interval": t.Duration(),
    "json": t.Json(),
}


def entities_of(connection: sa.Connection, system: str, hidden: str) -> list[Entity]:
    """Every table of the default schema but Accord's own (``hidden`` and those of loads), with types, nullability and primary key."""
    inspector = sa.inspect(connection)
    own = (hidden, f"{hidden}{LEDGER_END}")
    names = [n for n in sorted(inspector.get_table_names()) if n not in own and not n.startswith(STAGE)][:TABLES_MAX]
    return [_entity(inspector, system, name) for name in names]


def _entity(inspector: sa.Inspector, system: str, table: str) -> Entity:
    key = tuple(inspector.get_pk_constraint(table)["constrained_columns"])
    fields = {
        column["name"]: _field(
            column["type"], inspector.dialect.name, bool(column["nullable"]) and column["name"] not in key
        )
        for column in inspector.get_columns(table)
    }
    return Entity(name=f"{system}.{table}", fields=fields, key=key, extra=SqlEntity(table=table))


def _field(reflected: TypeEngine[Any], dialect: str, nullable: bool) -> Field:
    if isinstance(reflected, sa.Enum) and reflected.enums:
        return Field(type=t.Enum(tuple(reflected.enums)), nullable=nullable)
    if (
        dialect in ("mysql", "mariadb")
        and str(reflected).upper().startswith("TINYINT")
        and getattr(reflected, "display_width", 0) == 1
    ):
        return Field(type=t.Boolean(), nullable=nullable)
    shape = shape_of(reflected, dialect)
    if shape.kind == "text" and isinstance(reflected, sa.DateTime | sa.Date):
        return Field(type=t.DateTime() if isinstance(reflected, sa.DateTime) else t.Date(), nullable=nullable)
    length = getattr(reflected, "length", None) if shape.kind == "text" else None
    return Field(
        type=_TYPES.get(shape.kind, t.String()),
        nullable=nullable,
        length_max=length if isinstance(length, int) else None,
        format="uuid" if shape.kind == "uuid" else None,
    )
