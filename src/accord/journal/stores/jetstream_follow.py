"""Brings a machine's state up to what the log holds: from where it is, from a snapshot, or from nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from accord.errors import JournalError, JournalFull
from accord.journal.replica import Replica
from accord.journal.stores.jetstream_entries import Entry, decode_entry, digest_after
from accord.journal.stores.jetstream_faults import log_damaged, log_lost, other_log, unavailable
from accord.journal.stores.jetstream_log import LogStream
from accord.journal.stores.jetstream_snapshots import Snapshot, Snapshots
from accord.journal.stores.jetstream_state import LocalState

LAST_WAIT_S = 10.0  # for a stream that is just starting to show its end again


class Follower:
    """All methods raise JournalError ``journal.unavailable`` while the log cannot be read."""

    def __init__(self, log: LogStream, state: LocalState, replica: Replica) -> None:
        self._log = log
        self._state = state
        self._replica = replica
        self._snapshots = Snapshots(lambda: log.context, log.stream, log.settings.replicas)

    async def check(self) -> None:
        """The state and the stream belong together. Raises JournalError ``journal.other-log``, ``journal.log-lost``; a cluster that is
        just starting is given ``LAST_WAIT_S`` to show all it has."""
        deadline = asyncio.get_running_loop().time() + LAST_WAIT_S
        while True:
            try:
                await self._check()
                return
            except JournalError as error:
                if error.code != "journal.unavailable" or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def _check(self) -> None:
        position = self._state.position
        if not position.counted:
            return
        extent = await self._log.extent()
        deadline = asyncio.get_running_loop().time() + LAST_WAIT_S
        while extent.last < position.seq and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.1)
            extent = await self._log.extent()
        if extent.last < position.counted:
            raise log_lost(self._log.stream, position.counted, extent.last)
        if position.seq + 1 < extent.first:
            return  # trimmed: a snapshot will take this state's place
        if position.counted < extent.first:
            entry, _ = await self._entry(extent.first)  # the log is trimmed up to an entry that counts
            is_same = entry.after == position.digest
        else:
            entry, data = await self._entry(position.counted)
            is_same = digest_after(entry.after, data) == position.digest
        if not is_same:
            raise other_log(self._log.stream)

    async def _entry(self, seq: int) -> tuple[Entry, bytes]:
        raws = await self._log.read(seq, 1)
        if not raws:
            raise unavailable(f"entry {seq} cannot be read")
        try:
            return decode_entry(raws[0].data), raws[0].data
        except ValueError as error:
            raise other_log(self._log.stream) from error

    async def follow(self) -> bool:
        """Applies all entries there are; whether one counted. Raises JournalFull, JournalError when this machine cannot take them."""
        has_counted = False
        while True:
            raws = await self._log.read(self._state.position.seq + 1)
            if not raws:
                extent = await self._log.extent()
                if extent.first <= self._state.position.seq + 1:
                    return has_counted
                await self._from_snapshot()
                continue
            for raw in raws:
                has_counted |= self._state.apply(raw).counts

    async def _from_snapshot(self) -> None:
        """The entry that comes next has been trimmed, says the stream's leader. That no snapshot goes on from here is believed only when
        it stays so for ``LAST_WAIT_S``, and so that none of them is whole: a leader that was just elected may not have all of it yet."""
        deadline = asyncio.get_running_loop().time() + LAST_WAIT_S
        while True:
            snapshots = await self._snapshots.found()
            if fitting := [s for s in snapshots if s.position.seq > self._state.position.seq]:
                try:
                    await self._from_first_whole(fitting)
                except JournalError as error:
                    if error.code != "journal.corrupt" or asyncio.get_running_loop().time() > deadline:
                        raise
                else:
                    return
            extent = await self._log.extent()
            if extent.first <= self._state.position.seq + 1:
                return
            if not fitting and asyncio.get_running_loop().time() > deadline:
                ends = ", ".join(str(s.position.seq) for s in snapshots) or "none"
                raise log_damaged(
                    self._log.stream,
                    f"entry {self._state.position.seq + 1} is gone (it holds {extent.first} to {extent.last}), "
                    f"and no snapshot holds what comes after it (they end at: {ends})",
                )
            await asyncio.sleep(0.1)

    async def _from_first_whole(self, fitting: Sequence[Snapshot]) -> None:
        position = self._state.position
        partial = self._replica.folder / f"{self._log.stream}.snapshot.partial"
        for number, snapshot in enumerate(fitting, start=1):
            if position.log and snapshot.position.log != position.log:
                raise other_log(self._log.stream)
            try:
                await self._snapshots.fetch(snapshot, partial)
                self._put(partial)
                return
            except JournalError as error:
                if error.code != "journal.corrupt" or number == len(fitting):
                    raise
            finally:
                partial.unlink(missing_ok=True)

    def _put(self, partial: Path) -> None:
        try:
            self._state.put(partial)
        except OSError as error:
            raise JournalFull(
                f"A snapshot could not be put in place: {error.strerror}.", mend="Free space, or look at the disk."
            ) from error
