"""Databases as systems: every database SQLAlchemy speaks (SQLite, PostgreSQL and MariaDB are tested for real).

Receives: reads, writes and calls of the connector contract.  Hands on: records and outcomes.  Never: lets a driver's error escape.
"""

from accord.connectors.sql.kind import SqlKind

CONNECTOR = SqlKind()

__all__ = ["CONNECTOR"]
