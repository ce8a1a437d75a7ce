"""Settings of one shop."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

from accord.connectors.shopify.documents import API_VERSION
from accord.settings.secret import Secret

BULK_RECORDS_MIN = (
    500  # an operation takes some ten seconds at the least; pages of as many use up the bucket of query costs
)


class ShopifySettings(msgspec.Struct, frozen=True, kw_only=True):
    """``store``: ``acme.myshopify.com`` (or a whole address, for a stand-in). ``access_token``: of an app with the scopes
    for what is used. ``webhook_secret``: the app's client secret, needed to receive webhooks. ``address`` overrides where
    requests go. ``page_size``: records per page when reading (bounded by the cost of a query). ``overlap``: how far each
    incremental read looks back, because Shopify's search index follows changes with a delay. ``bulk``: whether bulk flows read orders,
    customers and products by bulk operations: where there are more than ``BULK_RECORDS_MIN`` (``auto``), ``always`` or ``never``."""

    store: Annotated[str, msgspec.Meta(min_length=1)]
    access_token: Secret
    webhook_secret: Secret | None = None
    address: str = ""
    api_version: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-(01|04|07|10)$|^unstable$")] = API_VERSION
    page_size: Annotated[int, msgspec.Meta(ge=1, le=250)] = 25
    overlap: dt.timedelta = dt.timedelta(minutes=1)
    timeout: dt.timedelta = dt.timedelta(seconds=30)
    order_inventory: str = "bypass"
    bulk: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        if self.order_inventory not in ("bypass", "decrement_ignoring_policy", "decrement_obeying_policy"):
            raise ValueError(
                "`order_inventory` must be bypass, decrement_ignoring_policy or decrement_obeying_policy: what creating"
                " an order does to the stock"
            )

    @property
    def base_address(self) -> str:
        """``https://acme.myshopify.com``, without a slash at the end."""
        given = (self.address or self.store).rstrip("/")
        return given if given.startswith(("http://", "https://")) else f"https://{given}"

    @property
    def shop_domain(self) -> str:
        """The shop's myshopify.com domain, or '' when the address is of another kind."""
        host = self.store.removeprefix("https://").rstrip("/").lower()
        return host if host.endswith(".myshopify.com") else ""

    @property
    def graphql_address(self) -> str:
        return f"{self.base_address}/admin/api/{self.api_version}/graphql.json"
