"""Keeps the log short: copies the state now and then to the object store, and trims the log behind the older copy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from accord.errors import JournalError
from accord.journal.replica import Replica
from accord.journal.stores.jetstream_entries import POSITION_CURSOR, decode_position
from accord.journal.stores.jetstream_faults import old_servers
from accord.journal.stores.jetstream_log import PURGES_SINCE, LogStream
from accord.journal.stores.jetstream_snapshots import Snapshots
from accord.journal.stores.jetstream_state import LocalState
from accord.observe.crash_points import crash_point

AGAIN_S = 30.0  # after a snapshot that failed
AGAIN_OLD_S = 3600.0  # beside servers that are too old for one


class KeepSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot is made when the log has grown since the last one by ``size_bytes`` and by ``share`` of the state's size (so that copies
    stay a bounded part of what is written), or by ``entries``: about a minute of reading for an empty machine."""

    size_bytes: int = 64_000_000
    share: float = 0.5
    entries: int = 200_000


class Keeper:
    """``tell`` hears why a snapshot failed. ``owns``: whether this engine has the log; one that lost it leaves it alone."""

    def __init__(
        self,
        log: LogStream,
        state: LocalState,
        replica: Replica,
        settings: KeepSettings,
        tell: Callable[[str], None],
        owns: Callable[[], bool],
    ) -> None:
        self._owns = owns
        self._tell = tell
        self._log = log
        self._state = state
        self._replica = replica
        self._settings = settings
        self._snapshots = Snapshots(lambda: log.context, log.stream, log.settings.replicas)
        self._grown_bytes = 0
        self._grown_entries = 0
        self._is_due = asyncio.Event()
        self.made = 0

    async def begin(self) -> None:
        """Raises JournalError ``journal.unavailable``."""
        extent = await self._log.extent()
        self._grown_bytes = extent.size_bytes
        self._grown_entries = extent.last - extent.first

    def grew(self, size_bytes: int) -> None:
        self._grown_bytes += size_bytes
        self._grown_entries += 1
        if self._grown_bytes < self._settings.size_bytes and self._grown_entries < self._settings.entries:
            return
        if (
            self._grown_entries >= self._settings.entries
            or self._grown_bytes >= self._state.store.size_bytes() * self._settings.share
        ):
            self._is_due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                await self._make()
            except Exception as error:  # noqa: BLE001 (told, and tried again: without snapshots the log only grows)
                self._tell(f"{type(error).__name__}: {error}" if not isinstance(error, JournalError) else str(error))
                is_old = isinstance(error, JournalError) and error.code == "journal.old-servers"
                await asyncio.sleep(AGAIN_OLD_S if is_old else AGAIN_S)
                self._is_due.set()

    async def _make(self) -> None:
        if version := await self._log.too_old_to_purge():
            raise old_servers(version, ".".join(str(number) for number in PURGES_SINCE))
        grown = (self._grown_bytes, self._grown_entries)
        copy = self._replica.folder / f"{self._log.stream}.snapshot.new"
        try:
            position = decode_position(await asyncio.to_thread(self._replica.copy, copy, POSITION_CURSOR))
            crash_point("snapshot.before-put")
            needed_from = await self._snapshots.put(copy, position)
        except OSError as error:
            what = f"The journal's state could not be copied: {error.strerror}."
            raise JournalError(what, mend="Is there room for the copy?", code="journal.path") from error
        finally:
            copy.unlink(missing_ok=True)
        crash_point("snapshot.after-put")
        if needed_from and self._owns():
            crash_point("snapshot.before-trim")
            await self._log.trim(needed_from)
            crash_point("snapshot.after-trim")
        self._grown_bytes -= grown[0]
        self._grown_entries -= grown[1]
        self.made += 1
