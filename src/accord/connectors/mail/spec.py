"""What a system file says about a mail server."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

from accord.settings.decode import Size
from accord.settings.secret import Secret


class MailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``tls``: none, starttls (usually port 587) or tls from the first byte (usually 465). ``port`` defaults by it.

    ``lookup_url``: GET ``{lookup_url}?message_id=…`` answers 200 with a list of the messages delivered (or an object holding it
    under ``messages``); then a message in doubt is looked up before it is sent again.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)]
    port: int | str | None = None
    user: str = ""
    password: Secret | None = None
    tls: Literal["none", "starttls", "tls"] = "starttls"
    ca_file: str = ""  # certificates to trust besides the system's, relative to the project
    from_: str
    templates: str = "templates"
    message_id_domain: str = ""  # the right side of Message-IDs; by default the sender's domain
    lookup_url: str = ""
    connections_max: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    timeout: dt.timedelta = dt.timedelta(seconds=30)  # for each answer of the server
    idle_max: dt.timedelta = dt.timedelta(seconds=20)  # an unused connection is closed after this
    message_size_max: Size = 20_000_000  # with attachments as sent; many servers take 25 MB
    recipients_max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100  # servers must take 100 (RFC 5321, 4.5.3.1.8)

    def __post_init__(self) -> None:
        try:
            number = int(self.port) if self.port is not None else 1
        except ValueError:
            raise ValueError("`port` must be a number") from None
        if not 0 < number < 65536:
            raise ValueError("`port` must be between 1 and 65535")

    @property
    def port_number(self) -> int:
        if self.port is not None:
            return int(self.port)
        return {"none": 25, "starttls": 587, "tls": 465}[self.tls]
