"""Shopify, through the GraphQL Admin API and its signed webhooks.

Receives: settings of a shop, records to write, webhook requests.  Hands on: records in the shape of Shopify's webhooks, outcomes,
events.  Never: uses the REST Admin API.
"""

from accord.connectors.shopify.kind import ShopifyKind

CONNECTOR = ShopifyKind()

__all__ = ["CONNECTOR", "ShopifyKind"]
