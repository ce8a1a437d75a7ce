"""Servers of the machine for the suites that need them."""

from __future__ import annotations

from tests.servers import mariadb, postgres

__all__ = ["mariadb", "postgres"]
