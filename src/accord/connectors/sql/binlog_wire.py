"""One connection of PyMySQL that the server streams its binary log to. Blocking; one thread.

PyMySQL logs in and sends the command; from then on its socket holds nothing but packets of events, which are read here, since a read
by PyMySQL cannot end without closing the connection. The server sends a sign of life each second, so silence means it is gone.
"""

from __future__ import annotations

import hashlib
import struct
import time
from typing import Any

import pymysql
import sqlalchemy as sa
from pymysql.constants import COMMAND

from accord.connectors.sql.binlog import Decoder, Event

HEARTBEAT_S = 1.0
SILENCE_MAX_S = 30.0  # without any sign of life
RECEIVE_BYTES = 2**18  # at once from the socket
_PACKET_FULL = 2**24 - 1  # a longer event goes on in the next packet


def server_id_of(system: str, own: int) -> int:
    """By which the server tells its readers apart; it ends an earlier reader of the same number."""
    return own or 2**31 + int.from_bytes(hashlib.blake2b(system.encode(), digest_size=3).digest(), "big")


class BinlogWire:
    """Raises pymysql errors: OperationalError 2013 when the connection is gone, others for what the server refuses."""

    def __init__(self, dialect: sa.Dialect, url: sa.URL, server_id: int) -> None:
        _, arguments = dialect.create_connect_args(url)
        arguments.pop("client_flag", None)
        self._server_id = server_id
        self._connection: Any = pymysql.connect(
            **{**arguments, "charset": "utf8mb4", "connect_timeout": 10, "read_timeout": SILENCE_MAX_S}
        )
        self._buffer = bytearray()
        self._at = 0
        self._heard_at_s = time.monotonic()
        self._decoder = Decoder(False)

    def close(self) -> None:
        if self._connection is not None:
            self._connection._force_close()
            self._connection = None

    def start(self, file: str, position: int, gtid: str | None) -> None:
        """From a place in a file, or (MariaDB) after the state ``gtid``, wherever this server has it."""
        with self._connection.cursor() as cursor:
            cursor.execute("SET @master_heartbeat_period = %s", (int(HEARTBEAT_S * 1e9),))
            cursor.execute("SET @source_heartbeat_period = @master_heartbeat_period")
            cursor.execute("SET @master_binlog_checksum = @@global.binlog_checksum")
            cursor.execute("SET @source_binlog_checksum = @master_binlog_checksum")
            cursor.execute("SET @mariadb_slave_capability = 4")
            cursor.execute("SELECT @master_binlog_checksum")
            self._decoder = Decoder(str(cursor.fetchone()[0]).upper() == "CRC32")
            if gtid is not None:
                cursor.execute("SET @slave_connect_state = %s", (gtid,))
                cursor.execute("SET @slave_gtid_strict_mode = 1")
                cursor.execute("SET @slave_gtid_ignore_duplicates = 0")
                file, position = "", 4
        payload = struct.pack("<IHI", position, 0, self._server_id) + file.encode()
        self._connection._execute_command(COMMAND.COM_BINLOG_DUMP, payload)
        self._heard_at_s = time.monotonic()

    def receive(self, wait_s: float) -> tuple[Event, int] | None:
        """The next event and its size in bytes; None when none comes in time."""
        deadline_s = time.monotonic() + wait_s
        while (packet := self._packet()) is None:
            left_s = deadline_s - time.monotonic()
            if not self._fill(max(left_s, 0.0)):
                if time.monotonic() - self._heard_at_s > SILENCE_MAX_S:
                    raise pymysql.OperationalError(2013, "the server has sent no sign of life")
                return None
        if packet[0] == 0:
            return self._decoder.decode(packet[1:]), len(packet)
        if packet[0] == 0xFF:
            pymysql.err.raise_mysql_exception(packet)
        raise pymysql.OperationalError(2013, "the server ended the stream")

    def _packet(self) -> bytes | None:
        """A whole packet out of the buffer, its parts put together."""
        at, parts = self._at, []
        while True:
            if len(self._buffer) < at + 4:
                return None
            size = int.from_bytes(self._buffer[at : at + 3], "little")
            if len(self._buffer) < at + 4 + size:
                return None
            parts.append(bytes(memoryview(self._buffer)[at + 4 : at + 4 + size]))
            at += 4 + size
            if size < _PACKET_FULL:
                break
        self._at = at
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _fill(self, wait_s: float) -> bool:
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        socket = self._connection._sock
        socket.settimeout(max(wait_s, 0.001))
        try:
            found = socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            return False
        if not found:
            raise pymysql.OperationalError(2013, "the server closed the connection")
        self._heard_at_s = time.monotonic()
        self._buffer += found
        return True
