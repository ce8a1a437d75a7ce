"""Shop stand-in: the part of the Shopify Admin (GraphQL and REST) Accord uses, a storefront, and signed webhooks.

Receives: HTTP as Shopify's Admin does, customers' orders.  Hands on: products, orders, customers, webhooks.
Never: claims to be complete: ``schema.graphql`` and ``rest.py`` name all it serves; the rest is refused, not guessed.
"""

from accord.sandbox.shop.system import Shop

SYSTEM = Shop
