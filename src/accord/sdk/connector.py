"""The connector contract.

A connector is one object (a ``ConnectorKind``) named by an entry point of the group ``accord.connectors``. It tells, without
any I/O, what its systems can do; and it opens connections. Implement only what the capabilities declare: the engine never
calls the rest. Base class ``Connection`` raises for everything not implemented.

Errors of one effect are values (``accord.record.outcome``), translated from the foreign library in one place of the
connector. An exception that escapes is a defect: the engine logs it and treats it as ``Retry(in_doubt=True)``.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from accord.errors import ConnectorError, Faults
from accord.record import Done, Entity, Field, Outcome
from accord.sdk.budget import Budget, nobody_asks
from accord.sdk.bulk import LoadMode
from accord.sdk.http import HttpClient, InboundRequest
from accord.sdk.shape import Shape
from accord.settings.node import Node


class WriteMode(enum.StrEnum):
    CREATE = "create"
    UPDATE = "update"
    UPSERT = "upsert"
    DELETE = "delete"


class Idempotency(enum.StrEnum):
    """By what means a repeated write does nothing twice, best first."""

    TRANSACTION = "transaction"  # the effect id is stored with the data in one transaction
    KEY = "key"  # the target takes an idempotency key
    UPSERT = "upsert"  # repeating writes the same record over itself
    LOOKUP = "lookup"  # the connector looks whether it was done before it repeats an in-doubt item
    NONE = "none"  # at-least-once


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``requests`` in ``per_s`` seconds, ``concurrent`` at once; None is unbounded by rate. ``adaptive``: how many at once
    (1 to ``concurrent``) is found from latency and refusals; for what queues nothing anyway, or answers by size, it is not."""

    requests: int | None = None
    per_s: float = 1.0
    concurrent: int = 64
    adaptive: bool = True


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What can be done with one entity of a system, as declared (no I/O). ``read_takes_away``: what was read is not there any more
    (files are moved), so only one reader can have it."""

    discover: bool = False
    read: bool = False
    read_changes: bool = False
    read_takes_away: bool = False
    stream_changes: bool = False  # the connection is an ``accord.sdk.capture.ChangeSource`` for this entity
    get: bool = False
    listen: bool = False
    write: frozenset[WriteMode] = frozenset()
    idempotency: Mapping[WriteMode, Idempotency] = {}
    write_items_max: int = 1
    at_least_once_reason: str = ""  # shown by `accord check` where idempotency is NONE: what the target would need
    bulk_read: bool = False  # the connection is an ``accord.sdk.bulk.BulkSource`` for this entity
    bulk_partitions: bool = False  # … and reads with as many connections as asked for
    bulk_write: frozenset[LoadMode] = frozenset()  # … a ``BulkTarget``, in these modes
    bulk_at_least_once: Mapping[
        LoadMode, str
    ] = {}  # of these, where a repeated chunk may be there twice: what the target would need
    bulk_spread: bool = False  # … a ``accord.sdk.spread.SpreadSource``: other processes may read it in parts


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be called (``call: inventory.decrease_stock``) or sent (``send: mail.message``)."""

    name: str
    takes: Mapping[str, Field]
    gives: Mapping[str, Field] | None = None  # None: the answer is json
    idempotency: Idempotency = Idempotency.NONE
    is_read_only: bool = False
    summary: str = ""
    at_least_once_reason: str = ""


class WriteItem(msgspec.Struct, frozen=True):
    """``record`` in the target entity's schema (typed Python values). ``effect_id`` is the same on every attempt.
    ``in_doubt``: an earlier attempt may have been carried out (crash, lost answer)."""

    effect_id: str
    record: dict[str, Any]
    in_doubt: bool = False


class CallItem(msgspec.Struct, frozen=True):
    effect_id: str
    arguments: dict[str, Any]
    in_doubt: bool = False


class Page(msgspec.Struct, frozen=True):
    """Records read together (JSON-like plain data, exact numbers) and the position to resume after them.

    ``event_ids``: the source's own id of each record, in order (``orders.csv@0:12``, key and version of a row), so that a
    record read again is not accepted twice; empty when the source has none. ``name`` and ``is_last`` are for sources of
    files: the file the records came from, and that nothing of it is left, so ``settled(entity, name)`` may follow.
    """

    records: list[dict[str, Any]]
    position: Any  # JSON value; stored as the cursor once the page is accepted
    event_ids: list[str] = []
    name: str = ""
    is_last: bool = False
    malformed: dict[
        int, str
    ] = {}  # index of a record that could not be read, and why: its record holds only the raw text
    places: list[
        str
    ] = []  # where a person finds each record ("in/orders.csv row 12"); empty when there is nothing to tell


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a webhook told. ``body`` is the record's JSON as received (or the part of it that is the record).

    ``entity`` is the short name; ``event_id`` the source's id for dedupe ('' if it has none); ``fetch``: the body holds only
    an id, read the record with this key before the flow runs.
    """

    entity: str
    topic: str
    body: bytes
    event_id: str = ""
    fetch: str = ""
    headers: Mapping[str, str] = {}


class Received(msgspec.Struct, frozen=True):
    """The request is genuine. Events may be none (a ping). ``answer`` is sent with 200 after the journal has committed."""

    events: tuple[Event, ...]
    answer: bytes = b""
    answer_type: str = "application/json"


class Refused(msgspec.Struct, frozen=True):
    """The request is not taken: 401 bad signature, 400 malformed. Nothing of it is stored."""

    status: int
    reason: str


class Found(msgspec.Struct, frozen=True):
    """A file that has arrived whole, for connectors that listen to folders."""

    name: str
    size_bytes: int


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine gives a connection. ``folder``: the project's folder, for relative paths. ``state_folder``: scratch.
    ``budget``: call it, while the request is under way, with what its answer says is left to use."""

    system: str
    http: HttpClient
    folder: Path
    state_folder: Path
    budget: Callable[[Budget], None] = nobody_asks


class Connection:
    """A live connection to one system. One object per system; every method may run concurrently unless it says otherwise."""

    async def open(self) -> None:
        """Called once before anything else. Raises ConnectorError when settings cannot work; an unreachable system is no error here."""

    async def close(self) -> None:
        """Called once at the end, also after a failed open."""

    async def check(self) -> Outcome:
        """A cheap proof that address and credentials work: Done, Reconnect or Reject."""
        raise ConnectorError(f"{type(self).__name__} has no connection check")

    async def discover(self) -> Sequence[Entity]:
        """What the system holds. Needs capability ``discover``."""
        raise ConnectorError(f"{type(self).__name__} cannot discover")

    async def shape(self, entity: Entity, position: Any = None) -> Sequence[Shape]:
        """The columns that reading on from ``position`` would find, without reading rows: of each table or file. Empty where that cannot be
        told. Raises ReadFailed."""
        return ()

    def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        """All records (position None and capability ``read``), or those changed since ``position`` (``read_changes``), oldest first.

        Every record changed after ``position`` is given at least once; the same record may come again. Raises ReadFailed.
        """
        raise ConnectorError(f"{type(self).__name__} cannot read")

    async def get(self, entity: Entity, key: str) -> Outcome:
        """One record by key: Done(record), Reject when there is none, Retry, Reconnect. Needs capability ``get``."""
        raise ConnectorError(f"{type(self).__name__} cannot get")

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        """Writes 1..write_items_max items. A single outcome stands for all items; Partial tells them apart.

        Done.result is the record as the target now has it, as far as it says so (at least its key when the target assigned it).
        Honours ``effect_id`` and ``in_doubt`` as its declared idempotency promises.
        """
        raise ConnectorError(f"{type(self).__name__} cannot write")

    async def call(self, operation: str, item: CallItem) -> Outcome:
        """Runs an operation; Done.result is its answer."""
        raise ConnectorError(f"{type(self).__name__} has no operations")

    def receive(self, request: InboundRequest) -> Received | Refused:
        """Verifies and reads a webhook. No I/O: it runs before the journal commits."""
        return Refused(404, "this system takes no webhooks")

    async def subscribe(self, address: str, topics: Sequence[str]) -> Outcome:
        """Makes the system send its webhooks for ``topics`` to ``address`` (idempotent). Done(None) where nothing is to be done."""
        return Done(None)

    async def settled(self, entity: Entity, name: str, *, rejected: bool) -> None:
        """For sources of files: every record of ``name`` is accepted by the journal (or was refused): move it away. Idempotent."""


class ReadFailed(ConnectorError):
    """A read stopped; ``outcome`` (Retry, Reconnect or Reject) says what to do. Pages given before it stay valid."""

    code = "connector.read-failed"

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(str(getattr(outcome, "reason", outcome)))


class LoadFailed(ReadFailed):
    """A load stopped; ``outcome`` as for ReadFailed. Chunks written before it stay written."""

    code = "connector.load-failed"


class ConnectorKind(Protocol):
    """What an entry point of ``accord.connectors`` names. Stateless; every method but ``connect`` is pure."""

    name: ClassVar[str]
    summary: ClassVar[str]
    settings: ClassVar[type[msgspec.Struct]]  # the `settings:` of a system file; secrets are fields of type Secret
    entity_settings: ClassVar[type[msgspec.Struct] | None]  # further keys an entity may have (path, table, …)

    def entities(self, settings: Any) -> Mapping[str, Entity]:
        """Entities the connector knows by itself, by short name; a system file may narrow or extend them."""
        ...

    def capabilities(self, settings: Any, entity: Entity) -> Capabilities: ...

    def operations(self, settings: Any) -> Mapping[str, Operation]: ...

    def topics(self, settings: Any) -> Mapping[str, str]:
        """Webhook topics it can receive, each with the short name of its entity."""
        ...

    def rate_limit(self, settings: Any) -> RateLimit: ...

    def check(self, settings: Any, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        """Further static checks, adding faults with their place. ``node`` is the `settings:` mapping."""
        ...

    def connect(self, settings: Any, entities: Mapping[str, Entity], context: Context) -> Connection: ...


class KindBase:
    """Defaults for a ConnectorKind: no entities or operations of its own, nothing more to check."""

    entity_settings: ClassVar[type[msgspec.Struct] | None] = None

    def entities(self, settings: Any) -> Mapping[str, Entity]:
        return {}

    def operations(self, settings: Any) -> Mapping[str, Operation]:
        return {}

    def topics(self, settings: Any) -> Mapping[str, str]:
        return {}

    def rate_limit(self, settings: Any) -> RateLimit:
        return RateLimit()

    def check(self, settings: Any, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        return None
