"""The manifest of an API, typed: the ``settings:`` of a system file and the further keys of its entities."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from accord.sdk.auth import Auth, NoAuth
from accord.sdk.changes import Format
from accord.sdk.errors_http import ErrorRule
from accord.sdk.paging import NoPaging, Paging
from accord.sdk.rate_headers import DEFAULT_SOURCES, BudgetSource
from accord.sdk.webhooks import Signature
from accord.settings.node import Node
from accord.settings.secret import Secret

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
QueryValue: TypeAlias = str | int | bool

TIMEOUT = dt.timedelta(seconds=30)


class FindSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to look whether something was done before it is repeated: a GET whose answer holds it or not.

    ``match``: path in a found record → template it must equal; without it the first record found counts.
    """

    path: Text
    query: dict[str, QueryValue] = {}
    list: str = ""
    match: dict[str, QueryValue] = {}


class ReadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Incremental reading. ``cursor``: path of the change time (or number) in a record. ``param``: query parameter that asks
    for records from it on, sent as ``value`` with ``{since}``. ``inclusive: false``: the API gives later ones only.
    ``sorted``: records come in ascending order of the cursor (needed to read without gap where pages are counted).
    ``overlap``: how far to look back for records that were committed late.
    """

    cursor: Text
    param: Text
    value: str = "{since}"
    format: Format = "iso"
    inclusive: bool = True
    sorted: bool = False
    overlap: dt.timedelta = dt.timedelta(0)
    query: dict[str, QueryValue] = {}


class GetSettings(msgspec.Struct, frozen=True, kw_only=True):
    path: Text
    query: dict[str, QueryValue] = {}
    answer: str = ""


class WriteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One write. The body is the record, or ``body`` (a template), put under ``wrap``; ``omit`` leaves fields out.

    ``answer``: where in the answer the record is; ``id``: where its key is, if the answer is not the record.
    ``idempotent``: repeating it writes the same again (default: true but for create by another method than PUT).
    """

    path: Text
    method: Method | None = None
    query: dict[str, QueryValue] = {}
    headers: dict[str, str] = {}
    body: Any = None
    wrap: str = ""
    omit: list[str] = []
    answer: str = ""
    id: str = ""
    idempotent: bool | None = None


class WritesSettings(msgspec.Struct, frozen=True, kw_only=True):
    create: WriteSettings | None = None
    update: WriteSettings | None = None
    upsert: WriteSettings | None = None
    delete: WriteSettings | None = None


class HttpEntity(msgspec.Struct, frozen=True, kw_only=True):
    """Further keys of an entity. ``path`` and ``list`` (where in the body the records are) make it readable."""

    path: str = ""
    query: dict[str, QueryValue] = {}
    list: str = ""
    paging: Paging | None = None
    read: ReadSettings | None = None
    get: GetSettings | str | None = None
    write: WritesSettings = WritesSettings()
    find: FindSettings | None = None


class OperationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Something to call. ``takes`` and ``gives`` are fields in the shorthand of entities. The body is the arguments that
    stand neither in path nor query, or ``body`` (a template). ``answer``: where in the answer the result is."""

    path: Text
    method: Method = "POST"
    query: dict[str, QueryValue] = {}
    headers: dict[str, str] = {}
    body: Any = None
    wrap: str = ""
    takes: Node | None = None
    gives: Node | None = None
    answer: str = ""
    find: FindSettings | None = None
    read_only: bool | None = None
    idempotent: bool = False
    summary: str = ""


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """Where a webhook says something: in a ``header``, at a path of the ``body``, or always ``value``."""

    header: str = ""
    body: str = ""
    value: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.header, self.body, self.value))) != 1:
            raise ValueError("Give exactly one of `header`, `body` and `value`")


class SubscribeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask for webhooks, topic by topic. ``{address}`` and ``{topic}`` are known in templates; ``find`` looks whether
    it was asked before, so that asking again makes no second subscription."""

    path: Text
    method: Method = "POST"
    body: Any = None
    find: FindSettings


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Webhooks in. ``topics``: topic → entity. ``events``: path of a list when one request tells several events (the other
    paths then start at each of them). ``record``: path of the record. ``fetch``: the record's key, when only that is told."""

    signature: Signature
    topics: dict[str, Text]
    topic: Spot
    event_id: Spot | None = None
    events: str = ""
    record: str = ""
    fetch: Spot | None = None
    subscribe: SubscribeSettings | None = None


class RateLimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``headers``: which response headers tell how much is left. ``standard`` is RateLimit-Remaining and the newer RateLimit,
    ``x-ratelimit`` their older forms, ``salesforce`` Sforce-Limit-Info; an API's own are named one by one."""

    requests: Annotated[int, msgspec.Meta(ge=1)] | None = None
    per: dt.timedelta = dt.timedelta(seconds=1)
    concurrent: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 64
    adaptive: bool = True
    headers: tuple[BudgetSource, ...] = DEFAULT_SOURCES


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An API. ``idempotency_header``: the header whose value makes it do the same request once; name it only when the API
    documents it: many ignore the common name silently. ``decimals``: exact numbers go out as JSON numbers or as texts.
    ``hooks``: a Python file of the project that may define ``sign(request)`` and ``answer(response)``."""

    address: Text
    auth: Auth = NoAuth()
    headers: dict[str, str | Secret] = {}
    timeout: dt.timedelta = TIMEOUT
    paging: Paging = NoPaging()
    errors: list[ErrorRule] = []
    rate_limit: RateLimitSettings = RateLimitSettings()
    idempotency_header: str = ""
    decimals: Literal["number", "string"] = "number"
    check_path: str = ""
    operations: dict[str, OperationSettings] = {}
    webhooks: WebhookSettings | None = None
    hooks: str = ""
    manifest: str = ""
