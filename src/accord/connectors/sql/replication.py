"""One walsender connection to PostgreSQL: commands of the replication protocol, then the stream of its frames. Blocking; one thread.

libpq's own connection is used, because psycopg's has no place for COPY in both directions.
"""

from __future__ import annotations

import select
import time
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from accord.connectors.sql.pgoutput import Keepalive, WalData, decode_frame, encode_status, lsn_text

STATUS_EVERY_S = 5.0  # signs of life; the server gives up after wal_sender_timeout, 60 s unless set
_SESSION = "-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex"


class Replication:
    """Raises psycopg errors: OperationalError when the connection is gone, others for what the server refuses."""

    def __init__(self, dialect: sa.Dialect, url: sa.URL, connect_timeout_s: int) -> None:
        _, arguments = dialect.create_connect_args(url)
        own = {"replication": "database", "options": _SESSION, "application_name": "accord-changes"}
        arguments.pop("context", None)  # psycopg's own, not libpq's
        text = make_conninfo(**{**arguments, **own, "connect_timeout": connect_timeout_s, "keepalives_idle": 30})
        self._pg = pq.PGconn.connect(text.encode())
        if self._pg.status != pq.ConnStatus.OK:
            message = self._pg.get_error_message()
            self._pg.finish()
            raise psycopg.OperationalError(message)
        self._flushed_lsn = 0
        self._told_at_s = 0.0

    def close(self) -> None:
        self._pg.finish()

    def create_slot(self, name: str) -> tuple[str, str]:
        """The slot's consistent point and the name of the snapshot of it, which lives until the next command."""
        result = self._run(f'CREATE_REPLICATION_SLOT "{name}" LOGICAL pgoutput EXPORT_SNAPSHOT')
        point, snapshot = result.get_value(0, 1), result.get_value(0, 2)
        return (point or b"").decode(), (snapshot or b"").decode()

    def start(self, slot: str, publication: str, lsn: int) -> None:
        names = sql.Literal(f'"{publication}"').as_string(None)
        options = f"(proto_version '1', publication_names {names})"
        self._run(f'START_REPLICATION SLOT "{slot}" LOGICAL {lsn_text(lsn)} {options}', pq.ExecStatus.COPY_BOTH)
        self._pg.nonblocking = 1
        self._flushed_lsn = lsn
        self.tell()

    def receive(self, wait_s: float) -> WalData | Keepalive | None:
        """The next frame; None when none comes in time."""
        deadline_s = time.monotonic() + wait_s
        while True:
            count, data = self._pg.get_copy_data(1)
            if count > 0:
                return decode_frame(bytes(data))
            if count < 0:
                self._ended()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self._pg.socket], [], [], left_s)[0]:
                self._tell_when_due()
                return None
            self._pg.consume_input()

    def _ended(self) -> None:
        result = self._pg.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_of(result)
        raise psycopg.OperationalError("the server ended the stream")

    def flushed(self, lsn: int) -> None:
        """Everything before ``lsn`` is in the journal; told with the next sign of life, or at once by ``tell``."""
        self._flushed_lsn = max(self._flushed_lsn, lsn)
        self._tell_when_due()

    def _tell_when_due(self) -> None:
        if time.monotonic() - self._told_at_s >= STATUS_EVERY_S:
            self.tell()

    def tell(self) -> None:
        self._pg.put_copy_data(encode_status(self._flushed_lsn, self._flushed_lsn))
        while self._pg.flush():
            if not select.select([], [self._pg.socket], [], STATUS_EVERY_S)[1]:
                raise psycopg.OperationalError("the server takes no more of the connection")
        self._told_at_s = time.monotonic()

    def _run(self, command: str, wanted: pq.ExecStatus = pq.ExecStatus.TUPLES_OK) -> Any:
        result = self._pg.exec_(command.encode())
        if result.status != wanted:
            raise error_of(result)
        return result


def error_of(result: Any) -> psycopg.Error:
    """The exception psycopg would raise for a result that is an error."""
    return psycopg.errors.error_from_result(result)
