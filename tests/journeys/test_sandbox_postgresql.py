"""The accounting stand-in on a real PostgreSQL: the same tables, exact amounts, and a lock that stops writers."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from tests.servers import PostgresServer, postgres  # noqa: F401 - the fixture

from accord.sandbox import Sandbox, SandboxError

pytestmark = pytest.mark.server
INSERT = (
    "INSERT INTO invoices (number, reference, customer, issued_on, currency, total)"
    " VALUES (%s, '#1', 'فاطمة حسن', '2026-01-31', 'EUR', 12345678901234.5678)"
)


def test_accounting_on_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:  # noqa: F811 - the fixture
    name = f"accounting_{tmp_path.name}".replace("-", "_").lower()
    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute(f'CREATE DATABASE "{name}"')
    url = postgres.url.rpartition("/")[0] + f"/{name}"
    settings = {"accounting": {"database_url": url.replace("postgresql://", "postgresql+psycopg://")}}
    with (
        Sandbox(tmp_path, ["accounting"], settings=settings) as sandbox,
        psycopg.connect(url, autocommit=True) as client,
    ):
        assert sandbox.environment()["ACCOUNTING_URL"] == settings["accounting"]["database_url"]
        client.execute(INSERT, ("INV-1",))
        (invoice,) = sandbox.objects("accounting", "invoices")
        assert Decimal(invoice["total"]) == Decimal("12345678901234.5678")
        client.execute("SET lock_timeout = '200ms'")
        sandbox.fault("accounting", down=True)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            for number in range(10_000):
                client.execute(INSERT, (f"LATE-{number}",))
        assert sandbox.health("accounting")["counts"]["invoices"] >= 1, "the owner still sees the locked tables"
        with pytest.raises(SandboxError, match="clear it before a reset"):
            sandbox.reset()
        sandbox.clear()
        client.execute("SET lock_timeout = '10s'")
        client.execute(INSERT, ("INV-2",))
        sandbox.reset()
        assert sandbox.counts("accounting")["invoices"] == 0
