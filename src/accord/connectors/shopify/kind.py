"""What the connector tells of a shop without asking it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from accord.connectors.shopify.bulk_query import FRAGMENTS
from accord.connectors.shopify.connection import ShopifyConnection
from accord.connectors.shopify.documents import API_VERSION
from accord.connectors.shopify.entities import TOPICS, known_entities
from accord.connectors.shopify.operations import known_operations
from accord.connectors.shopify.settings import ShopifySettings
from accord.connectors.shopify.writing import MEANS
from accord.errors import Faults, did_you_mean
from accord.record import Entity
from accord.sdk.addresses import is_loopback
from accord.sdk.connector import Capabilities, Connection, Context, KindBase, Operation, RateLimit
from accord.settings.node import Node

CONCURRENT = 16  # the cost bucket bounds the rate; more at once only wait in it


class ShopifyKind(KindBase):
    name: ClassVar[str] = "shopify"
    summary: ClassVar[str] = "Shopify: orders, customers, products, inventory and fulfillments of a shop"
    settings: ClassVar[type[ShopifySettings]] = ShopifySettings

    def entities(self, settings: ShopifySettings) -> Mapping[str, Entity]:
        return known_entities()

    def capabilities(self, settings: ShopifySettings, entity: Entity) -> Capabilities:
        name = entity.short_name
        if name not in MEANS:
            return Capabilities()
        return Capabilities(
            discover=True,
            read=True,
            read_changes=True,
            get=name != "inventory_levels",
            listen=name in TOPICS.values(),
            write=frozenset(MEANS[name]),
            idempotency=MEANS[name],
            bulk_read=settings.bulk != "never" and name in FRAGMENTS,
        )

    def operations(self, settings: ShopifySettings) -> Mapping[str, Operation]:
        return known_operations()

    def topics(self, settings: ShopifySettings) -> Mapping[str, str]:
        return TOPICS

    def rate_limit(self, settings: ShopifySettings) -> RateLimit:
        return RateLimit(concurrent=CONCURRENT)

    def check(self, settings: ShopifySettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        key = "address" if settings.address else "store"
        place = node.place_of(key)
        url = urlsplit(settings.base_address)
        if not url.hostname or url.path or url.username or ("." not in url.hostname and not is_loopback(url.hostname)):
            mend = "Write the shop's domain, like acme.myshopify.com."
            faults.add("connector.bad-address", place, f"'{settings.base_address}' is no address of a shop.", mend)
        elif url.scheme == "http" and not is_loopback(url.hostname):
            mend = "Use https://."
            faults.add("connector.plain-http", place, "The access token would go out unencrypted.", mend)
        if settings.api_version != API_VERSION:
            faults.add(
                "connector.api-version",
                node.place_of("api_version"),
                f"The connector's documents are written for {API_VERSION}, not {settings.api_version}.",
                "Leave `api_version` out unless you have tested it.",
                severity="warning",
            )
        for name, entity in entities.items():
            if name not in MEANS:
                mend = did_you_mean(name, MEANS)
                faults.add("connector.unknown-entity", entity.place, f"A shop has no entity '{name}'.", mend)

    def connect(self, settings: ShopifySettings, entities: Mapping[str, Entity], context: Context) -> Connection:
        return ShopifyConnection(settings, context)
