"""Writing through sObject Collections: up to 200 records in one call, one result each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from accord.connectors.salesforce import soql
from accord.connectors.salesforce.api import GONE, Api
from accord.connectors.salesforce.reading import object_of
from accord.connectors.salesforce.settings import SalesforceEntity
from accord.connectors.salesforce.values import write_record
from accord.record import Done, Entity, Reject, Retry
from accord.sdk.connector import WriteItem, WriteMode
from accord.sdk.turns import turns

COLLECTION_MAX = 200  # records in one call, Salesforce's own bound

One: TypeAlias = Done | Retry | Reject
Numbered: TypeAlias = tuple[int, WriteItem]


class Collection:
    """One write of records of one entity; ``outcomes`` fills up. Raises Stopped from every method that asks."""

    def __init__(self, api: Api, entity: Entity, items: Sequence[WriteItem]) -> None:
        self._api = api
        self._object = object_of(entity)
        self._external = entity.extra.external_id if isinstance(entity.extra, SalesforceEntity) else ""
        self._items = items
        self.outcomes: list[One | None] = [None] * len(items)

    async def run(self, mode: WriteMode) -> tuple[One, ...]:
        numbered = list(enumerate(self._items))
        match mode:
            case WriteMode.CREATE:
                await self._create(numbered)
            case WriteMode.UPSERT:
                for turn in self._turns(self._having(numbered, self._external)):
                    path = f"/composite/sobjects/{self._object}/{self._external}"
                    await self._send("PATCH", path, turn, [self._body(item) for _, item in turn])
            case WriteMode.UPDATE:
                for found in await self._id_turns(numbered):
                    bodies = [{**self._body(item), "id": id_} for _, item, id_ in found]
                    await self._send("PATCH", "/composite/sobjects", [(n, item) for n, item, _ in found], bodies)
            case WriteMode.DELETE:
                for found in await self._id_turns(numbered):
                    await self._delete(found)
        return tuple(one if one is not None else Retry("nothing was sent for it") for one in self.outcomes)

    async def _create(self, numbered: list[Numbered]) -> None:
        if self._external:
            numbered = self._having(numbered, self._external)
            doubtful = [(n, item) for n, item in numbered if item.in_doubt]
            there = await self._ids([item.record[self._external] for _, item in doubtful])
            for n, item in doubtful:
                id_ = there.get(_folded(item.record[self._external]))
                if id_ is not None:
                    self.outcomes[n] = Done({**item.record, "Id": id_}, was_there=True)
        left = [(n, item) for n, item in numbered if self.outcomes[n] is None]
        if left:
            await self._send("POST", "/composite/sobjects", left, [self._body(item) for _, item in left])

    async def _delete(self, found: Sequence[tuple[int, WriteItem, str]]) -> None:
        query = {"ids": ",".join(id_ for _, _, id_ in found), "allOrNone": "false"}
        results = await self._api.collection("DELETE", "/composite/sobjects", found, query)
        for (n, _, _), result in zip(found, results, strict=True):
            if result["success"]:
                self.outcomes[n] = Done()
            elif (result.get("errors") or [{}])[0].get("statusCode") in GONE:
                self.outcomes[n] = Done(was_there=True)
            else:
                self.outcomes[n] = self._api.refused(result)

    async def _send(self, method: str, path: str, turn: Sequence[Numbered], bodies: Sequence[Any]) -> None:
        results = await self._api.collection(method, path, bodies)
        for (n, item), result in zip(turn, results, strict=True):
            if result["success"]:
                self.outcomes[n] = Done({**item.record, "Id": result["id"]})
            else:
                self.outcomes[n] = self._api.refused(result)

    async def _identified(self, numbered: list[Numbered]) -> list[tuple[int, WriteItem, str]]:
        """With the record's id: its own, or found by external id. What is not there is answered."""
        strangers = [(n, item) for n, item in numbered if not item.record.get("Id")]
        there: dict[Any, str] = {}
        if strangers:
            strangers = self._having(strangers, self._external or "Id")
            there = await self._ids([item.record[self._external] for _, item in strangers]) if self._external else {}
        found: list[tuple[int, WriteItem, str]] = []
        for n, item in numbered:
            if self.outcomes[n] is not None:
                continue
            id_ = item.record.get("Id") or there.get(_folded(item.record.get(self._external)))
            if id_:
                found.append((n, item, str(id_)))
            else:
                self.outcomes[n] = Reject(
                    f"there is no such {self._object}", code="connector.not-found", path=self._external
                )
        return found

    async def _ids(self, values: Sequence[Any]) -> dict[Any, str]:
        """Ids by external id. Salesforce compares texts without regard to case."""
        if not values:
            return {}
        query = soql.select(["Id", self._external], self._object, [soql.one_of(self._external, values)])
        rows, _ = await self._api.query(query)
        return {_folded(row[self._external]): row["Id"] for row in rows}

    def _having(self, numbered: list[Numbered], name: str) -> list[Numbered]:
        """Those with a value there; the others are answered."""
        for n, item in numbered:
            if item.record.get(name) in (None, ""):
                reason = f"{name} is needed to say which {self._object} is meant, and to recognise a repeat"
                self.outcomes[n] = Reject(reason, path=name)
        return [(n, item) for n, item in numbered if self.outcomes[n] is None]

    def _turns(self, numbered: list[Numbered]) -> list[list[Numbered]]:
        by_value = [(_folded(item.record[self._external]), (n, item)) for n, item in numbered]
        return turns(by_value)

    async def _id_turns(self, numbered: list[Numbered]) -> list[list[tuple[int, WriteItem, str]]]:
        return turns([(id_[:15], (n, item, id_)) for n, item, id_ in await self._identified(numbered)])

    def _body(self, item: WriteItem) -> Mapping[str, Any]:
        return write_record(item.record, self._object)


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value
