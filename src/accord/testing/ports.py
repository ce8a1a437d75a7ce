"""Ports for servers that are stopped and started again."""

from __future__ import annotations

import secrets
import socket

FIRST, LAST = (
    15_000,
    32_000,
)  # below what Linux takes for outgoing connections: one of those could sit on it while its server is down


def free_port() -> int:
    """On 127.0.0.1, free at the moment. By a source of chance that nobody seeds: test processes side by side pick different ones."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
