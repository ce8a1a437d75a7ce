"""The three databases the sql connector is tested with, each test in tables of its own."""

from __future__ import annotations

from tests.connectors.sql.databases import database
from tests.servers import mariadb, postgres

__all__ = ["database", "mariadb", "postgres"]
