"""Webhooks in: verify, then find topic, event id and record without touching the record's bytes."""

from __future__ import annotations

import msgspec

from accord.connectors.http.settings import Spot, WebhookSettings
from accord.sdk.bodies import raw_at, raw_items, raw_object
from accord.sdk.connector import Event, Received, Refused
from accord.sdk.http import InboundRequest
from accord.sdk.webhooks import verifier

EVENTS_MAX = 10_000  # events in one request


class Receiver:
    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._verify = verifier(settings.signature)

    def receive(self, request: InboundRequest) -> Received | Refused:
        forged = self._verify(request)
        if forged:
            return Refused(401, forged)
        if raw_object(request.body) is None and not (self._settings.events and request.body[:1] == b"["):
            return Refused(400, "the body is not one JSON object")
        try:
            parts = self._parts(request.body)
            events = [event for part in parts if (event := self._event(request, part)) is not None]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Refused(400, "the body is not JSON")
        except _Malformed as error:
            return Refused(400, str(error))
        return Received(tuple(events))

    def _parts(self, body: bytes) -> list[bytes]:
        path = self._settings.events
        if not path:
            return [body]
        listed = body if body[:1] == b"[" else raw_at(body, path)
        parts = raw_items(listed) if listed is not None else []
        if len(parts) > EVENTS_MAX:
            raise _Malformed(f"more than {EVENTS_MAX} events in one request")
        return parts

    def _event(self, request: InboundRequest, body: bytes) -> Event | None:
        """None for a topic nobody declared: it is taken and left alone, so that the sender does not repeat it for ever."""
        settings = self._settings
        topic = _at(settings.topic, request, body)
        entity = settings.topics.get(topic)
        if entity is None:
            return None
        record = raw_at(body, settings.record) if settings.record else body
        if record is None or raw_object(record) is None:
            raise _Malformed(f"there is no record at `{settings.record}`")
        fetch = _at(settings.fetch, request, body) if settings.fetch else ""
        if settings.fetch and not fetch:
            raise _Malformed("the key of the record is missing")
        event_id = _at(settings.event_id, request, body) if settings.event_id else ""
        return Event(entity=entity, topic=topic, body=record, event_id=event_id, fetch=fetch)


class _Malformed(Exception):
    pass


def _at(spot: Spot, request: InboundRequest, body: bytes) -> str:
    if spot.value:
        return spot.value
    if spot.header:
        return request.headers.get(spot.header.lower(), "")
    raw = raw_at(body, spot.body)
    if raw is None or raw == b"null":
        return ""
    return str(msgspec.json.decode(raw)) if raw[:1] == b'"' else raw.decode()
