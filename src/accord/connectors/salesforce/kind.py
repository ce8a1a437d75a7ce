"""What the connector tells of an org without asking it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from accord.connectors.salesforce.bulk_loading import OPERATIONS
from accord.connectors.salesforce.connection import SalesforceConnection
from accord.connectors.salesforce.job_columns import has_columns
from accord.connectors.salesforce.settings import BulkUse, SalesforceEntity, SalesforceSettings
from accord.connectors.salesforce.soql import NAME, columns
from accord.connectors.salesforce.writing import COLLECTION_MAX
from accord.errors import Faults
from accord.record import Entity, Field
from accord.record.types import String
from accord.sdk.addresses import is_loopback
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import (
    Capabilities,
    Connection,
    Context,
    Idempotency,
    KindBase,
    Operation,
    RateLimit,
    WriteMode,
)
from accord.settings.node import Node

CONCURRENT = 20  # an org allows 25 requests that run for 20 s and longer at once
REASON = (
    "Salesforce recognises no repeated create by itself: declare the object's unique external-id field as `external_id`"
)


def _load_modes(entity: Entity) -> frozenset[LoadMode]:
    """By jobs only what has an external id: a row that was sent twice is recognised by it."""
    extra = entity.extra
    if not isinstance(extra, SalesforceEntity) or extra.bulk is BulkUse.NEVER or not has_columns(entity.fields):
        return frozenset()
    return frozenset(OPERATIONS) if extra.external_id else frozenset()


class SalesforceKind(KindBase):
    name: ClassVar[str] = "salesforce"
    summary: ClassVar[str] = "Salesforce: accounts, contacts, opportunities and every other object of an org"
    settings: ClassVar[type[SalesforceSettings]] = SalesforceSettings
    entity_settings: ClassVar[type[SalesforceEntity]] = SalesforceEntity

    def capabilities(self, settings: SalesforceSettings, entity: Entity) -> Capabilities:
        has_external = isinstance(entity.extra, SalesforceEntity) and bool(entity.extra.external_id)
        means = {
            WriteMode.CREATE: Idempotency.LOOKUP if has_external else Idempotency.NONE,
            WriteMode.UPDATE: Idempotency.UPSERT,
            WriteMode.DELETE: Idempotency.UPSERT,
        }
        if has_external:
            means[WriteMode.UPSERT] = Idempotency.UPSERT
        return Capabilities(
            discover=True,
            read=True,
            read_changes=True,
            get=len(entity.key) == 1,
            write=frozenset(means),
            idempotency=means,
            write_items_max=COLLECTION_MAX,
            at_least_once_reason="" if has_external else REASON,
            bulk_read=True,
            bulk_write=_load_modes(entity),
        )

    def operations(self, settings: SalesforceSettings) -> Mapping[str, Operation]:
        takes = {"soql": Field(type=String(), length_min=1)}
        summary = "Records a SOQL query finds, as JSON"
        return {
            "query": Operation(
                name="query", takes=takes, idempotency=Idempotency.UPSERT, is_read_only=True, summary=summary
            )
        }

    def topics(self, settings: SalesforceSettings) -> Mapping[str, str]:
        return {}

    def rate_limit(self, settings: SalesforceSettings) -> RateLimit:
        return RateLimit(concurrent=CONCURRENT)

    def check(self, settings: SalesforceSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        place = node.place_of("address")
        url = urlsplit(settings.base_address)
        if not url.hostname or url.path or url.query or url.username:
            mend = "Write the org's My Domain, like https://acme.my.salesforce.com."
            faults.add("connector.bad-address", place, f"'{settings.address}' is no address of an org.", mend)
        elif url.scheme == "http" and not is_loopback(url.hostname):
            faults.add("connector.plain-http", place, "The credentials would go out unencrypted.", "Use https://.")
        for entity in entities.values():
            self._check_entity(entity, faults)

    def _check_entity(self, entity: Entity, faults: Faults) -> None:
        extra = entity.extra if isinstance(entity.extra, SalesforceEntity) else SalesforceEntity()
        names = [
            extra.object or entity.short_name,
            *(part for name in columns(entity.fields) for part in name.split(".")),
        ]
        for name in dict.fromkeys(names):
            if not NAME.fullmatch(name):
                mend = "Use the API name: letters, digits and underscores, own fields end in __c."
                faults.add("connector.salesforce-name", entity.place, f"'{name}' is no name in Salesforce.", mend)
        if extra.bulk is BulkUse.ALWAYS and not has_columns(entity.fields):
            mend = "Declare the parts of compound fields (BillingCity), not the whole (BillingAddress); or leave `bulk` out."
            message = "Bulk API 2.0 carries no fields of type json, and no lists but of texts."
            faults.add("connector.salesforce-bulk", entity.place, message, mend)
        if extra.external_id and extra.external_id not in entity.fields:
            mend = "Declare the field, or correct the name."
            message = f"`external_id` names '{extra.external_id}', which is none of the entity's fields."
            faults.add("connector.salesforce-external-id", entity.place, message, mend)

    def connect(self, settings: SalesforceSettings, entities: Mapping[str, Entity], context: Context) -> Connection:
        return SalesforceConnection(settings, context)
