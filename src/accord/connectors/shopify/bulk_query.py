"""Bulk queries: the documents of the listings as bulk operations take them. Pure.

Source: shopify.dev, "Perform bulk operations with the GraphQL Admin API": one top-level connection without pages and variables, nested ones
as ``edges { node }`` whose nodes have an id; in the result every node is a line, a nested one tells its parent as ``__parentId``.
"""

from __future__ import annotations

import json
import re

from accord.connectors.shopify.documents import fragment

_SPREAD = re.compile(r"\.\.\.([A-Z]\w*)")
_PAGE = re.compile(r"\(first: \d+\) \{\s*nodes \{(?P<body>[^{}]*)\}\s*pageInfo \{[^}]*\}\s*\}")
FRAGMENTS = {"orders": "OrderFields", "customers": "CustomerFields", "products": "ProductFields"}


def bulk_query(entity: str, search: str | None) -> str:
    """``search``: a filter of Shopify's search syntax. Ordered by change time, as the listings are."""
    told = f"query: {json.dumps(search)}, " if search else ""
    body = _PAGE.sub(lambda found: f" {{ edges {{ node {{{found['body']}}} }} }}", fragment(FRAGMENTS[entity]))
    return f"{{ {entity}({told}sortKey: UPDATED_AT) {{ edges {{ node {{{_spread(body)}}} }} }} }}"


def _spread(text: str) -> str:
    """Without named fragments: each stands where it is used."""
    while (found := _SPREAD.search(text)) is not None:
        text = text[: found.start()] + fragment(found[1]) + text[found.end() :]
    return text
