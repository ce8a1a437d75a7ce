"""The statements of a load, as text, per dialect. Pure.

``t`` is the target, ``s`` the stage. Rows that would change nothing are not touched: an UPDATE to the same values, or a mere lock
of a row, costs a new version of it and its log on PostgreSQL.
"""

from __future__ import annotations

import re

from accord.connectors.sql.bulk.table import IS_CURRENT, VALID_FROM, VALID_TO, LoadTable, Reference

_NAME = re.compile(r"CREATE TABLE\s+(\"[^\"]+\"|`[^`]+`|\[[^\]]+\]|[\w.]+)", re.IGNORECASE)


def make_stage(table: LoadTable, ddl: str = "") -> list[str]:
    """A table like the target, with its constraints but for foreign keys of PostgreSQL and MariaDB (see ``unreferred``), so that a row
    they refuse is known when its chunk is written. It outlives a crash of the server, as the ledger does that says what is in it.

    ``ddl``: SQLite's own statement of the target."""
    if table.dialect == "postgresql":
        made = [f"CREATE TABLE {table.stage} (LIKE {table.name} INCLUDING ALL)"]
        return [*made, *(f"ALTER TABLE {table.stage} DROP COLUMN IF EXISTS {name}" for name in _version_columns(table))]
    if table.dialect in ("mysql", "mariadb"):
        return [f"CREATE TABLE {table.stage} LIKE {table.name}"]
    return [_NAME.sub(lambda _: f"CREATE TABLE {table.stage}", ddl, count=1)]


def _version_columns(table: LoadTable) -> tuple[str, ...]:
    return (VALID_FROM, VALID_TO, IS_CURRENT) if table.is_history else ()


def index_stage(table: LoadTable) -> str:
    return f"CREATE UNIQUE INDEX {table.stage_name}_key ON {table.stage} ({', '.join(table.key)})"


def drop_stage(table: LoadTable) -> str:
    return f"DROP TABLE IF EXISTS {table.stage}"


def insert(table: LoadTable, target: str, mark: str) -> str:
    """``mark``: the driver's placeholder."""
    return f"INSERT INTO {target} ({table.column_list}) VALUES ({', '.join([mark] * len(table.columns))})"


def upsert_from(table: LoadTable, stage: str) -> list[str]:
    """Rows of the stage that are new or differ. MariaDB and MySQL update and insert apart: ON DUPLICATE KEY minds every unique index,
    and would write a row over another one with the same value in some other column."""
    join = table.same_key("t", "s")
    insert = f"INSERT INTO {table.name} ({table.column_list}) SELECT {table.of('s', table.columns)} FROM {stage} s"
    new = f"{insert} LEFT JOIN {table.name} t ON {join} WHERE t.{table.key[0]} IS NULL"
    if table.dialect in ("mysql", "mariadb"):
        sets = ", ".join(f"t.{column} = s.{column}" for column in table.others)
        update = f"UPDATE {table.name} t JOIN {stage} s ON {join} SET {sets} WHERE {table.differs('t', 's')}"
        return [update, new] if sets else [new]
    return [f"{new} OR {table.differs('t', 's')} {_on_conflict(table)}"]


def upsert_looked_up(table: LoadTable, fresh: str) -> str:
    """PostgreSQL: the same of a chunk's rows, each looked up by its key (OFFSET 0 keeps the planner from reading all of a large target
    for every chunk), whatever is known of the tables' statistics."""
    known = f"SELECT * FROM {table.name} t WHERE {table.same_key('t', 's')} OFFSET 0"
    new = f"t.{table.key[0]} IS NULL OR {table.differs('t', 's')}"
    return (
        f"INSERT INTO {table.name} ({table.column_list}) SELECT {table.of('s', table.columns)} FROM {fresh} s "
        f"LEFT JOIN LATERAL ({known}) t ON true WHERE {new} {_on_conflict(table)}"
    )


def counted(upsert: str) -> str:
    """PostgreSQL: answered with the number of new rows and of all that were touched. A row that no transaction has ended (xmax 0) is
    new."""
    return (
        f"WITH put AS ({upsert} RETURNING xmax = 0 AS is_new) SELECT count(*) FILTER (WHERE is_new), count(*) FROM put"
    )


def delete_staged(table: LoadTable, fresh: str) -> str:
    """What is staged already of the keys in ``fresh``."""
    key = ", ".join(table.key)
    rows = f"({key})" if len(table.key) > 1 else key
    return f"DELETE FROM {table.stage} WHERE {rows} IN (SELECT {key} FROM {fresh})"


def stage_from(table: LoadTable, fresh: str) -> str:
    """``is_versioned``: with :started and :yes."""
    more, values = f", {VALID_FROM}, {VALID_TO}, {IS_CURRENT}", ", :started, NULL, :yes"
    return (
        f"INSERT INTO {table.stage} ({table.column_list}{more * table.is_versioned}) "
        f"SELECT {table.column_list}{values * table.is_versioned} FROM {fresh}"
    )


def unreferred(table: LoadTable, fresh: str, reference: Reference) -> str:
    """Rows that refer to nothing; a null refers to nothing and may."""
    same = " AND ".join(
        f"p.{theirs} = s.{own}" for own, theirs in zip(reference.columns, reference.referred, strict=True)
    )
    is_whole = " AND ".join(f"s.{own} IS NOT NULL" for own in reference.columns)
    return f"SELECT 1 FROM {fresh} s WHERE {is_whole} AND NOT EXISTS (SELECT 1 FROM {reference.table} p WHERE {same}) LIMIT 1"


def count_known(table: LoadTable, stage: str) -> str:
    """How many of the stage's rows the target has, and how many of these differ."""
    return (
        f"SELECT count(*), coalesce(sum(CASE WHEN {table.differs('t', 's')} THEN 1 ELSE 0 END), 0) "
        f"FROM {stage} s JOIN {table.name} t ON {table.same_key('t', 's')}"
    )


def _on_conflict(table: LoadTable) -> str:
    if not table.others:
        return f"ON CONFLICT ({', '.join(table.key)}) DO NOTHING"
    sets = ", ".join(f"{column} = excluded.{column}" for column in table.others)
    return f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {sets}"


def replace_all(table: LoadTable) -> list[str]:
    """Of a table whose rows have no key: DELETE, not TRUNCATE, so readers go on seeing the old rows until the commit."""
    return [f"DELETE FROM {table.name}", insert_all(table)]


def insert_all(table: LoadTable) -> str:
    return f"INSERT INTO {table.name} ({table.column_list}) SELECT {table.column_list} FROM {table.stage}"


def missing(table: LoadTable) -> str:
    """A condition on ``t``: its key was not read."""
    return f"NOT EXISTS (SELECT 1 FROM {table.stage} s WHERE {table.same_key('t', 's')})"


def count_missing(table: LoadTable) -> str:
    is_missing = missing(table)
    return f"SELECT count(*), coalesce(sum(CASE WHEN {is_missing} THEN 1 ELSE 0 END), 0) FROM {table.name} t"


def delete_missing(table: LoadTable) -> str:
    if table.dialect in ("mysql", "mariadb"):
        return f"DELETE t FROM {table.name} t WHERE {missing(table)}"
    return f"DELETE FROM {table.name} AS t WHERE {missing(table)}"


def close_versions(table: LoadTable) -> str:
    """Current versions that differ from the stage end at :started."""
    differs = f"EXISTS (SELECT 1 FROM {table.stage} s WHERE {table.same_key('t', 's')} AND {table.differs('t', 's')})"
    sets = f"SET {VALID_TO} = :started, {IS_CURRENT} = :no"
    if table.dialect in ("mysql", "mariadb"):
        return f"UPDATE {table.name} t {sets} WHERE t.{IS_CURRENT} = :yes AND {differs}"
    return f"UPDATE {table.name} AS t {sets} WHERE t.{IS_CURRENT} = :yes AND {differs}"


def open_versions(table: LoadTable) -> str:
    """Rows of the stage without a current version get one, valid from :started."""
    return (
        f"INSERT INTO {table.name} ({table.column_list}, {VALID_FROM}, {VALID_TO}, {IS_CURRENT}) "
        f"SELECT {table.of('s', table.columns)}, :started, NULL, :yes FROM {table.stage} s WHERE NOT EXISTS "
        f"(SELECT 1 FROM {table.name} t WHERE t.{IS_CURRENT} = :yes AND {table.same_key('t', 's')})"
    )
