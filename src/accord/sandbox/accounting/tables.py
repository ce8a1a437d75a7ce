"""The legacy tables. Amounts are text on SQLite (it has no exact decimal) and NUMERIC on PostgreSQL."""

from __future__ import annotations

from sqlalchemy import Column, Date, ForeignKey, Integer, MetaData, Numeric, String, Table, UniqueConstraint

METADATA = MetaData()
Amount = String(40).with_variant(Numeric(18, 4), "postgresql")

CUSTOMERS = Table(
    "customers",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False),
    Column("email", String(320), unique=True),
    Column("country", String(2)),
    Column("currency", String(3)),
)
INVOICES = Table(
    "invoices",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("number", String(60), nullable=False, unique=True),
    Column("reference", String(200), nullable=False, index=True),  # not unique: a second invoice must be visible
    Column("customer", String(200), nullable=False),
    Column("customer_email", String(320)),
    Column("issued_on", Date, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("total", Amount, nullable=False),
    Column("status", String(20), nullable=False, server_default="open"),
)
INVOICE_LINES = Table(
    "invoice_lines",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("invoice_number", String(60), ForeignKey("invoices.number"), nullable=False, index=True),
    Column("line", Integer, nullable=False),
    Column("sku", String(100), nullable=False),
    Column("description", String(500)),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", Amount, nullable=False),
    UniqueConstraint("invoice_number", "line"),
)
PAYMENTS = Table(
    "payments",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("invoice_number", String(60), ForeignKey("invoices.number"), nullable=False, index=True),
    Column("received_on", Date, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("method", String(40)),
)
TABLES = {str(table.name): table for table in (CUSTOMERS, INVOICES, INVOICE_LINES, PAYMENTS)}
