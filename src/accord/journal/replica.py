"""What a store that replays a replicated log needs of the embedded store it keeps its state in.

Stores never import each other: the engine hands a ``Replica`` of one kind to a store of the other.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from accord.journal.store import Store


class Replica(Protocol):
    """The state of one log on this machine. Only what the log holds is true; this may always be made anew from it."""

    @property
    def folder(self) -> Path:
        """Where copies on their way may be put: the state's own disk."""
        ...

    def node(self) -> str:
        """An id of this state folder, made at first use. It does not travel with copies."""
        ...

    def store(self, now: Callable[[], dt.datetime]) -> Store:
        """A store over the state, not opened. It need not sync each commit, but a crash must leave whole commits only."""
        ...

    def copy(self, to: Path, cursor: str) -> bytes:
        """Writes the state as of one commit to a file, beside a running store, and tells the position of a cursor in it. Called from
        another thread. Raises JournalError, OSError."""
        ...

    def put(self, source: Path) -> None:
        """Puts such a copy in the state's place (``source`` is gone then). No store is open."""
        ...
