"""What an expression can see besides the record: the flow's clock, the message, cross-references known so far."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, TypeAlias

Query: TypeAlias = tuple[str, str, str]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Environment:
    """``now`` is the message's time (zone-aware), the same on every attempt. ``message`` holds id, key, source, time, topic and
    headers (a dict of lower-case names). ``refs`` maps (entity, key, wanted entity) to the known answer.

    A cross-reference that is not in ``refs`` is noted in ``missing`` and read as null; whoever applies the mapping resolves
    what is missing and applies it again, so a result is final only while ``missing`` is empty.
    """

    __slots__ = ("_asked", "message", "missing", "now", "refs")

    def __init__(
        self,
        now: dt.datetime = EPOCH,
        message: Mapping[str, Any] | None = None,
        refs: Mapping[Query, str | None] | None = None,
    ) -> None:
        self.now = now
        self.message: Mapping[str, Any] = message if message is not None else {}
        self.refs: Mapping[Query, str | None] = refs if refs is not None else {}
        self.missing: list[Query] = []
        self._asked: set[Query] = set()

    def ref(self, entity: str, key: str, to: str) -> str | None:
        """The key in ``to`` of the record ``key`` of ``entity``; None when there is none or it is not known yet."""
        query = (entity, key, to)
        if query in self.refs:
            return self.refs[query]
        if not self.missing:
            self._asked.clear()
        if query not in self._asked:
            self._asked.add(query)
            self.missing.append(query)
        return None
