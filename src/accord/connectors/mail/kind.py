"""The mail connector as the engine sees it before any I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from accord.connectors.mail.connection import MailConnection
from accord.connectors.mail.message import Bad, addresses
from accord.connectors.mail.spec import MailSettings
from accord.errors import Faults
from accord.record import Entity, Field
from accord.record import types as t
from accord.sdk.connector import Capabilities, Connection, Context, Idempotency, KindBase, Operation, RateLimit
from accord.settings.node import Node

_REASON = (
    "SMTP has no idempotency key: a message whose confirmation was lost is sent again with the same Message-ID, "
    "by which receivers may drop it; `lookup_url` would tell"
)
_JSON = Field(type=t.Json(), nullable=True)
_TEXT = Field(type=t.String(), nullable=True)
TAKES: dict[str, Field] = {
    "to": Field(type=t.Json(), summary="An address, or a list of addresses"),
    "cc": _JSON,
    "bcc": _JSON,
    "reply_to": _JSON,
    "subject": _TEXT,
    "text": _TEXT,
    "html": _TEXT,
    "template": _TEXT,
    "data": _JSON,
    "attachments": _JSON,
    "headers": _JSON,
}
GIVES: dict[str, Field] = {"message_id": Field(type=t.String()), "answer": Field(type=t.String())}


class MailKind(KindBase):
    name: ClassVar[str] = "mail"
    summary: ClassVar[str] = "Mail out over SMTP, with templates and attachments"
    settings: ClassVar[type[msgspec.Struct]] = MailSettings

    def capabilities(self, settings: MailSettings, entity: Entity) -> Capabilities:
        return Capabilities()

    def operations(self, settings: MailSettings) -> Mapping[str, Operation]:
        can_look = bool(settings.lookup_url)
        return {
            "message": Operation(
                name="message",
                takes=TAKES,
                gives=GIVES,
                idempotency=Idempotency.LOOKUP if can_look else Idempotency.NONE,
                summary="Sends a mail",
                at_least_once_reason="" if can_look else _REASON,
            )
        }

    def rate_limit(self, settings: MailSettings) -> RateLimit:
        return RateLimit(concurrent=settings.connections_max)

    def check(self, settings: MailSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        try:
            addresses(settings.from_, "from")
        except Bad:
            what = f"`from` is no mail address: '{settings.from_[:80]}'."
            faults.add("connector.mail-address", node.place_of("from"), what, "Write The Shop <shop@example.org>.")
        if settings.password is not None and not settings.user:
            faults.add(
                "connector.mail-login", node.place_of("password"), "There is a `password` but no `user`.", "Add `user`."
            )
        is_local = re.fullmatch(r"localhost|127(\.\d+){3}|::1", settings.host) is not None
        if settings.password is not None and settings.tls == "none" and not is_local:
            what = "The password travels unprotected, because `tls` is none."
            mend = "Write tls: starttls (port 587) or tls: tls (port 465)."
            faults.add("connector.mail-open-password", node.place_of("tls"), what, mend, severity="warning")
        for name, entity in entities.items():
            what = f"The mail system has no entities, so '{name}' has no use."
            faults.add("connector.mail-entity", entity.place, what, "Send with `send: mail.message`.")

    def connect(self, settings: MailSettings, entities: Mapping[str, Entity], context: Context) -> Connection:
        return MailConnection(settings, context)
