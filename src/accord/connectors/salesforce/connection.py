"""A connection to one org."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

import msgspec

from accord.connectors.salesforce import soql
from accord.connectors.salesforce.api import Api, Stopped
from accord.connectors.salesforce.bulk_loading import JobLoad
from accord.connectors.salesforce.bulk_reading import BulkReader
from accord.connectors.salesforce.reading import Reader, object_of
from accord.connectors.salesforce.settings import SalesforceSettings
from accord.connectors.salesforce.values import described, read_record
from accord.connectors.salesforce.writing import Collection
from accord.record import Done, Entity, Outcome, Partial, Reconnect, Reject, Retry
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead, Load, LoadSpec
from accord.sdk.connector import CallItem, Connection, Context, Page, ReadFailed, WriteItem, WriteMode

QUERY_RECORDS_MAX = 10_000  # of one `query` call; larger results are for reading, page by page
USUAL_OBJECTS = (
    "Account", "Asset", "Campaign", "Case", "Contact", "Contract", "Event", "Lead", "Opportunity", "OpportunityLineItem", "Order",
    "OrderItem", "Pricebook2", "PricebookEntry", "Product2", "Quote", "Task", "User",
)  # fmt: skip


class SalesforceConnection(Connection):
    def __init__(self, settings: SalesforceSettings, context: Context) -> None:
        self._system = context.system
        self._settings = settings
        self._state_folder = context.state_folder
        self._api = Api(settings, context.http, context.budget)
        self._reader = Reader(self._api, settings)

    async def check(self) -> Outcome:
        async def ask() -> Outcome:
            limits = await self._api.ask("GET", "/limits", is_check=True)
            return Done({"api_calls_left": limits["DailyApiRequests"]["Remaining"]})

        return await _outcome(ask(), changes=False)

    async def discover(self) -> Sequence[Entity]:
        """The usual objects and the org's own; each is described by a call of its own. Raises ReadFailed."""
        try:
            told = (await self._api.ask("GET", "/sobjects"))["sobjects"]
            names = [
                one["name"] for one in told if one["queryable"] and (one["custom"] or one["name"] in USUAL_OBJECTS)
            ]
            return [described(self._system, await self._api.ask("GET", f"/sobjects/{name}/describe")) for name in names]
        except Stopped as stopped:
            raise ReadFailed(stopped.outcome) from stopped

    def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        return self._reader.read(entity, position)

    def read_bulk(self, entity: Entity, request: BulkRead) -> AsyncIterator[Batch]:
        """See ``accord.sdk.bulk.BulkSource``."""
        return BulkReader(self._api, self._settings, entity, request).batches()

    def load(self, entity: Entity, spec: LoadSpec) -> Load:
        """See ``accord.sdk.bulk.BulkTarget``."""
        return JobLoad(self._api, entity, spec, self._state_folder)

    async def get(self, entity: Entity, key: str) -> Outcome:
        return await _outcome(self._get(entity, key), changes=False)

    async def _get(self, entity: Entity, key: str) -> Outcome:
        name = entity.key[0]
        value = key if not key.isdigit() or name == "Id" or not _is_number(entity, name) else int(key)
        query = soql.select(
            soql.columns(entity.fields), object_of(entity), [f"{name} = {soql.literal(value)}"], "LIMIT 2"
        )
        rows, _ = await self._api.query(query)
        if not rows:
            return Reject(f"there is no {object_of(entity)} {key[:40]}", code="connector.not-found")
        if len(rows) > 1:
            return Reject(f"{name} {key[:40]} is not unique", code="connector.rejected", path=name)
        return Done(read_record(rows[0], entity.fields))

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        batch = Collection(self._api, entity, items)

        async def run() -> Outcome:
            return Partial(await batch.run(mode))

        whole = await _outcome(run(), changes=True)
        # When a request failed as a whole, some records may have been answered before it.
        ones = whole.outcomes if isinstance(whole, Partial) else [one or whole for one in batch.outcomes]
        told = tuple(_still_in_doubt(one, item) for one, item in zip(ones, items, strict=True))
        return told[0] if len(told) == 1 else Partial(told)

    async def call(self, operation: str, item: CallItem) -> Outcome:
        if operation != "query":
            return Reject(f"no operation '{operation}'", code="connector.unknown-operation")

        async def run() -> Outcome:
            rows, is_all = await self._api.query(item.arguments["soql"], records_max=QUERY_RECORDS_MAX)
            if not is_all or len(rows) > QUERY_RECORDS_MAX:
                return Reject(f"the query finds more than {QUERY_RECORDS_MAX} records", code="connector.too-large")
            return Done([_plain(row) for row in rows])

        return await _outcome(run(), changes=False)


def _plain(value: Any) -> Any:
    """Without ``attributes``, at every level."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name != "attributes"}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _is_number(entity: Entity, name: str) -> bool:
    return entity.fields[name].type.__struct_config__.tag in ("integer", "decimal", "float")


def _still_in_doubt(one: Any, item: WriteItem) -> Any:
    if item.in_doubt and isinstance(one, Retry | Reconnect) and not one.in_doubt:
        return msgspec.structs.replace(one, in_doubt=True)
    return one


async def _outcome(work: Awaitable[Outcome], *, changes: bool) -> Outcome:
    try:
        return await work
    except Stopped as stopped:
        return stopped.outcome
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return Retry(f"the org's answer lacks what was asked for ({type(error).__name__})", in_doubt=changes)
