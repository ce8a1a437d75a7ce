"""A DuckDB file as a system: the warehouse of a company that has no server for one.

Receives: records, frames.  Hands on: rows of tables, made when they are missing.  Never: keeps the file locked while nothing is done.
"""

from accord.connectors.duckdb.kind import DuckdbKind

CONNECTOR = DuckdbKind()

__all__ = ["CONNECTOR"]
