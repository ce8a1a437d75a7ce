"""The change-data-capture part of the connector contract: a database's own log as a stream of row changes.

A connection whose capabilities say ``stream_changes`` implements ``ChangeSource``. One stream serves all entities of a system, in
the order in which the source committed. The engine journals a page together with its position in one transaction and only then
confirms it, so a source may forget what is confirmed and nothing else. Whatever was not confirmed may be given again.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from accord.record import Entity


class ChangeKind(enum.StrEnum):
    """What happened to a row; flows see it as ``message.topic``."""

    SNAPSHOT = "snapshot"  # it was there when the stream began
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"  # the whole table was emptied; there is no record


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one row. ``entity``: full name. ``record``: the new row as plain data; of a delete the old row as far as the
    source tells it, at least its key. ``old``: the row before an update as far as the source tells it (None: nothing of it).

    ``event_id`` is the same whenever the change is given. A change of the key is given as a delete and an insert.
    ``malformed``: why the row could not be read; ``record`` then holds its raw texts.
    """

    entity: str
    kind: ChangeKind
    record: dict[str, Any]
    event_id: str
    old: dict[str, Any] | None = None
    malformed: str = ""
    origin: str = ""  # where a person finds it: the position in the source's log


class ChangePage(msgspec.Struct, frozen=True, kw_only=True):
    """Changes in the order of their commits and the position after them (JSON). ``notices``: what else an operator should know, such
    as columns that came or went. A truncate is the only change of its page."""

    changes: list[Change]
    position: Any
    notices: tuple[str, ...] = ()


class CaptureLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far behind a stream is: bytes of log the source keeps for it (or has not been read), and the bound set for them.
    ``behind_s``: seconds since the commit of the last change read, 0 when nothing more is there."""

    retained_bytes: int
    retained_bytes_max: int
    behind_s: float = 0.0
    may_drop: bool = False  # above the bound the stream is given up and begins again with a snapshot


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """What a source keeps for a stream, for an operator. ``state``: the source's own word for it; ``confirmed``: its position up to
    which everything was confirmed."""

    name: str
    is_active: bool
    retained_bytes: int
    state: str = ""
    confirmed: str = ""


class ChangeStream(Protocol):
    """Methods are called one after another. Trouble is raised as ``ReadFailed``; the stream is then closed and opened anew."""

    async def open(self) -> None:
        """Makes what the source needs (idempotent) and goes to the position."""
        ...

    async def next(self) -> ChangePage | None:
        """The next page; None when nothing has changed for a second or so."""
        ...

    async def confirm(self, position: Any) -> None:
        """The journal holds everything up to ``position``. None: only a sign of life, due every few seconds."""
        ...

    async def lag(self) -> CaptureLag: ...

    async def close(self) -> None: ...


class ChangeSource(Protocol):
    def changes(self, entities: Sequence[Entity], position: Any) -> ChangeStream:
        """No I/O yet. ``position`` None: from the beginning, which is a snapshot of what is there."""
        ...

    async def captures(self) -> Sequence[Capture]:
        """What the source keeps for this system's stream. Raises ReadFailed."""
        ...

    async def drop_capture(self) -> bool:
        """Takes it away, so that the source keeps nothing any more; False when there was none. Raises ReadFailed."""
        ...
