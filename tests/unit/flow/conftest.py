"""A small business to compile flows against: a shop, inventory, crm and books, all of one small connector kind."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import msgspec
import pytest

from accord.errors import Faults
from accord.flow.commands import Command, Finished
from accord.flow.flow import Flow
from accord.flow.running import StepRejected
from accord.project.load import assemble
from accord.project.project import Project
from accord.project.sources import Sources
from accord.record import Done, Entity, Field, Message
from accord.record.types import Integer, String
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import Capabilities, Connection, Idempotency, KindBase, Operation, WriteMode
from accord.settings.node import Node, parse_yaml

Offer = Literal[
    "read", "read_changes", "get", "listen", "create", "update", "upsert", "delete", "append", "replace", "delete_missing", "history"
]  # fmt: skip
TEXT = Field(type=String())
NUMBER = Field(type=Integer())


class PaperSettings(msgspec.Struct, frozen=True):
    topics: dict[str, str] = {}


class PaperEntity(msgspec.Struct, frozen=True):
    offers: tuple[Offer, ...] = ()
    by: Idempotency = Idempotency.UPSERT


class PaperKind(KindBase):
    """Everything declared, nothing connected: what an entity offers stands in its declaration."""

    name: ClassVar[str] = "paper"
    summary: ClassVar[str] = "for tests of declarations"
    settings: ClassVar[type[msgspec.Struct]] = PaperSettings
    entity_settings: ClassVar[type[msgspec.Struct] | None] = PaperEntity

    def capabilities(self, settings: Any, entity: Entity) -> Capabilities:
        extra = entity.extra if isinstance(entity.extra, PaperEntity) else PaperEntity()
        is_loaded = "append" in extra.offers
        modes = frozenset(WriteMode(o) for o in extra.offers if o in set(WriteMode))
        return Capabilities(
            read_changes="read_changes" in extra.offers,
            get="get" in extra.offers,
            listen="listen" in extra.offers,
            write=modes,
            idempotency=dict.fromkeys(modes, extra.by),
            bulk_write=frozenset(LoadMode(o) for o in extra.offers if o in set(LoadMode)) if is_loaded else frozenset(),
            at_least_once_reason="paper has no memory" if extra.by is Idempotency.NONE else "",
        )

    def operations(self, settings: Any) -> Mapping[str, Operation]:
        key = Idempotency.KEY
        found = [
            Operation(name="decrease", takes={"sku": TEXT, "by": NUMBER}, gives={"left": NUMBER}, idempotency=key),
            Operation(name="increase", takes={"sku": TEXT, "by": NUMBER}, idempotency=key),
            Operation(name="stock", takes={"sku": TEXT}, gives={"left": NUMBER}, is_read_only=True),
            Operation(name="facts", takes={"sku": TEXT}, is_read_only=True),
            Operation(name="message", takes={"to": TEXT, "subject": TEXT}),
        ]
        return {operation.name: operation for operation in found}

    def topics(self, settings: PaperSettings) -> Mapping[str, str]:
        return settings.topics

    def connect(self, settings: Any, entities: Mapping[str, Entity], context: Any) -> Connection:
        return Connection()


SYSTEMS = """
- system: shop
  connector: paper
  settings: {topics: {orders/create: orders, customers/create: customers}}
  entities:
    orders:
      key: id
      offers: [listen, read_changes, get]
      fields:
        id: integer
        email: {type: string, personal: contact, nullable: true}
        total: {type: decimal, min: 0}
        note: string?
        customer: {object: {id: integer}}
        lines: {list: {sku: string, quantity: integer}}
        tags: {list: string, nullable: true}
    customers:
      key: id
      offers: [listen]
      fields: {id: integer, name: string}
- system: store
  connector: paper
  entities: {}
- system: books
  connector: paper
  entities:
    invoices:
      key: number
      offers: [create, upsert, update, delete, get]
      by: key
      fields: {number: string, total: decimal, client: string?, day: date?}
    lines:
      offers: [create]
      by: none
      fields: {sku: string}
- system: crm
  connector: paper
  entities:
    clients:
      key: id
      offers: [get, upsert]
      fields: {id: string, name: string, since: date?}
"""

MAPPINGS = """
- mapping: order-to-invoice
  from: shop.orders
  to: books.invoices
  fields: {number: '"R" + text(id)', total: total, client: 'ref(customer.id, of="shop.customers", to="crm.clients")'}
- mapping: order-to-client
  from: shop.orders
  to: crm.clients
  fields: {id: text(customer.id), name: '"n"'}
"""


def nodes(text: str, name: str) -> tuple[Node, ...]:
    faults = Faults()
    node = parse_yaml(text, name, faults)
    faults.raise_if_any()
    assert node is not None
    return tuple(node.elements()) if node.is_list else (node,)


Build = Callable[..., tuple[Flow | None, Faults]]


@pytest.fixture(scope="session")
def build() -> Build:
    """``build(flow yaml)`` → the flow (None when it has errors) and the faults; ``build.project`` is not needed here."""

    def of(
        text: str, *, systems: str = SYSTEMS, mappings: str = MAPPINGS, more_mappings: str = ""
    ) -> tuple[Flow | None, Faults]:
        faults = Faults()
        project = assemble(
            Sources(
                project=Node.of({"name": "tests"}),
                systems=nodes(systems, "systems.yaml"),
                mappings=nodes(mappings + more_mappings, "mappings.yaml"),
                flows=nodes(text, "flow.yaml"),
            ),
            "",
            faults,
            variables={},
            connectors={"paper": PaperKind()},
        )
        assert isinstance(project, Project), [str(f) for f in faults.found]
        return (next(iter(project.flows.values())) if project.flows else None), faults

    return of


@pytest.fixture(scope="session")
def flow_of(build: Build) -> Callable[[str], Flow]:
    """A flow with the given steps on a webhook of shop.orders; it must have no errors."""

    def of(steps: str, head: str = "") -> Flow:
        text = "flow: f\non: {webhook: shop.orders, topic: orders/create}\n" + head + "steps:\n" + steps
        flow, faults = build(text)
        assert flow is not None, "\n".join(str(f) for f in faults.errors)
        return flow

    return of


ORDER = {
    "id": 7,
    "email": "ada@example.com",
    "total": 12.5,
    "customer": {"id": 3},
    "lines": [{"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 1}],
}
NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def message() -> Callable[..., Message]:
    def of(body: dict[str, Any] | bytes = ORDER, **changes: Any) -> Message:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        values: dict[str, Any] = {
            "id": "m1",
            "flow": "f",
            "key": "7",
            "source": "shop.orders",
            "body": raw,
            "time": NOW,
        }
        return Message(**(values | changes))

    return of


class Driven(msgspec.Struct):
    """What a driven generator asked for and how it ended."""

    commands: list[Command]
    finished: Finished | None = None
    rejected: StepRejected | None = None

    @property
    def paths(self) -> list[str]:
        return [getattr(command, "path", type(command).__name__) for command in self.commands]


@pytest.fixture(scope="session")
def drive() -> Callable[..., Driven]:
    """Runs a generator, answering each command by ``answers`` (by path, or by command class name), Done(None) otherwise."""

    def run(running: Any, answers: Mapping[str, Any] | None = None) -> Driven:
        driven = Driven([])
        table = dict(answers or {})

        def answer_to(command: Command) -> Any:
            name = type(command).__name__
            if name == "All":
                return [answer_to(each) for each in command.commands]  # type: ignore[union-attr]
            key = getattr(command, "path", name)
            if key not in table and name == "Resolve":
                return [table.get(query) for query in command.queries]  # type: ignore[union-attr]
            default = Done(None) if name in ("Write", "Call", "Fetch") else True if name == "Mark" else None
            return table.get(key, default)

        answer: Any = None
        for _ in range(10_000):
            try:
                command = running.send(answer)
            except StopIteration as end:
                driven.finished = end.value
                return driven
            except StepRejected as error:
                driven.rejected = error
                return driven
            driven.commands.append(command)
            answer = answer_to(command)
        raise AssertionError("the flow does not end")

    return run
