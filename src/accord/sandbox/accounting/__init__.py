"""Accounting stand-in: a legacy application that is only a SQL database, and a page to look at its invoices.

Receives: SQL from outside (SQLite file, or PostgreSQL by URL).  Hands on: rows.  Never: offers an API.
"""

from accord.sandbox.accounting.system import Accounting

SYSTEM = Accounting
