"""Alerts as a project declares them, and the channels of an environment that carry their notices."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from accord.errors import NOWHERE, Place
from accord.settings.secret import Secret

_ALERT_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])\Z")
Weekday: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NEEDS_FLOW = ("silence", "missing")
_NEEDS_WITHIN = ("silence", "missing", "oldest_waiting", "error_rate")


class AlertSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One condition that somebody wants to hear of: when it begins, and when it is over."""

    alert: Annotated[str, Meta(pattern=_ALERT_NAME, description="Its name, in notices and pages.")]
    when: Annotated[
        Literal["dead_letters", "error_rate", "oldest_waiting", "breaker_open", "silence", "missing", "quality"],
        Meta(
            description="dead_letters: more than `above` are there. error_rate: more than `above` percent of the messages settled"
            " `within` that time are dead. oldest_waiting: a message has been open for longer than `within`. breaker_open: a system is"
            " not used because it fails. silence: no message came `within` that time of the `hours`. missing: a message has not reached"
            " the entity `reaches` `within` that time. quality: the data of the last run of a bulk flow differs from the runs before it by"
            " more than its entity's `quality` bears."
        ),
    ]
    flow: Annotated[str, Meta(description="The flow it looks at. '': every flow, each by itself.")] = ""
    system: Annotated[str, Meta(description="Of breaker_open: the system. '': every system.")] = ""
    reaches: Annotated[
        str, Meta(description="Of missing: the entity that this flow, or another, writes to, like accounting.invoices.")
    ] = ""
    above: Annotated[
        float, Meta(ge=0, description="Of dead_letters: how many are still no alert; of error_rate: how many percent.")
    ] = 0
    at_least: Annotated[
        int, Meta(ge=1, description="Of error_rate: with fewer messages `within`, nothing is said of them.")
    ] = 10
    within: Annotated[dt.timedelta | None, Meta(description="The time that the condition is about.")] = None
    for_: Annotated[dt.timedelta, Meta(description="How long the condition must last before anybody hears of it.")] = (
        dt.timedelta(0)
    )
    hours: Annotated[str, Meta(description='Of silence: when messages are expected, like "08:00-18:00".')] = ""
    weekdays: Annotated[list[Weekday], Meta(description="Of silence: the days on which they are.")] = msgspec.field(
        default_factory=lambda: list(WEEKDAYS)
    )
    zone: Annotated[str, Meta(description="Of `hours`: an IANA time zone. '': the project's.")] = ""
    severity: Annotated[Literal["info", "warning", "critical"], Meta(description="Shown in notices and pages.")] = (
        "warning"
    )
    notify: Annotated[
        list[str], Meta(description="Channels of the environment. None: it shows on pages and in the log.")
    ] = []
    repeat_every: Annotated[
        dt.timedelta, Meta(description="How often it is told again while it lasts. 4h: twice in a working day.")
    ] = dt.timedelta(hours=4)
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        if self.when in _NEEDS_FLOW and not self.flow:
            raise ValueError(f"`flow` is missing: {self.when} is about one flow")
        if self.when in _NEEDS_WITHIN and not self.within:
            raise ValueError(f"`within` is missing: {self.when} needs a time, like 10m")
        if (self.when == "missing") != bool(self.reaches):
            raise ValueError("`reaches` names the entity of an alert when: missing, and of no other")
        if self.system and self.when != "breaker_open":
            raise ValueError("`system` belongs to an alert when: breaker_open")
        if self.flow and self.when == "breaker_open":
            raise ValueError("`flow` says nothing to breaker_open: name a `system`")
        if self.hours and (self.when != "silence" or not _HOURS.match(self.hours) or _is_empty(self.hours)):
            raise ValueError('`hours` belong to silence and are written from-to within one day, like "08:00-18:00"')
        if not self.weekdays:
            raise ValueError("`weekdays` needs one day at least")
        if self.repeat_every < dt.timedelta(minutes=1):
            raise ValueError("`repeat_every` must be 1m or more: who is told all the time hears nothing")
        if self.zone and self.zone not in zoneinfo.available_timezones():
            raise ValueError(f"`zone` '{self.zone[:60]}' is no IANA time zone")


def hours_of(text: str) -> tuple[dt.time, dt.time]:
    """Of ``AlertSpec.hours``; '' is the whole day. The second is exclusive, and 00:00 there is the day's end."""
    found = _HOURS.match(text or "00:00-00:00")
    assert found is not None
    first, second, third, fourth = map(int, found.groups())
    return dt.time(first, second), dt.time(third, fourth)


def _is_empty(text: str) -> bool:
    begin, end = hours_of(text)
    return end != dt.time(0) and begin >= end


class ChannelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where notices of alerts go: one of ``mail``, ``webhook`` and ``slack``."""

    mail: Annotated[
        list[str], Meta(description="Addresses that get a mail through `system`, or the server `host`.")
    ] = []
    system: Annotated[
        str, Meta(description="Of mail: a system of the connector mail; its server, sender and credentials are used.")
    ] = ""
    webhook: Annotated[str, Meta(description="An address that gets a JSON object by POST.")] = ""
    secret: Annotated[
        Secret | None,
        Meta(description="Of webhook: signs the body; x-accord-signature is sha256= and its HMAC-SHA256 in hex."),
    ] = None
    slack: Annotated[
        Secret | None,
        Meta(description="An incoming webhook of Slack, or of who takes the same shape; its address is a secret."),
    ] = None
    host: Annotated[str, Meta(description="Of mail: the server's name.")] = ""
    port: Annotated[int, Meta(ge=1, le=65_535, description="Of mail: 587 for starttls, 465 for tls.")] = 587
    tls: Annotated[Literal["none", "starttls", "tls"], Meta(description="Of mail: how the connection is secured.")] = (
        "starttls"
    )
    from_: Annotated[str, Meta(description="Of mail: the sender's address.")] = ""
    user: Annotated[str, Meta(description="Of mail: who signs in at the server. '': nobody does.")] = ""
    password: Annotated[Secret | None, Meta(description="Of mail: that user's, as ${secret:name}.")] = None
    ca_file: Annotated[
        str, Meta(description="Of mail: certificates to trust besides the machine's, relative to the project.")
    ] = ""
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        if sum((bool(self.mail), bool(self.webhook), self.slack is not None)) != 1:
            raise ValueError("a channel has one of `mail`, `webhook` and `slack`")
        if self.mail and not self.system and not (self.host and self.from_):
            raise ValueError("`mail` needs a `system`, or `host` and `from`")
        if self.system and (self.host or self.user or self.password or not self.mail):
            raise ValueError("`system` belongs to `mail`, and has the server's name and credentials itself")
        if self.webhook and not self.webhook.startswith(("https://", "http://")):
            raise ValueError("`webhook` must begin with https://")
        if self.secret is not None and not self.webhook:
            raise ValueError("`secret` belongs to a `webhook`")

    @property
    def kind(self) -> str:
        return "mail" if self.mail else "webhook" if self.webhook else "slack"
