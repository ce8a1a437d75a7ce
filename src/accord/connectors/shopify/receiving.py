"""Shopify's webhooks: genuine or not, and what they tell.

Source: Shopify, "Verify webhook deliveries": X-Shopify-Hmac-SHA256 is the base64 HMAC-SHA256 of the raw body under the app's
client secret; X-Shopify-Webhook-Id is the same on every repeat of a delivery; X-Shopify-Topic names the topic.
"""

from __future__ import annotations

from accord.connectors.shopify.entities import TOPICS
from accord.connectors.shopify.settings import ShopifySettings
from accord.sdk.connector import Event, Received, Refused
from accord.sdk.http import InboundRequest
from accord.sdk.webhooks import HmacSignature, verifier

SIGNATURE = "x-shopify-hmac-sha256"
TOLD = {"x-shopify-event-id": "shopify-event-id", "x-shopify-triggered-at": "shopify-triggered-at"}


class Receiver:
    """A genuine body is taken whatever it holds: refused ones Shopify repeats and then ends the subscription, while a
    taken one that is no order becomes a dead letter that someone can mend."""

    def __init__(self, settings: ShopifySettings) -> None:
        secret = settings.webhook_secret
        scheme = HmacSignature(header=SIGNATURE, secret=secret, encoding="base64") if secret is not None else None
        self._verify = verifier(scheme) if scheme is not None else None
        self._domain = settings.shop_domain

    def receive(self, request: InboundRequest) -> Received | Refused:
        if self._verify is None:
            return Refused(401, "`webhook_secret` is not set: no webhook can be proven genuine")
        forged = self._verify(request)
        if forged:
            return Refused(401, forged)
        headers = request.headers
        shop = headers.get("x-shopify-shop-domain", "")
        if self._domain and shop and shop.lower() != self._domain:
            return Refused(401, f"the webhook is of another shop ({shop[:80]})")
        topic = headers.get("x-shopify-topic", "")
        entity = TOPICS.get(topic)
        if entity is None:
            return Received(())  # taken and left alone: refusing it would make Shopify end the subscription
        event = Event(
            entity=entity,
            topic=topic,
            body=request.body,
            event_id=headers.get("x-shopify-webhook-id", ""),
            headers={name: headers[given] for given, name in TOLD.items() if given in headers},
        )
        return Received((event,))
