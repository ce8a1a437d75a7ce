"""Webhook subscriptions as both Admins see them, the signature of a delivery, and the shop's own description."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from accord.sandbox.catalogue import SHOP_CURRENCY
from accord.sandbox.shop.memory import Invalid
from accord.sandbox.shop.wire import API_VERSION, LOCATION_ID, SHOP_ID, Document, gid, utc, zoned
from accord.sandbox.webhooks import Delivery, Webhooks

SHOP_DOMAIN = "accord-sandbox.myshopify.com"
SHOP_CREATED_AT = "2024-01-15T09:00:00Z"


def topic_of(enum: str) -> str:
    """``ORDERS_CREATE`` as ``orders/create``; ``INVENTORY_LEVELS_UPDATE`` as ``inventory_levels/update``."""
    head, _, tail = enum.lower().rpartition("_")
    if tail == "fulfilled" and head.endswith("_partially"):
        head, tail = head.removesuffix("_partially"), "partially_fulfilled"
    return f"{head}/{tail}"


def enum_of(topic: str) -> str:
    return topic.upper().replace("/", "_")


class Hooks:
    def __init__(self, webhooks: Webhooks, secret: str) -> None:
        self.webhooks, self.store, self.secret = webhooks, webhooks.store, secret

    def sign(self, delivery: Delivery) -> dict[str, str]:
        """Headers of a delivery: the digest is over the raw body, in base64."""
        digest = hmac.new(delivery.secret.encode(), delivery.body, hashlib.sha256).digest()
        return {
            "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
            "X-Shopify-Topic": delivery.topic,
            "X-Shopify-Webhook-Id": delivery.webhook_id,
            "X-Shopify-Event-Id": delivery.event_id,
            "X-Shopify-Shop-Domain": SHOP_DOMAIN,
            "X-Shopify-Api-Version": API_VERSION,
            "X-Shopify-Triggered-At": delivery.triggered_at,
            "User-Agent": "Shopify-Captain-Hook",
        }

    def create(self, topic: str, url: str) -> int:
        """Raises Invalid for a missing topic, a malformed address, or a subscription that exists."""
        if "/" not in topic:
            raise Invalid("topic", "is not a webhook topic")
        _check_address(url)
        if self.store.one("SELECT id FROM hooks WHERE topic = ? AND url = ?", topic, url):
            raise Invalid("address", "for this topic has already been taken")
        return self.webhooks.add_hook(topic, url, self.secret)

    def move(self, number: int, url: str) -> None:
        _check_address(url)
        self.store.db.execute("UPDATE hooks SET url = ? WHERE id = ?", (url, number))

    def delete(self, number: int) -> bool:
        return self.store.db.execute("DELETE FROM hooks WHERE id = ?", (number,)).rowcount > 0

    def exists(self, number: int) -> bool:
        return self.store.one("SELECT 1 FROM hooks WHERE id = ?", number) is not None

    def rest(self, number: int) -> Document:
        (row,) = self.store.all("SELECT id, topic, url, created_at, updated_at FROM hooks WHERE id = ?", number)
        created, updated = (zoned(utc(text) or "") for text in row[3:5])
        return {
            "id": row[0], "topic": row[1], "address": row[2], "format": "json", "fields": [], "metafield_namespaces": [],
            "api_version": API_VERSION, "private_metafield_namespaces": [], "created_at": created, "updated_at": updated,
        }  # fmt: skip

    def all_rest(self, query: dict[str, str]) -> list[Document]:
        found = [self.rest(row[0]) for row in self.store.all("SELECT id FROM hooks ORDER BY id")]
        return [hook for hook in found if all(query.get(k) in (None, hook[k]) for k in ("topic", "address"))]

    def view(self, number: int) -> dict[str, Any]:
        """As GraphQL shows it."""
        (row,) = self.store.all("SELECT id, topic, url, created_at, updated_at FROM hooks WHERE id = ?", number)
        return {
            "id": gid("WebhookSubscription", row[0]), "legacyResourceId": str(row[0]), "topic": enum_of(row[1]), "uri": row[2],
            "callbackUrl": row[2], "format": "JSON", "createdAt": utc(row[3]), "updatedAt": utc(row[4]),
            "endpoint": {"__typename": "WebhookHttpEndpoint", "callbackUrl": row[2]},
        }  # fmt: skip

    def shop_document(self) -> Document:
        created = zoned(SHOP_CREATED_AT)
        return {
            "id": SHOP_ID, "name": "Accord Sandbox", "email": "shop@sandbox.example", "domain": SHOP_DOMAIN,
            "myshopify_domain": SHOP_DOMAIN,
            "currency": SHOP_CURRENCY, "iana_timezone": "Europe/Berlin", "timezone": "(GMT+01:00) Berlin", "country_code": "DE",
            "country": "DE", "country_name": "Germany", "taxes_included": True, "primary_location_id": LOCATION_ID,
            "money_format": "€{{amount}}", "plan_name": "partner_test", "shop_owner": "Zoë Groß",
            "created_at": created, "updated_at": created,
        }  # fmt: skip


def _check_address(url: str) -> None:
    # The real Admin takes https only; a stand-in also delivers to plain local addresses.
    if not url.startswith(("https://", "http://")) or len(url) > 2_000 or any(c.isspace() for c in url):
        raise Invalid("address", "must be an http or https address")
