"""The state on this machine that a log's entries have made, and how far it has come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.errors import JournalError
from accord.journal.encoding import from_us
from accord.journal.operations import Operation, SaveCursors
from accord.journal.replica import Replica
from accord.journal.store import Store
from accord.journal.stores.jetstream_entries import (
    POSITION_CURSOR,
    Assembly,
    Entry,
    Group,
    Part,
    Position,
    advance,
    decode_entry,
    decode_position,
    encode_entry,
)
from accord.journal.stores.jetstream_faults import log_damaged
from accord.journal.stores.jetstream_log import Raw
from accord.record import Cursor


class Applied(msgspec.Struct, frozen=True):
    """What an entry did. A group's ``results``, or the ``error`` for which it could not be stored; then it is skipped everywhere."""

    entry: Entry
    counts: bool
    results: list[Any] = []
    error: JournalError | None = None


class LocalState:
    """Applies entries in the order of the stream; the position is saved in the same transaction as what the entry did."""

    def __init__(self, replica: Replica, stream: str) -> None:
        self._replica = replica
        self._stream = stream
        self._at = 0  # the time of the entry that is being applied, in microseconds
        self._assembly = Assembly()
        self.store: Store = replica.store(self._now)
        self.position = Position()
        self._is_open = False

    def _now(self) -> dt.datetime:
        return from_us(self._at)

    def open(self) -> None:
        """Raises what the embedded store raises; ``journal.foreign`` when the file holds a journal that is of no log."""
        self.store = self._replica.store(self._now)
        self.store.open()
        self._is_open = True
        self._assembly.drop()
        saved = self.store.cursor(POSITION_CURSOR)
        if saved is not None:
            self.position = decode_position(saved)
            return
        self.position = Position()
        if self.store.counts():
            self.close()
            raise JournalError(
                "The file for the state of the log holds a journal of its own.",
                mend="Give the store another `path`; that file was left as it is.",
                code="journal.foreign",
            )

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self.store.close()

    def reopen(self) -> None:
        """What is open now counts as recovered from here on."""
        self.close()
        self.open()

    def put(self, source: Path) -> None:
        """A snapshot takes the state's place."""
        self.close()
        self._replica.put(source)
        self.open()

    def apply(self, raw: Raw) -> Applied:
        """Raises JournalFull or JournalError when it could not be written here; the same entry must be applied again then."""
        if raw.seq != self.position.seq + 1:
            raise log_damaged(self._stream, f"entry {raw.seq} came after {self.position.seq}")
        try:
            entry = decode_entry(raw.data)
        except (msgspec.DecodeError, ValueError) as error:
            raise log_damaged(self._stream, f"entry {raw.seq} cannot be read: {error}") from error
        position, counts = advance(self.position, raw.seq, entry, raw.data)
        if not counts:
            self.position = position  # saved with the next that counts
            return Applied(entry, False)
        if isinstance(entry, Part):
            group = self._assembly.add(entry)
            if group is None:
                self.position = position  # saved with the group: until then its parts are read again
                return Applied(entry, True)
        else:
            self._assembly.drop()
            group = entry if isinstance(entry, Group) else None
        applied = self._commit(entry, group, position)
        self.position = position
        return applied

    def _commit(self, entry: Entry, group: Group | None, position: Position) -> Applied:
        save = SaveCursors((Cursor(POSITION_CURSOR, encode_entry(position)),))
        if group is None:
            self.store.commit([save])
            return Applied(entry, True)
        self._at = group.at
        operations: Sequence[Operation] = (*group.operations, save)
        try:
            return Applied(entry, True, self.store.commit(operations)[:-1])
        except JournalError as error:
            if error.code != "journal.operation":
                raise
            self.store.commit([save])
            return Applied(entry, True, error=error)
