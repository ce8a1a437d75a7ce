"""The one place where a driver's error becomes an outcome. Pure.

Rules, first match wins: a lost connection or a server that is going down → Reconnect; deadlock, serialization failure, lock or
statement timeout, a busy SQLite → Retry; broken constraint, unfit value, missing table, no privilege → Reject; anything the
tables below do not know: by its DB-API class; what is not even a database error → Retry(in_doubt).

Reasons never hold values of the record or the statement: they may be personal data.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from sqlalchemy import exc

from accord.record import Outcome, Reconnect, Reject, Retry

_PG_RETRY = {
    "40001": "serialization failure",
    "40P01": "deadlock",
    "55P03": "lock not available",
    "57014": "statement timeout",
}
_PG_RECONNECT = ("08", "57P", "53", "58", "28", "3D", "XX")
_MY_RETRY = {
    1205: "lock wait timeout",
    1213: "deadlock",
    1969: "statement timeout",
    3024: "statement timeout",
    1020: "row changed",
}
_MY_RECONNECT = {
    1040,
    1042,
    1043,
    1044,
    1045,
    1049,
    1053,
    1077,
    1080,
    1129,
    1130,
    1152,
    1158,
    1159,
    1160,
    1161,
    1203,
    1226,
    1290,
}
_MY_RECONNECT |= {1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031}
_MY_NULL = {1048, 1364}
_MY_UNIQUE = {1022, 1062, 1586}
_MY_REFERENCE = {1216, 1217, 1451, 1452}
_MY_VALUE = {1264, 1265, 1292, 1366, 1406, 3140, 4025, 3819}
_FULL = "the database has no room left: make room on its disk (or raise its quota)"
_PG_FULL, _MY_FULL, _SQLITE_FULL = "53100", {1021, 1114}, 13
_SQLITE_RETRY = {5, 6, 517, 261}
_SQLITE_RECONNECT = {8, 10, 11, 14, 26}

# what drivers raise for a value they cannot put on the wire (lone surrogates, numbers too large)
BINDING_ERRORS = (ValueError, TypeError, OverflowError)

UNIQUE, NULL, REFERENCE, VALUE = "sql-not-unique", "sql-null", "sql-reference", "sql-value"
SCHEMA, PRIVILEGE, REFUSED = "sql-schema", "sql-privilege", "sql-refused"
WHY = {
    UNIQUE: "another row has the same unique value",
    NULL: "the column does not take null",
    REFERENCE: "the row it refers to does not exist, or other rows refer to it",
    VALUE: "the column does not take this value",
    SCHEMA: "the statement does not fit the database (a table, column or function is missing)",
    PRIVILEGE: "the database user lacks the privilege",
    REFUSED: "the database refuses the statement",
}


class Verdict(msgspec.Struct, frozen=True):
    """What an error means before it is an outcome. ``kind``: retry | reconnect | reject | unknown."""

    kind: str
    reason: str
    code: str = ""
    columns: tuple[str, ...] = ()
    is_transient_conflict: bool = False  # deadlock or serialization: the same transaction may be tried at once


def outcome_of(error: BaseException, *, committing: bool = False) -> Outcome:
    """``committing``: the error came out of COMMIT, so the work may have been done."""
    verdict = verdict_of(error)
    match verdict.kind:
        case "retry":
            return Retry(verdict.reason, in_doubt=committing)
        case "reconnect":
            return Reconnect(verdict.reason, in_doubt=committing)
        case "reject":
            return Reject(verdict.reason, path=", ".join(verdict.columns), code=f"connector.{verdict.code}")
        case _:
            return Retry(verdict.reason, in_doubt=True)


def verdict_of(error: BaseException) -> Verdict:
    if isinstance(error, exc.TimeoutError):
        return Verdict("retry", "no database connection became free in time; raise `connections_max`")
    original = getattr(error, "orig", None) or error
    if getattr(original, "sqlstate", None) == _PG_FULL:  # a server whose log has no room ends with it
        return Verdict("reconnect", f"{_FULL} ({_label(original)})")
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return Verdict("reconnect", f"the connection to the database was lost ({_label(original)})")
    for dialect in (_postgresql, _mysql, _sqlite):
        verdict = dialect(original)
        if verdict is not None:
            return verdict
    return _by_class(error, original)


def _by_class(error: BaseException, original: BaseException) -> Verdict:
    label = _label(original)
    if isinstance(error, exc.IntegrityError):
        return _refused(REFUSED, label=label)
    if isinstance(error, exc.DataError):
        return _refused(VALUE, label=label)
    if isinstance(error, exc.OperationalError | exc.InterfaceError | OSError | exc.InternalError):
        return Verdict("reconnect", f"the database does not answer ({label})")
    if isinstance(error, exc.ProgrammingError | exc.NotSupportedError | exc.StatementError):
        return _refused(SCHEMA if isinstance(error, exc.DBAPIError) else VALUE, label=label)
    if isinstance(error, BINDING_ERRORS):
        return _refused(VALUE, label=type(error).__name__)
    return Verdict("unknown", f"an error of the database driver that is not known ({label})")


def _refused(code: str, columns: tuple[str, ...] = (), label: str = "") -> Verdict:
    return Verdict("reject", WHY[code] + (f" ({label})" if label else ""), code, columns)


def _label(original: BaseException) -> str:
    state = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    number = original.args[0] if original.args and isinstance(original.args[0], int) else None
    return " ".join(str(part) for part in (type(original).__name__, state or number) if part)


def _postgresql(original: BaseException) -> Verdict | None:
    state: str | None = getattr(original, "sqlstate", None)
    if not state or not type(original).__module__.startswith(("psycopg", "asyncpg")):
        return None
    diagnostics: Any = getattr(original, "diag", None)
    if state in _PG_RETRY:
        return Verdict(
            "retry", f"{_PG_RETRY[state]} in the database", is_transient_conflict=state in ("40001", "40P01")
        )
    if state.startswith(_PG_RECONNECT):
        return Verdict("reconnect", f"the database is not available ({_label(original)})")
    if state.startswith("23"):
        code = {"23505": UNIQUE, "23502": NULL, "23503": REFERENCE}.get(state, VALUE)
        return _refused(code, _pg_columns(diagnostics), getattr(diagnostics, "constraint_name", None) or state)
    if state.startswith("22"):
        return _refused(VALUE, _pg_columns(diagnostics), state)
    if state == "42501":
        return _refused(PRIVILEGE, label=state)
    if state.startswith(("42", "0A")):
        return _refused(SCHEMA, label=state)
    return _refused(REFUSED, label=state) if state.startswith(("P0", "44", "09", "21")) else None


def _pg_columns(diagnostics: Any) -> tuple[str, ...]:
    """The column, or those in "Key (a, b)=(…) already exists"; the values after the sign are not taken."""
    if getattr(diagnostics, "column_name", None):
        return (diagnostics.column_name,)
    match = re.match(r"[^(]*\(([^()]*)\)=", getattr(diagnostics, "message_detail", None) or "")
    return tuple(name.strip().strip('"') for name in match[1].split(",")) if match else ()


def _mysql(original: BaseException) -> Verdict | None:
    if not type(original).__module__.startswith(("pymysql", "MySQLdb", "mariadb", "mysql")) or not original.args:
        return None
    number, text = original.args[0], str(original.args[1]) if len(original.args) > 1 else ""
    if number in _MY_RETRY:
        return Verdict("retry", f"{_MY_RETRY[number]} in the database", is_transient_conflict=number in (1213, 1020))
    if number in _MY_FULL:
        return Verdict("reconnect", f"{_FULL} ({_label(original)})")
    if number in _MY_RECONNECT or number == 0:
        return Verdict("reconnect", f"the database is not available ({_label(original)})")
    column = re.search(r"(?:[Cc]olumn|[Ff]ield) '(?:[^']*\.)?`?([A-Za-z0-9_$]+)`?'", text)
    columns = (column[1],) if column else ()
    for code, numbers in ((NULL, _MY_NULL), (REFERENCE, _MY_REFERENCE), (VALUE, _MY_VALUE)):
        if number in numbers:
            foreign = re.search(r"FOREIGN KEY \(`([^`]+)`\)", text) if code == REFERENCE else None
            return _refused(code, (foreign[1],) if foreign else columns, str(number))
    if number in _MY_UNIQUE:
        key = re.search(r"for key '([^']+)'", text)
        return _refused(UNIQUE, (), key[1] if key else str(number))
    if number in (1142, 1143, 1227, 1370):
        return _refused(PRIVILEGE, label=str(number))
    return _refused(SCHEMA, columns, str(number)) if number in (1054, 1064, 1146, 1305, 1318) else None


def _sqlite(original: BaseException) -> Verdict | None:
    full = getattr(original, "sqlite_errorcode", None)
    if full is None:
        if type(original).__module__ == "sqlite3" and isinstance(original, OverflowError):
            return _refused(VALUE)
        return None
    code = full & 0xFF
    if code in _SQLITE_RETRY:
        return Verdict("retry", "the SQLite database is busy with another writer")
    if code == _SQLITE_FULL:
        return Verdict("reconnect", f"{_FULL} ({_label(original)})")
    if code in _SQLITE_RECONNECT:
        return Verdict("reconnect", f"the SQLite file cannot be used ({_label(original)})")
    if code == 19:
        kind = {"UNIQUE": UNIQUE, "PRIMARYKEY": UNIQUE, "NOTNULL": NULL, "FOREIGNKEY": REFERENCE, "ROWID": UNIQUE}
        name = str(getattr(original, "sqlite_errorname", "")).rpartition("_")[2]
        names = re.findall(r"[\w$]+\.([\w$]+)", str(original)) if name in ("UNIQUE", "PRIMARYKEY", "NOTNULL") else []
        return _refused(kind.get(name, VALUE), tuple(names), name.lower())
    return _refused(VALUE if code in (18, 20, 25) else SCHEMA, label=str(code)) if code in (1, 18, 20, 25) else None
