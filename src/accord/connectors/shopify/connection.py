"""A connection to one shop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

import msgspec

from accord.connectors.shopify import wire
from accord.connectors.shopify.admin import Admin, Stopped
from accord.connectors.shopify.bulk_reading import BulkReader
from accord.connectors.shopify.entities import TOPICS, known_entities
from accord.connectors.shopify.operations import Caller
from accord.connectors.shopify.reading import LISTINGS, Reader
from accord.connectors.shopify.receiving import Receiver
from accord.connectors.shopify.settings import ShopifySettings
from accord.connectors.shopify.writing import Writer
from accord.record import Done, End, Entity, Outcome, Partial, Reconnect, Reject, Retry
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import CallItem, Connection, Context, Page, Received, Refused, WriteItem, WriteMode
from accord.sdk.http import InboundRequest


class ShopifyConnection(Connection):
    def __init__(self, settings: ShopifySettings, context: Context) -> None:
        self._settings, self._http = settings, context.http
        self._admin = Admin(settings, context.http, context.budget)
        self._reader = Reader(self._admin, settings)
        self._writer = Writer(self._admin, settings)
        self._caller = Caller(self._admin)
        self._receiver = Receiver(settings)

    async def check(self) -> Outcome:
        async def ask() -> Outcome:
            data = await self._admin.run("shop", {}, is_check=True)
            return Done({"name": data["shop"]["name"], "currency": data["shop"]["currencyCode"]})

        return await _outcome(ask(), changes=False)

    async def discover(self) -> Sequence[Entity]:
        """What every shop holds; a shop's own metafields are not looked at."""
        return tuple(known_entities().values())

    def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        return self._reader.read(entity.short_name, position)

    def read_bulk(self, entity: Entity, request: BulkRead) -> AsyncIterator[Batch]:
        """See ``accord.sdk.bulk.BulkSource``."""
        return BulkReader(self._admin, self._http, self._reader, self._settings, entity, request).batches()

    async def get(self, entity: Entity, key: str) -> Outcome:
        return await _outcome(self._get(entity.short_name, key), changes=False)

    async def _get(self, name: str, key: str) -> Outcome:
        document = name.removesuffix("s")
        if wire.number_of(wire.gid("Any", key)) is None:
            return Reject(f"a key of {name} is a number", code="connector.not-found")
        data = await self._admin.run(document, {"id": wire.gid(document.capitalize(), key)})
        node = data[document]
        if node is None:
            return Reject(f"there is no {document} {key[:40]}", code="connector.not-found")
        if document == "fulfillment":
            return Done(wire.fulfillment(node))
        listing = LISTINGS[name]
        return Done(listing.translate(await self._reader.complete(node, listing.parts)))

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        name = entity.short_name
        outcomes = await asyncio.gather(
            *(
                _outcome(self._writer.write(name, mode, item), changes=True, was_in_doubt=item.in_doubt)
                for item in items
            )
        )
        return outcomes[0] if len(outcomes) == 1 else Partial(tuple(outcomes))

    async def call(self, operation: str, item: CallItem) -> Outcome:
        return await _outcome(self._caller.call(operation, item), changes=True, was_in_doubt=item.in_doubt)

    def receive(self, request: InboundRequest) -> Received | Refused:
        return self._receiver.receive(request)

    async def subscribe(self, address: str, topics: Sequence[str]) -> Outcome:
        """Makes the subscriptions that are not there yet; those at other addresses stay."""
        unknown = [topic for topic in topics if topic not in TOPICS]
        if unknown:
            return Reject(f"unknown topic {unknown[0]}; known: {', '.join(TOPICS)}", code="connector.unknown-topic")
        return await _outcome(self._subscribe(address, topics), changes=True)

    async def _subscribe(self, address: str, topics: Sequence[str]) -> Outcome:
        wanted = {topic.replace("/", "_").upper(): topic for topic in topics}
        there: set[str] = set()
        after: str | None = None
        while True:
            variables = {"first": 100, "after": after, "topics": list(wanted)}
            found = (await self._admin.run("webhook_subscriptions", variables))["webhookSubscriptions"]
            there |= {node["topic"] for node in found["nodes"] if node["uri"] == address}
            if not found["pageInfo"]["hasNextPage"]:
                break
            after = found["pageInfo"]["endCursor"]
        missing = [name for name in wanted if name not in there]
        for name in missing:
            subscription = {"uri": address, "format": "JSON"}
            await self._admin.mutate(
                "webhook_subscription_create", {"topic": name, "webhookSubscription": subscription}
            )
        return Done({"subscribed": [wanted[name] for name in missing]})


async def _outcome(
    work: Awaitable[Outcome], *, changes: bool, was_in_doubt: bool = False
) -> Done | Retry | Reconnect | Reject:
    """What a piece of work comes to; what was in doubt before stays so when it could not be settled now."""
    try:
        outcome = await work
        if isinstance(outcome, End | Partial):
            raise TypeError(f"{type(outcome).__name__} is no outcome of one record")
    except Stopped as stopped:
        outcome = stopped.outcome
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        outcome = Retry(f"the shop's answer lacks what was asked for ({type(error).__name__})", in_doubt=changes)
    if was_in_doubt and isinstance(outcome, Retry | Reconnect) and not outcome.in_doubt:
        outcome = msgspec.structs.replace(outcome, in_doubt=True)
    return outcome
