"""One environment over another."""

from __future__ import annotations

from collections.abc import Collection

from accord.settings.node import Node
from accord.settings.text import MissingText


def overlay(base: Node, over: Node, *, whole: Collection[str] = ()) -> Node:
    """``over`` laid on ``base``: mappings are merged key by key, everything else is replaced. Keys named in ``whole`` are
    replaced even when both are mappings. Places stay those of the file each value comes from."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return base if over.value is None else over
    values = dict(base.value)
    for key, child in over.value.items():
        merged = key in values and key not in whole
        values[key] = overlay(values[key], child) if merged else child
    return Node(values, over.place, base.key_places | over.key_places)


def blank_references(node: Node) -> Node:
    """The same tree with every text that holds a reference left unread: for checking an environment that is not the chosen one."""
    if isinstance(node.value, dict):
        return Node({k: blank_references(v) for k, v in node.value.items()}, node.place, node.key_places)
    if isinstance(node.value, list):
        return Node([blank_references(v) for v in node.value], node.place)
    if isinstance(node.value, str) and "${" in node.value:
        return Node(MissingText(node.value), node.place)
    return node
