"""An entity bound to its real table: columns as the database has them, converters for each field.

The table is looked at once per connection (reflection), so that values are bound in the column's own type and a missing table
or column is told by name before the first statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from accord.connectors.sql.spec import SqlEntity
from accord.connectors.sql.values import ColumnShape, Convert, Unfit, decoder, encoder
from accord.errors import did_you_mean
from accord.record import Entity, Field, Reject
from accord.record import types as t

RAW_DIALECTS = (
    "sqlite",
    "mysql",
    "mariadb",
)  # their drivers take and give plain values: no type of SQLAlchemy in between


class Misfit(Exception):
    """Entity and database do not fit together, or a value does not fit its column; ``reject`` is the outcome."""

    def __init__(self, reason: str, path: str = "", code: str = "connector.sql-schema") -> None:
        self.reject = Reject(reason, path=path, code=code)
        super().__init__(reason)


class Columns:
    """The fields of one table: names, SQLAlchemy columns, converters both ways."""

    def __init__(self, table: sa.FromClause, fields: Mapping[str, Field], names: Mapping[str, str]) -> None:
        self.table = table
        self.fields = dict(fields)
        self.names = {field: names.get(field, field) for field in fields}
        self.encoders: dict[str, Convert] = {}
        self.decoders: dict[str, Convert] = {}
        self.shapes: dict[str, ColumnShape] = {}
        self.scaled: Mapping[str, int] = {}

    def bind(self, shapes: Mapping[str, ColumnShape], zone: ZoneInfo, scaled: Mapping[str, int]) -> None:
        self.scaled = scaled
        for field, declared in self.fields.items():
            shape = self.shapes[field] = shapes[self.names[field]]
            self.encoders[field] = encoder(declared.type, shape, zone, scaled.get(field))
            self.decoders[field] = decoder(declared.type, shape, zone, scaled.get(field))

    def column(self, field: str) -> sa.ColumnElement[Any]:
        return self.table.c[self.names[field]]

    def selected(self) -> list[sa.ColumnElement[Any]]:
        return [self.column(field) for field in self.fields]

    def encode(self, record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Column name to bound value for the declared fields that ``record`` holds. Raises Misfit."""
        row = {}
        for field, name in self.names.items():
            if field in record:
                row[name] = self.encode_one(field, record[field], prefix)
        return row

    def encode_one(self, field: str, value: Any, prefix: str = "") -> Any:
        if value is None:
            return None
        try:
            return self.encoders[field](value)
        except Unfit as error:
            raise Misfit(f"the value {error}", prefix + field, "connector.sql-value") from None
        except (ValueError, TypeError, AttributeError):
            reason = f"the value is no {t.name_of(self.fields[field].type)}"
            raise Misfit(reason, prefix + field, "connector.sql-value") from None

    def decode(self, row: Any) -> dict[str, Any]:
        """A row in the order of ``selected()`` to plain data."""
        return {
            field: None if value is None else self.decoders[field](value)
            for field, value in zip(self.fields, row, strict=False)
        }


class Child:
    """A list field kept in a table of its own."""

    def __init__(self, field: str, columns: Columns, parent_key: str, position: str, order: list[str]) -> None:
        self.field = field
        self.columns = columns
        self.parent_key = columns.table.c[parent_key]
        self.position = position
        self.order = [columns.table.c[name] for name in order]


class Plan:
    """All that reading and writing one entity needs."""

    def __init__(
        self, entity: Entity, extra: SqlEntity, columns: Columns, children: list[Child], keys_unique: bool
    ) -> None:
        self.entity = entity
        self.extra = extra
        self.columns = columns
        self.children = children
        self.has_unique_key = keys_unique
        if isinstance(columns.table, sa.Table):
            names = [columns.names[key] for key in entity.key]
            self.insert = columns.table.insert().inline()
            # SET takes the columns that the parameters name; "w " cannot be a column's name in them
            is_row = (columns.table.c[name] == sa.bindparam(f"w {name}") for name in names)
            self.update = columns.table.update().where(*is_row)

    def key_parameters(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of ``update`` that say which row."""
        columns = self.columns
        return {f"w {columns.names[key]}": columns.encode_one(key, record[key]) for key in self.entity.key}

    @property
    def table(self) -> sa.Table:
        assert isinstance(self.columns.table, sa.Table)
        return self.columns.table


def extra_of(entity: Entity) -> SqlEntity:
    return entity.extra if isinstance(entity.extra, SqlEntity) else SqlEntity()


def table_name(entity: Entity) -> str:
    return extra_of(entity).table or entity.short_name


def plan_of(connection: sa.Connection, entity: Entity, zone: ZoneInfo) -> Plan:
    """Looks at the database and binds the entity to what is there. Raises Misfit, SQLAlchemyError."""
    extra = extra_of(entity)
    own = {name: field for name, field in entity.fields.items() if name not in extra.children}
    if extra.query:
        return Plan(entity, extra, _query_columns(entity, extra, own, connection.dialect.name, zone), [], False)
    inspector = sa.inspect(connection)
    columns = _table_columns(inspector, table_name(entity), own, extra.columns, (), zone, extra.scaled)
    keys = {columns.names[key] for key in entity.key}
    place = place_of(table_name(entity))
    unique: list[set[str | None]] = [set(inspector.get_pk_constraint(*place)["constrained_columns"])]
    unique += [set(each["column_names"]) for each in inspector.get_indexes(*place) if each["unique"]]
    unique += [set(each["column_names"]) for each in inspector.get_unique_constraints(*place)]
    children = [_child(inspector, entity, name, zone) for name in extra.children]
    return Plan(entity, extra, columns, children, bool(keys) and keys in unique)


def _child(inspector: sa.Inspector, entity: Entity, name: str, zone: ZoneInfo) -> Child:
    spec = extra_of(entity).children[name]
    declared = entity.fields[name].type
    if not isinstance(declared, t.List) or not isinstance(declared.item, t.Object):
        raise Misfit("children must be declared as a list of objects", name)
    wanted = (spec.parent_key, *((spec.position,) if spec.position else ()))
    columns = _table_columns(inspector, spec.table, declared.item.fields, spec.columns, wanted, zone, spec.scaled)
    order = (
        [spec.position] if spec.position else inspector.get_pk_constraint(*place_of(spec.table))["constrained_columns"]
    )
    return Child(name, columns, spec.parent_key, spec.position, [c for c in order if c in columns.table.c])


def place_of(name: str) -> tuple[str, str | None]:
    schema, _, table = name.rpartition(".")
    return table, schema or None


def _table_columns(
    inspector: sa.Inspector,
    name: str,
    fields: Mapping[str, Field],
    names: Mapping[str, str],
    wanted: tuple[str, ...],
    zone: ZoneInfo,
    scaled: Mapping[str, int],
) -> Columns:
    table, schema = place_of(name)
    try:
        reflected = {column["name"]: column for column in inspector.get_columns(table, schema)}
    except sa.exc.NoSuchTableError:
        reflected = {}
    if not reflected:
        known = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        raise Misfit(f"the database has no table '{name}'. {did_you_mean(table, known)}".strip())
    for field, column in {**{f: names.get(f, f) for f in fields}, **{w: w for w in wanted}}.items():
        if column not in reflected:
            raise Misfit(
                f"the table '{name}' has no column '{column}'. {did_you_mean(column, reflected)}".strip(), field
            )
    dialect = inspector.dialect.name
    keys = set(inspector.get_pk_constraint(table, schema)["constrained_columns"])
    bound = sa.Table(
        table,
        sa.MetaData(),
        *(
            sa.Column(
                column, _bound_type(each["type"], dialect), primary_key=column in keys and dialect not in RAW_DIALECTS
            )
            for column, each in reflected.items()
        ),
        schema=schema,
    )
    shapes = {column: shape_of(each["type"], dialect) for column, each in reflected.items()}
    columns = Columns(bound, fields, names)
    columns.bind(shapes, zone, scaled)
    return columns


def _query_columns(
    entity: Entity, extra: SqlEntity, fields: Mapping[str, Field], dialect: str, zone: ZoneInfo
) -> Columns:
    names = {field: extra.columns.get(field, field) for field in fields}
    text = sa.text(extra.query.strip().rstrip(";")).columns(*(sa.column(name) for name in names.values()))
    columns = Columns(text.subquery("q"), fields, extra.columns)
    kinds: dict[type, ColumnShape] = {
        t.DateTime: ColumnShape("text" if dialect == "sqlite" else "datetime", zoned=dialect == "postgresql"),
        t.Date: ColumnShape("text" if dialect == "sqlite" else "date"),
    }
    shapes = {names[name]: kinds.get(type(field.type), ColumnShape("other")) for name, field in fields.items()}
    columns.bind(shapes, zone, extra.scaled)
    return columns


def _bound_type(reflected: TypeEngine[Any], dialect: str) -> TypeEngine[Any]:
    if dialect in RAW_DIALECTS:
        return sa.types.NullType()
    if isinstance(reflected, sa.Uuid):
        return sa.Uuid(as_uuid=False)
    if isinstance(reflected, sa.JSON):
        reflected.none_as_null = True
    return reflected


def shape_of(reflected: TypeEngine[Any], dialect: str) -> ColumnShape:
    """What kind of values a reflected column holds. Order matters: Enum is a String, Boolean may be a TINYINT."""
    scale = getattr(reflected, "scale", None)
    match reflected:
        case sa.JSON():
            return ColumnShape("json", is_native_json=dialect not in RAW_DIALECTS)
        case sa.Boolean():
            return ColumnShape("boolean")
        case sa.Integer():
            return ColumnShape("integer")
        case sa.Float():
            return ColumnShape("float")
        case sa.Numeric():
            return ColumnShape("binary-exact" if dialect == "sqlite" else "exact", scale=scale)
        case sa.DateTime():
            kind = "text" if dialect == "sqlite" else "datetime"
            return ColumnShape(kind, zoned=bool(reflected.timezone) and dialect not in RAW_DIALECTS)
        case sa.Date():
            return ColumnShape("text" if dialect == "sqlite" else "date")
        case sa.Interval() | postgresql.INTERVAL():
            return ColumnShape("interval")
        case sa.Uuid():
            return ColumnShape("uuid")
        case sa.LargeBinary():
            return ColumnShape("bytes")
        case sa.String():
            return ColumnShape("text")
        case _:
            return ColumnShape("other")
