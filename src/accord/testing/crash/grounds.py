"""What the laboratory's engines keep their journal in: a file of their folder, or a PostgreSQL server that dies as well."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Protocol

from accord.journal.stores.sqlite_verify import verify as verify_sqlite
from accord.observe.crash_points import POINTS

# An engine of messages passes these.
MESSAGE_POINTS = tuple(point for point in POINTS if not point.startswith(("bulk.", "snapshot.")))


class Ground(Protocol):
    """Use as an async context manager. ``points`` an engine can pass on it; ``blows``: what else happens to it, by name, and ``losses``
    those of them that happen while no engine runs. ``store``: the project's setting; ``environment`` what that refers to. ``name``: with
    its version."""

    name: str
    points: tuple[str, ...]
    blows: tuple[str, ...]
    losses: tuple[str, ...]

    @property
    def store(self) -> str: ...

    @property
    def environment(self) -> dict[str, str]: ...

    async def __aenter__(self) -> Ground: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def downgrade(self) -> None:
        """Puts the journal, if there is one, back to the layout before the last one. No engine runs."""
        ...

    async def strike(self, blow: str) -> None:
        """Returns when the store can be used again."""
        ...

    def violations(self) -> list[str]: ...


class SqliteGround:
    name = f"SQLite {sqlite3.sqlite_version}"
    points = MESSAGE_POINTS
    blows: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    store = ""

    def __init__(self, folder: Path) -> None:
        self._journal = folder / ".accord" / "journal.db"

    @property
    def environment(self) -> dict[str, str]:
        return {}

    async def __aenter__(self) -> Ground:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def downgrade(self) -> None:
        from accord.testing.crash.downgrade import downgrade

        if self._journal.exists():
            await asyncio.to_thread(downgrade, self._journal)

    async def strike(self, blow: str) -> None:
        raise ValueError(blow)

    def violations(self) -> list[str]:
        return verify_sqlite(self._journal)
