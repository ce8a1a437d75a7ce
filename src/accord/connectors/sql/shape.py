"""The columns a table has now."""

from __future__ import annotations

import sqlalchemy as sa

from accord.connectors.sql.tables import extra_of, place_of, table_name
from accord.record import Entity
from accord.sdk.shape import Shape


def shape_of_table(connection: sa.Connection, entity: Entity) -> Shape | None:
    """None of a query, and of a table that is not there: reading says so. Raises SQLAlchemyError."""
    extra = extra_of(entity)
    if extra.query:
        return None
    try:
        columns = sa.inspect(connection).get_columns(*place_of(table_name(entity)))
    except sa.exc.NoSuchTableError:
        return None
    fields = {extra.columns.get(field, field): field for field in entity.fields if field not in extra.children}
    found = {fields.get(column["name"], column["name"]): str(column["type"]) for column in columns}
    return (
        Shape(place=f"table {table_name(entity)}", columns=found | dict.fromkeys(extra.children, "")) if found else None
    )
