"""The entities a shop holds, as the connector knows them by itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.resources import files

from accord.errors import Faults
from accord.record import Entity
from accord.settings.entities import read_entity
from accord.settings.node import parse_yaml

TOPICS: Mapping[str, str] = {
    "orders/create": "orders",
    "orders/updated": "orders",
    "orders/paid": "orders",
    "orders/cancelled": "orders",
    "orders/fulfilled": "orders",
    "orders/partially_fulfilled": "orders",
    "customers/create": "customers",
    "customers/update": "customers",
    "products/create": "products",
    "products/update": "products",
    "inventory_levels/connect": "inventory_levels",
    "inventory_levels/update": "inventory_levels",
    "fulfillments/create": "fulfillments",
    "fulfillments/update": "fulfillments",
}


@functools.cache
def known_entities() -> Mapping[str, Entity]:
    """Orders, customers, products, inventory levels and fulfillments, with the fields of Shopify's webhook bodies."""
    faults = Faults()
    text = (files(__package__) / "entities.yaml").read_text("utf-8")
    root = parse_yaml(text, "shopify/entities.yaml", faults)
    found: dict[str, Entity] = {}
    for name, node in root.items() if root else ():
        entity = read_entity("shopify", name, node, None, faults)
        if entity is not None:
            found[name] = entity
    faults.raise_if_any()
    return found
