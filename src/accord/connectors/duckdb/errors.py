"""The one place where DuckDB's errors become outcomes. Pure.

Reasons never hold values: DuckDB's own sentences do, so only their kind is told.
"""

from __future__ import annotations

import re

from accord.record import Outcome, Reconnect, Reject, Retry

_REJECTS = {
    "ConstraintException": ("a constraint of the table refuses the row", "duckdb-constraint"),
    "ConversionException": ("a column does not take this value", "duckdb-value"),
    "OutOfRangeException": ("a column does not take this value", "duckdb-value"),
    "CatalogException": ("the statement does not fit the database (a table is missing)", "duckdb-schema"),
    "BinderException": (
        "the statement does not fit the table (a column is missing or of another type)",
        "duckdb-schema",
    ),
    "ParserException": ("the statement does not fit the database", "duckdb-schema"),
    "PermissionException": ("the database may not be written", "duckdb-schema"),
}
ROW_CODES = ("connector.duckdb-constraint", "connector.duckdb-value")


def outcome_of(error: BaseException) -> Outcome:
    """Of an error before the commit; one of the commit itself leaves the work in doubt, which the ledger resolves."""
    name = type(error).__name__
    if name in _REJECTS:
        reason, code = _REJECTS[name]
        return Reject(reason, path=_column(str(error)), code=f"connector.{code}")
    text = str(error).lower()
    if "no space left" in text or "file too large" in text:  # also of a commit, which is then no conflict
        return Reconnect(f"the database has no room left: make room on its disk ({name})", in_doubt=True)
    if name == "TransactionException":
        return Retry("two transactions changed the same rows")
    if name == "OutOfMemoryException":
        return Retry("DuckDB has no memory left for this; raise `memory_max` or make chunks smaller", in_doubt=True)
    if name in ("IOException", "FatalException", "InternalException", "ConnectionException") or isinstance(
        error, OSError
    ):
        is_locked = "lock" in text and "conflict" in text
        why = "another process has the file open" if is_locked else f"the file cannot be used ({name})"
        return Reconnect(why, in_doubt=not is_locked)
    return Retry(f"DuckDB failed ({name})", in_doubt=True)


def _column(text: str) -> str:
    """Of ``NOT NULL constraint failed: t.name`` and ``Duplicate key "id: …"``."""
    found = re.search(r'constraint failed: (?:"?\w+"?\.)*"?(\w+)', text) or re.search(r'[Dd]uplicate key "(\w+):', text)
    return found[1] if found else ""
