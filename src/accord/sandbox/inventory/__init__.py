"""Inventory stand-in: a stock system with a REST API described by OpenAPI.

Receives: HTTP with a bearer token.  Hands on: items, movements.  Never: lets stock fall below zero.
"""

from accord.sandbox.inventory.system import Inventory

SYSTEM = Inventory
