"""Settings of one org and of its entities."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated

import msgspec

from accord.sdk.auth import ClientCredentials, JwtBearer
from accord.settings.secret import Secret

API_VERSION = "65.0"  # Winter '26; older versions live for years, so newer features are asked for on purpose only


BULK_RECORDS_MIN = 2_000  # Salesforce's own border: up to here collections and queries are the better way


class BulkUse(enum.StrEnum):
    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class SalesforceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``address``: the org's My Domain (``https://acme.my.salesforce.com``). ``client_id``: consumer key of a connected app. With
    ``client_secret`` the OAuth 2.0 client-credentials flow is used, with ``private_key`` (PEM) and ``username`` the JWT bearer flow;
    then ``audience`` is the login server (``https://test.salesforce.com`` for a sandbox org). ``page_size``: records a query asks for.
    ``overlap``: how far each incremental read looks back, because a record carries the time its transaction began."""

    address: Annotated[str, msgspec.Meta(min_length=1)]
    client_id: Annotated[str, msgspec.Meta(min_length=1)]
    client_secret: Secret | None = None
    username: str = ""
    private_key: Secret | None = None
    audience: str = "https://login.salesforce.com"
    api_version: Annotated[str, msgspec.Meta(pattern=r"^\d{2}\.0$")] = API_VERSION
    page_size: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 2000
    overlap: dt.timedelta = dt.timedelta(minutes=1)
    timeout: dt.timedelta = dt.timedelta(seconds=30)

    def __post_init__(self) -> None:
        if (self.client_secret is None) == (self.private_key is None):
            raise ValueError("give either `client_secret` (client credentials) or `private_key` with `username` (JWT)")
        if self.private_key is not None and not self.username:
            raise ValueError("`username` is missing: the JWT flow acts for a user of the org")

    @property
    def base_address(self) -> str:
        given = self.address.rstrip("/")
        return given if given.startswith(("http://", "https://")) else f"https://{given}"

    @property
    def data_path(self) -> str:
        return f"/services/data/v{self.api_version}"

    @property
    def auth(self) -> ClientCredentials | JwtBearer:
        token_address = f"{self.base_address}/services/oauth2/token"
        if self.private_key is not None:
            return JwtBearer(
                token_address=token_address,
                issuer=self.client_id,
                subject=self.username,
                audience=self.audience,
                private_key=self.private_key,
            )
        assert self.client_secret is not None
        return ClientCredentials(
            token_address=token_address, client_id=self.client_id, client_secret=self.client_secret, style="body"
        )


class SalesforceEntity(msgspec.Struct, frozen=True, kw_only=True):
    """``object``: the sObject's API name (the entity's own name if left out). ``external_id``: the unique external-id field by which
    records are upserted and a repeated create is recognised. ``where``: a SOQL condition that narrows what is read. ``bulk``: whether
    bulk flows use jobs of Bulk API 2.0: where there are more than ``BULK_RECORDS_MIN`` records (``auto``), ``always`` or ``never``."""

    object: str = ""
    external_id: str = ""
    where: str = ""
    bulk: BulkUse = BulkUse.AUTO
