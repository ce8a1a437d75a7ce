"""What the stream of a binary log needs of the server, and where the log stands. Nothing is made on the server, and nothing kept for us:
``binlog_expire_logs_seconds`` decides how long a reader may stay away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from accord.connectors.sql.tables import Misfit, place_of
from accord.record import Reject
from accord.sdk.capture import Capture

MAY_REPLICATE = "run: GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO the user (MySQL: REPLICATION SLAVE, REPLICATION CLIENT, RELOAD)"
LOCK_WAIT_S = 10  # MySQL: for writers, at the beginning of a snapshot
_WANTED = {  # variable: value
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "binlog_row_value_options": "",
    "binlog_transaction_compression": "OFF",
}
_ENCODINGS = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8": "utf-8",
    "latin1": "cp1252",
    "ascii": "ascii",
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "ucs2": "utf-16-be",
}
_OPAQUE = {"inet4", "inet6", "vector", "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"}
_OPAQUE |= {"multipolygon", "geometrycollection", "geomcollection", "xmltype"}
_CASCADES = sa.text(
    """SELECT constraint_name, delete_rule, update_rule FROM information_schema.referential_constraints
       WHERE constraint_schema = :schema AND table_name = :table
       AND (delete_rule NOT IN ('RESTRICT', 'NO ACTION') OR update_rule NOT IN ('RESTRICT', 'NO ACTION'))"""
)


class Lost(Misfit):
    """What follows cannot be told from the log; a new snapshot can."""

    def __init__(self, reason: str) -> None:
        self.why = reason
        mend = "set `changes: {on_lost: snapshot}` to begin again with a snapshot"
        super().__init__(
            f"the binary log does not tell what follows: {reason}; {mend}", code="connector.sql-binlog-lost"
        )


class Server(msgspec.Struct, frozen=True):
    """``uuid``: MySQL's server_uuid; MariaDB is found again by its GTIDs. ``encodings``: Python's by collation."""

    is_mariadb: bool
    uuid: str
    lower_names: bool
    encodings: dict[int, str]
    is_synced: bool


class Place(msgspec.Struct, frozen=True):
    """A place in the log; ``gtid``: MariaDB's state there (domains joined by ','), None elsewhere."""

    file: str
    position: int
    gtid: str | None


def complaints(connection: sa.Connection) -> list[str]:
    """What the server must be set to, in words; empty when the log can be read."""
    names = ", ".join(f"'{name}'" for name in _WANTED)
    rows = connection.exec_driver_sql(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})")
    found = {str(name).lower(): str(value).upper() for name, value in rows}
    if found.get("log_bin") != "ON":
        return ["the server writes no binary log; set log_bin (and server_id) in its configuration, and restart it"]
    if "binlog_row_metadata" not in found:
        return ["the server's binary log has no names of columns: MariaDB 10.5 or MySQL 8.0.14 is needed"]
    return [
        f"{name} is '{found[name]}'; run: SET GLOBAL {name} = '{value}' (and set it in the configuration)"
        for name, value in _WANTED.items()
        if name in found and found[name] != value
    ]


def server_of(connection: sa.Connection) -> Server:
    """Raises Misfit when the log cannot be read."""
    if told := complaints(connection):
        raise Misfit("changes cannot be read: " + "; ".join(told), code="connector.sql-binlog")
    version = str(connection.exec_driver_sql("SELECT VERSION()").scalar_one())
    is_mariadb = "maria" in version.lower()
    uuid = "" if is_mariadb else str(connection.exec_driver_sql("SELECT @@server_uuid").scalar_one())
    lower = int(connection.exec_driver_sql("SELECT @@lower_case_table_names").scalar_one())
    synced = int(connection.exec_driver_sql("SELECT @@sync_binlog").scalar_one())
    numbers = connection.exec_driver_sql("SELECT id, character_set_name FROM information_schema.collations").all()
    if is_mariadb:
        joined = "information_schema.collation_character_set_applicability"
        columns = {str(row[0]).lower() for row in connection.exec_driver_sql(f"SHOW COLUMNS FROM {joined}")}
        if "id" in columns:
            numbers = [*numbers, *connection.exec_driver_sql(f"SELECT id, character_set_name FROM {joined}")]  # noqa: S608
    encodings = {int(n): _ENCODINGS[name] for n, name in numbers if n is not None and name in _ENCODINGS}
    return Server(is_mariadb, uuid, lower != 0, encodings, synced == 1)


def check_tables(connection: sa.Connection, wanted: Mapping[str, tuple[str, str]], *, allow_cascades: bool) -> None:
    """``wanted``: database and table by entity. Raises Misfit for what has no log of its own."""
    for schema, table in wanted.values():
        text = "SELECT table_type FROM information_schema.tables WHERE table_schema = :schema AND table_name = :table"
        kind = connection.execute(sa.text(text), {"schema": schema, "table": table}).scalar()
        if kind is None:
            raise Misfit(f"the database has no table '{schema}.{table}'")
        if kind != "BASE TABLE":
            reason = f"'{schema}.{table}' is no table: only tables have a log of changes"
            raise Misfit(reason, code="connector.sql-identity")
        found = None if allow_cascades else connection.execute(_CASCADES, {"schema": schema, "table": table}).first()
        if found is not None:
            reason = (
                f"the foreign key {found[0]} of '{schema}.{table}' is ON DELETE {found[1]} ON UPDATE {found[2]}: what the server "
                "changes by it is not in its binary log. Let the application do it, or accept it with `changes: {cascades: accept}`"
            )
            raise Misfit(reason, code="connector.sql-cascade")


def forms_of(
    connection: sa.Connection, schema: str, table: str
) -> tuple[frozenset[str], frozenset[str], dict[str, int]]:
    """Of the table as it is now: columns whose form only the server reads, those of type UUID, places of FLOAT(m, d)."""
    text = (
        "SELECT column_name, data_type, numeric_scale FROM information_schema.columns "
        "WHERE table_schema = :schema AND table_name = :table"
    )
    rows = connection.execute(sa.text(text), {"schema": schema, "table": table}).all()
    opaque = frozenset(str(name) for name, kind, _ in rows if kind in _OPAQUE)
    uuids = frozenset(str(name) for name, kind, _ in rows if kind == "uuid")
    return opaque, uuids, {str(n): int(s) for n, kind, s in rows if kind == "float" and s is not None}


def located(table: str, database: str, *, lower: bool) -> tuple[str, str]:
    """Database and table as the log names them."""
    name, schema = place_of(table)
    found = (schema or database, name)
    return (found[0].lower(), found[1].lower()) if lower else found


def now(connection: sa.Connection, *, is_mariadb: bool) -> Place:
    """The end of the log. Raises what the server says without the privilege."""
    if is_mariadb:
        row = connection.exec_driver_sql("SHOW MASTER STATUS").one()
        gtid = connection.exec_driver_sql("SELECT BINLOG_GTID_POS(%s, %s)", (row[0], int(row[1]))).scalar()
        return Place(str(row[0]), int(row[1]), str(gtid or ""))
    try:
        row = connection.exec_driver_sql("SHOW BINARY LOG STATUS").one()
    except sa.exc.ProgrammingError:  # MySQL before 8.2
        row = connection.exec_driver_sql("SHOW MASTER STATUS").one()
    return Place(str(row[0]), int(row[1]), None)


def freeze(frozen: sa.Connection, locking: sa.Connection, *, is_mariadb: bool) -> Place:
    """A transaction on ``frozen`` that shows the tables as they were at a place in the log. MariaDB ties the two together; MySQL needs
    a lock on all tables for the moment."""
    if is_mariadb:
        frozen.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        found = {str(k).lower(): v for k, v in frozen.exec_driver_sql("SHOW STATUS LIKE 'binlog\\_snapshot\\_%%'")}
        file, position = str(found["binlog_snapshot_file"]), int(found["binlog_snapshot_position"])
        gtid = frozen.exec_driver_sql("SELECT BINLOG_GTID_POS(%s, %s)", (file, position)).scalar()
        return Place(file, position, str(gtid or ""))
    locking.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LOCK_WAIT_S}")
    locking.exec_driver_sql("FLUSH TABLES WITH READ LOCK")
    try:
        frozen.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        return now(locking, is_mariadb=False)
    finally:
        locking.exec_driver_sql("UNLOCK TABLES")


def bytes_after(connection: sa.Connection, file: str, position: int) -> int:
    """How much log there is behind a place; all of it when the file is gone."""
    logs = [(str(row[0]), int(row[1])) for row in connection.exec_driver_sql("SHOW BINARY LOGS")]
    names = [name for name, _ in logs]
    if file not in names:
        return sum(size for _, size in logs)
    index = names.index(file)
    return max(0, sum(size for _, size in logs[index:]) - position)


def captured(connection: sa.Connection) -> Capture:
    """The log as an operator sees it: all of it, since the server keeps it for nobody."""
    if told := complaints(connection):
        return Capture(name="binlog", is_active=False, retained_bytes=0, state="; ".join(told))
    logs = connection.exec_driver_sql("SHOW BINARY LOGS").all()
    text = "SELECT count(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%' AND user = :user"
    user = str(connection.exec_driver_sql("SELECT CURRENT_USER()").scalar_one()).partition("@")[0]
    readers = int(connection.execute(sa.text(text), {"user": user}).scalar_one())
    oldest = f"since {logs[0][0]}" if logs else ""
    return Capture(name="binlog", is_active=readers > 0, retained_bytes=sum(int(log[1]) for log in logs), state=oldest)


def refused(number: int, text: str) -> Any:
    """An answer to the request for the log as an exception, or None for what is like every other error."""
    if number == 1236 and "max_allowed_packet" in text:
        reason = "an event of the log is larger than the server's max_allowed_packet; raise it there"
        return Misfit(reason, code="connector.sql-binlog")
    if number == 1236 and "same server" not in text:
        return Lost(
            "the server has removed what was not read yet, or is another one (" + text.split(";")[0][:160] + ")"
        )
    if number in (1227, 1045, 1044, 1142):
        return Misfit(
            f"the database user may not read the binary log; {MAY_REPLICATE}", code="connector.sql-replication"
        )
    return None


def outcome_of_refusal(error: BaseException) -> Reject | None:
    """The reject for what the server refuses of replication, with its cure."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    found = refused(number, str(error.args[1]) if len(error.args) > 1 else "")
    return found.reject if isinstance(found, Misfit) else None
