"""What an operator is shown of messages and dead letters, and how times and numbers are read from what they ask."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from accord.errors import AccordError
from accord.journal.search import MessageQuery

SEQ_MAX = 2**53
SENT_MAX = 200  # records given by hand in one request: as many as a commit takes


class ControlError(AccordError):
    """An operator's command that cannot be carried out."""

    code = "engine.command"


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as it may be shown. ``record`` is masked; ``payload`` (the body as it came) only when asked for. ``origin``: where
    the record came from, if its source tells (file and row). ``run``: of the bulk flow it is a reject of, else ''."""

    seq: int
    id: str
    flow: str
    key: str
    source: str
    at: dt.datetime
    step: str
    code: str
    reason: str
    path: str
    attempts: int
    record: Any
    origin: str = ""
    run: str = ""
    problems: Any = None
    payload: str | None = None


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it may be shown. ``steps``: results journaled so far, by path (their outcome only). ``version`` of its flow it began
    with, '' when it has not begun or need not be known. ``in_doubt``: paths of effects whose last try may have been carried out."""

    seq: int
    id: str
    flow: str
    key: str
    source: str
    state: str
    accepted_at: dt.datetime
    settled_at: dt.datetime | None
    attempts: int
    due: dt.datetime | None
    held_by: str
    reason: str
    steps: dict[str, str]
    record: Any
    version: str = ""
    in_doubt: list[str] = []


class SteeredMany(msgspec.Struct, frozen=True):
    """How many messages were told, how many were refused (they had ended), and the last one's seq (0: there was none)."""

    done: int
    refused: int
    last: int


def query_of(given: Mapping[str, str]) -> MessageQuery:
    """A search as it is written in an address; what is missing or '' is any. Raises ValueError."""
    return MessageQuery(
        flow=given.get("flow", ""),
        key=given.get("key", ""),
        id=given.get("id", ""),
        state=given.get("state", ""),
        after_seq=whole_number(given.get("after", "") or "0"),
        before_seq=whole_number(given.get("before", "") or "0"),
        since=moment(given.get("since", "")),
        until=moment(given.get("until", "")),
        limit=whole_number(given.get("limit", "") or "100"),
    )


def moment(text: str) -> dt.datetime | None:
    """A time as ISO 8601, UTC where it names no zone; None for ''. Raises ValueError."""
    if not text:
        return None
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{text[:40]}' is no time like 2026-03-01T08:00") from None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def whole_number(text: str) -> int:
    """Of a message. Raises ValueError for what is no whole number the journal could have given."""
    if not text.isascii() or not text.isdigit() or int(text) > SEQ_MAX:
        raise ValueError(f"'{text[:40]}' is not a whole number from 0 to {SEQ_MAX}")
    return int(text)
