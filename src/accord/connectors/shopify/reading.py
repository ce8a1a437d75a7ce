"""Reading a shop: by change time, oldest first, page by page, so that no change is lost.

Orders, customers and products come sorted by ``updatedAt``; fulfillments with the orders they belong to, because a fulfillment
that changes changes its order's time too. Inventory levels come unsorted, location by location.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from accord.connectors.shopify import wire
from accord.connectors.shopify.admin import Admin, Stopped
from accord.connectors.shopify.settings import ShopifySettings
from accord.errors import ConnectorError
from accord.record import Reject, Retry
from accord.sdk.changes import ChangeWindow, parse_cursor
from accord.sdk.connector import Page, ReadFailed
from accord.sdk.errors_http import utc_now

PAGES_MAX = 1_000_000
PARTS_PAGES_MAX = 1_000  # pages of line items of one order, or of variants of one product


class Listing(msgspec.Struct, frozen=True):
    """``parts``: (document, field) for the parts of a record that did not fit on its page."""

    document: str
    translate: Callable[[wire.Node], wire.Record]
    parts: tuple[str, str] | None = None


LISTINGS = {
    "orders": Listing("orders", wire.order, ("order_line_items", "lineItems")),
    "customers": Listing("customers", wire.customer),
    "products": Listing("products", wire.product, ("product_variants", "variants")),
}


class Reader:
    def __init__(self, admin: Admin, settings: ShopifySettings) -> None:
        self._admin = admin
        self._size = settings.page_size
        self._overlap_s = settings.overlap.total_seconds()

    async def read(self, entity: str, position: Any) -> AsyncIterator[Page]:
        """Pages of an entity. Raises ReadFailed."""
        try:
            window = ChangeWindow(position, format_="iso", overlap_s=self._overlap_s)
            if entity == "inventory_levels":
                pages = self._levels(window)
            elif entity == "fulfillments":
                pages = self._fulfillments(window)
            else:
                pages = self._sorted(LISTINGS[entity], window)
            async for page in pages:
                yield page
        except Stopped as stopped:
            raise ReadFailed(stopped.outcome) from stopped
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReadFailed(Retry(f"the shop's answer lacks what was asked for ({type(error).__name__})")) from error
        except ConnectorError as error:
            if isinstance(error, ReadFailed):
                raise
            raise ReadFailed(Reject(error.what, code=error.code)) from error

    async def _sorted(self, listing: Listing, window: ChangeWindow) -> AsyncIterator[Page]:
        async for nodes, is_last, after in self._pages(listing.document, window):
            fresh = [node for node in nodes if window.is_new(node["id"], node["updatedAt"], node)]
            records = [listing.translate(await self.complete(node, listing.parts)) for node in fresh]
            yield Page(records, _position(window, is_last, after))

    async def _fulfillments(self, window: ChangeWindow) -> AsyncIterator[Page]:
        bound = window.lower_bound()
        oldest = parse_cursor(bound, "iso") if bound else dt.datetime.min.replace(tzinfo=dt.UTC)
        async for nodes, is_last, after in self._pages("fulfillments", window):
            records = []
            for order in nodes:
                window.is_new("order", order["updatedAt"])  # the window moves by the orders' times
                for node in order["fulfillments"]:
                    if parse_cursor(node["updatedAt"], "iso") >= oldest:
                        records.append(wire.fulfillment(node))
            yield Page(records, _position(window, is_last, after))

    async def _pages(self, name: str, window: ChangeWindow) -> AsyncIterator[tuple[list[Any], bool, str | None]]:
        """Nodes of each page of a connection sorted by time, whether it is the last, and the cursor after it."""
        query, after = _since(window.lower_bound()), window.page
        for _ in range(PAGES_MAX):
            data = await self._admin.run(name, {"first": self._size, "after": after, "query": query})
            nodes, after = _connection(next(iter(data.values())))
            yield nodes, after is None, after
            if after is None:
                return

    async def _levels(self, window: ChangeWindow) -> AsyncIterator[Page]:
        page = window.page if isinstance(window.page, dict) else {}
        begun = dt.datetime.fromisoformat(page["begun"]) if page else utc_now()
        query, after = _since(window.lower_bound()), page.get("after")
        locations = await self._locations()
        at = page.get("location")
        remaining = locations[locations.index(at) :] if at in locations else locations
        if not remaining:
            window.advance()
            yield Page([], window.position())
        for location in remaining:
            has_more = True
            while has_more:
                variables = {"location": location, "first": self._size, "after": after, "query": query}
                data = await self._admin.run("inventory_levels", variables)
                nodes, after = _connection(data["location"]["inventoryLevels"]) if data["location"] else ([], None)
                has_more = after is not None
                fresh = [wire.inventory_level(n) for n in nodes if window.is_new(n["id"], n["updatedAt"], n)]
                window.page = {"location": location, "after": after, "begun": begun.isoformat()}
                if not has_more:
                    following = remaining.index(location) + 1
                    if following == len(remaining):
                        window.advance(begun)
                    else:
                        window.page["location"] = remaining[following]
                yield Page(fresh, window.position())

    async def _locations(self) -> list[str]:
        found: list[str] = []
        after: str | None = None
        while True:
            data = await self._admin.run("locations", {"first": 50, "after": after})
            nodes, after = _connection(data["locations"])
            found += [node["id"] for node in nodes]
            if after is None:
                return found

    async def complete(self, node: Any, parts: tuple[str, str] | None) -> Any:
        """The node with all its line items or variants, asking for those that did not fit. Raises Stopped."""
        if parts is None:
            return node
        document, field = parts
        nodes, after = _connection(node[field])
        for _ in range(PARTS_PAGES_MAX):
            if after is None:
                return {**node, field: {"nodes": nodes}}
            data = await self._admin.run(document, {"id": node["id"], "after": after})
            parent = next(iter(data.values()))
            if parent is None:
                return {**node, field: {"nodes": nodes}}
            more, after = _connection(parent[field])
            nodes = [*nodes, *more]
        raise Stopped(Reject(f"one record has more than {len(nodes)} {field}", code="connector.too-large"))


def _position(window: ChangeWindow, is_last: bool, after: str | None) -> Any:
    if is_last:
        window.advance()
    else:
        window.page = after
    return window.position()


def _since(bound: str | None) -> str | None:
    """A filter of Shopify's search syntax."""
    return None if bound is None else f"updated_at:>='{bound}'"


def _connection(value: Any) -> tuple[list[Any], str | None]:
    """Nodes of a connection, and the cursor of its next page or None."""
    info = value.get("pageInfo") or {}
    return list(value["nodes"]), info.get("endCursor") if info.get("hasNextPage") else None
