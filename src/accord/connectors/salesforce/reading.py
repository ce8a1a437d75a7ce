"""Reading an entity: everything, or what changed since a position, in the order of ``SystemModstamp`` and ``Id``.

Each page is asked for by the place of the last record given (keyset), not by Salesforce's query locators: those expire, these resume
after any pause. A record that changes meanwhile moves to the end and is given there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from accord.connectors.salesforce import soql
from accord.connectors.salesforce.api import Api, Stopped
from accord.connectors.salesforce.settings import SalesforceEntity, SalesforceSettings
from accord.connectors.salesforce.values import read_record
from accord.record import Entity, Retry
from accord.sdk.changes import ChangeWindow, parse_cursor
from accord.sdk.connector import Page, ReadFailed

STAMP = "SystemModstamp"


class Reader:
    def __init__(self, api: Api, settings: SalesforceSettings) -> None:
        self._api = api
        self._size = settings.page_size
        self._overlap_s = settings.overlap.total_seconds()

    async def read(self, entity: Entity, position: Any) -> AsyncIterator[Page]:
        """Raises ReadFailed."""
        window = ChangeWindow(position, format_="iso", overlap_s=self._overlap_s)
        try:
            while True:
                rows, is_last = await self._rows(entity, window)
                fresh = [row for row in rows if window.is_new(row["Id"], row[STAMP], row)]
                if is_last:
                    window.advance()
                else:
                    window.page = [rows[-1][STAMP], rows[-1]["Id"]]
                yield Page([read_record(row, entity.fields) for row in fresh], window.position())
                if is_last:
                    return
        except Stopped as stopped:
            raise ReadFailed(stopped.outcome) from stopped
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ReadFailed(Retry(f"the org's answer lacks what was asked for ({type(error).__name__})")) from error

    async def _rows(self, entity: Entity, window: ChangeWindow) -> tuple[list[Any], bool]:
        extra = entity.extra if isinstance(entity.extra, SalesforceEntity) else SalesforceEntity()
        conditions = [extra.where]
        if window.page is not None:
            stamp, after = soql.literal(parse_cursor(window.page[0], "iso")), soql.literal(window.page[1])
            conditions.append(f"{STAMP} > {stamp} OR ({STAMP} = {stamp} AND Id > {after})")
        elif (bound := window.lower_bound()) is not None:
            conditions.append(f"{STAMP} >= {soql.literal(parse_cursor(bound, 'iso'))}")
        names = [*soql.columns(entity.fields), "Id", STAMP]
        tail = f"ORDER BY {STAMP} ASC, Id ASC LIMIT {self._size}"
        query = soql.select(names, object_of(entity), conditions, tail)
        rows, is_done = await self._api.query(query, with_deleted="IsDeleted" in entity.fields, records_max=self._size)
        return rows, is_done and len(rows) < self._size


def object_of(entity: Entity) -> str:
    extra = entity.extra
    return (extra.object if isinstance(extra, SalesforceEntity) else "") or entity.short_name
