"""Shipping stand-in: a carrier with a REST API described by OpenAPI; parcels move with time and webhooks report it.

Receives: HTTP with an API key.  Hands on: shipments, signed webhooks.  Never: refuses a reference it has seen (look it up).
"""

from accord.sandbox.shipping.system import Shipping

SYSTEM = Shipping
