"""A connection to a system for one command, beside the engine and without touching its state."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from accord.engine.http import PooledHttpClient
from accord.flow.parts import DeclaredSystem
from accord.sdk.connector import Connection, Context


@asynccontextmanager
async def scratch_connection(system: DeclaredSystem, folder: Path) -> AsyncIterator[Connection]:
    """Not opened yet; closed at the end. ``folder``: the project's."""
    client = PooledHttpClient()
    with tempfile.TemporaryDirectory() as state:
        context = Context(system=system.name, http=client, folder=folder, state_folder=Path(state))
        connection = system.kind.connect(system.settings, system.entities, context)
        try:
            yield connection
        finally:
            await connection.close()
            await client.close()
