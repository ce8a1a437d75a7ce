"""A message: a record on its way."""

from __future__ import annotations

import datetime as dt

import msgspec

TOPIC_HEADER = "accord-topic"
FETCH_HEADER = "accord-fetch"
PARENT_SPAN_HEADER = "accord-parent-span"
BACKFILL_HEADER = "accord-backfill"
CHANGE_HEADER = "accord-change"
OLD_HEADER = "accord-old"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """``body`` is JSON as received, untouched; ``key`` orders messages (same flow and key: one after another).

    ``id`` is unique in the journal. ``source`` is the entity (``shop.orders``) it came from; ``event_id`` the source's own
    id of the event, for dedupe. ``time`` is when it was accepted (UTC): the flow's clock, the same on every attempt.
    Header ``accord-topic`` is the webhook topic; ``accord-fetch`` (if set) the key of the record to read from the source
    because the body holds only an id; ``accord-parent-span`` the span of whoever sent it (W3C);
    ``accord-backfill`` (if set): it is of a catch-up, so live messages go before it;
    ``accord-change`` what happened to the row this is about, ``accord-old`` (if known) the row before, as JSON.
    """

    id: str
    flow: str
    key: str
    source: str
    body: bytes
    time: dt.datetime
    event_id: str = ""
    headers: dict[str, str] = {}
    trace_id: str = ""


class Cursor(msgspec.Struct, frozen=True):
    """How far an incremental read has come. ``position`` is the connector's own JSON value, opaque to everyone else."""

    name: str
    position: bytes
