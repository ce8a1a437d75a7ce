"""One writer per journal: a lock the operating system gives back when its owner dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from accord.errors import JournalError


class FileLock:
    """An exclusive ``flock`` on ``<journal>.lock``. The file holds the owner's pid, for the message only."""

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(journal.name + ".lock")
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises JournalError ``journal.locked``, naming the owner's pid if it can be read, when another holds it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            by = f"process {owner}" if owner else "another process"
            raise JournalError(
                f"The journal {self.path.with_suffix('')} is in use by {by}.",
                mend="Stop that process first, or give this one a journal of its own.",
                code="journal.locked",
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def give_back(self) -> None:
        """The file stays: removing it would let two processes lock two different files of the same name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
