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


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """A question to one record's answer: is the value ``at`` a path ``equals`` (one or several), a number ``below``, or ``absent``
    (missing, null, empty)?"""

    __test__ = False  # no test class for pytest

    at: Text
    equals: str | int | bool | list[str | int] | None = None
    below: int | None = None
    absent: bool = False

    def __post_init__(self) -> None:
        if sum((self.equals is not None, self.below is not None, self.absent)) != 1:
            raise ValueError("Give exactly one of `equals`, `below` and `absent: true`")


class AnswersSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a batch's answer says what came of each record. ``at``: path of the list. ``by``: an answer belongs to its record by
    ``position``, by the ``index`` it names (from 0) or by the ``key`` it names; ``name`` is the path of that index or key in an answer.
    ``ok``: how a record that was written is told; ``again``: one that was not, but may be later. ``only_refused``: the list
    names refused records only. ``reason``, ``path`` and ``code``: where an answer has the sentence, the field at fault and the API's code.
    """

    at: str = ""
    by: Literal["position", "index", "key"] = "position"
    name: str = ""
    ok: Test | None = None
    again: Test | None = None
    only_refused: bool = False
    reason: str = "message"
    path: str = "field"
    code: str = "code"

    def __post_init__(self) -> None:
        if self.ok is None and not self.only_refused:
            raise ValueError(
                "Say how a written record is told (`ok`), or that only refused ones are named (`only_refused: true`)"
            )
        if self.only_refused and self.by == "position":
            raise ValueError(
                "`only_refused` needs `by: index` or `by: key`: a position tells nothing in a list of some records"
            )


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Many records in one request. ``size``: records of one; a batch that is too large for the API (413) is halved. ``body``: a JSON
    ``list``, put under ``wrap``, or JSON lines (``jsonl``); ``omit`` leaves fields out. ``answers``: without it a success means that
    all were written. ``all_or_nothing``: a success that refuses some has written none. ``splits_max``: requests that look for the
    refused records of one batch; what is still together then is refused together. ``idempotent``: the API makes nothing of a repeat
    (default: false for append, true for upsert). Templates of query and headers know ``{effect_id}``, which names the batch."""

    path: Text
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    query: dict[str, QueryValue] = {}
    headers: dict[str, str] = {}
    size: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 500
    body: Literal["list", "jsonl"] = "list"
    wrap: str = ""
    omit: list[str] = []
    answers: AnswersSettings | None = None
    all_or_nothing: bool = False
    splits_max: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 200
    idempotent: bool | None = None

    def __post_init__(self) -> None:
        if self.wrap and self.body == "jsonl":
            raise ValueError("JSON lines stand under no name: leave `wrap` out, or send a `list`")


class BulkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How bulk flows load, mode by mode."""

    append: BatchSettings | None = None
    upsert: BatchSettings | None = None


class HttpEntity(msgspec.Struct, frozen=True, kw_only=True):
    """Further keys of an entity. ``path`` and ``list`` (where in the body the records are) make it readable."""

    path: str = ""
    query: dict[str, QueryValue] = {}
    list: str = ""
    paging: Paging | None = None
    read: ReadSettings | None = None
    get: GetSettings | str | None = None
    write: WritesSettings = WritesSettings()
    bulk: BulkSettings = BulkSettings()
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
