"""A side file that several open at the same moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

from accord.engine.side_file import SideFile

SCHEMA = "CREATE TABLE IF NOT EXISTS lines (text TEXT NOT NULL);"
ROUNDS = 60
OPENED_AT_ONCE = 6


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    async def check(path: Path) -> None:
        files = [SideFile(path, SCHEMA, synchronous="OFF") for _ in range(OPENED_AT_ONCE)]
        await asyncio.gather(*(file.run(lambda db: db.execute("INSERT INTO lines VALUES ('a')")) for file in files))
        written = await files[0].run(lambda db: db.execute("SELECT count(*) FROM lines").fetchone()[0])
        assert written == OPENED_AT_ONCE
        assert path.stat().st_mode & 0o077 == 0
        for file in files:
            await file.close()

    for number in range(ROUNDS):
        asyncio.run(check(tmp_path / f"{number}.db"))
