"""Reading by query jobs: sets and locators, jobs that are taken up again, gone, failed or aborted, values, changes."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.salesforce.bulk_org import again, connected, entity, owner, put, read, values

from accord.connectors.salesforce import bulk_reading
from accord.connectors.salesforce.settings import BulkUse
from accord.record import Field, Reject, Retry
from accord.record import types as t
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import ReadFailed

ACCOUNTS = [
    {
        "Shop_Id__c": f"s{n}",
        "Name": f'Acme "{n}", Ltd\nline',
        "NumberOfEmployees": n,
        "AnnualRevenue": n * 10,
        "Is_Customer__c": n % 2 == 0,
    }
    for n in range(7)
]


def test_a_job_and_pages_give_the_same_records(org: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        await put(org, ACCOUNTS)
        async with connected(org, tmp_path) as (connection, http):
            by_job = await read(connection, entity(org), rows=3)
            assert http.made("query") == 1
            by_pages = await read(connection, entity(org, bulk=BulkUse.NEVER), rows=3)
            assert http.made("query") == 1
        for batches in (by_job, by_pages):
            assert [batch.frame.height for batch in batches if batch.frame.height] == [3, 3, 1]
            assert [batch.is_last for batch in batches] == [False] * (len(batches) - 1) + [True]
        rows = [row for batch in by_job for row in batch.frame.rows(named=True)]
        assert rows == [row for batch in by_pages for row in batch.frame.rows(named=True)]
        rows.sort(key=lambda row: row["NumberOfEmployees"])
        assert [
            (r["Name"], r["NumberOfEmployees"], r["AnnualRevenue"], r["Is_Customer__c"], r["Phone"]) for r in rows
        ] == [
            (a["Name"], a["NumberOfEmployees"], Decimal(a["AnnualRevenue"]), a["Is_Customer__c"], None)
            for a in ACCOUNTS
        ]
        assert [n for batch in by_job for n in batch.numbers] == list(range(1, 8))

    asyncio.run(scene())


def test_many_records_are_read_by_a_job_and_few_by_pages(org: Any, tmp_path: Path, monkeypatch: Any) -> None:
    async def scene() -> None:
        await put(org, ACCOUNTS)
        async with connected(org, tmp_path) as (connection, http):
            for least, jobs in ((7, 0), (6, 1)):
                monkeypatch.setattr(bulk_reading, "BULK_RECORDS_MIN", least)
                assert len(values(await read(connection, entity(org, bulk=BulkUse.AUTO)))) == 7
                assert http.made("query") == jobs

    asyncio.run(scene())


def test_a_killed_reader_goes_on_with_the_same_job(org: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        await put(org, ACCOUNTS)
        async with connected(org, tmp_path) as (connection, http):
            first = await anext(connection.read_bulk(entity(org), BulkRead(rows=3)))
            assert first.after_s > 0 and first.frame.height == 0
            batches = await read(connection, entity(org), rows=3, position=again(first.position))
            assert sorted(values(batches)) == [f"s{n}" for n in range(7)]
            for at, batch in enumerate(batches):
                rest = await read(connection, entity(org), rows=3, position=again(batch.position))
                assert values(rest) == values(batches[at + 1 :])
                assert [b.position for b in rest[:-1]] == [b.position for b in batches[at + 1 : -1]]
            assert http.made("query") == 1

    asyncio.run(scene())


def test_a_job_that_is_gone_is_made_anew_for_what_is_left(org: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        await put(org, ACCOUNTS)
        async with connected(org, tmp_path) as (connection, http):
            for cursor in ("", "SystemModstamp"):
                fields = {**org.entities["Account"].fields, "SystemModstamp": Field(type=t.DateTime(), nullable=True)}
                batches = await read(connection, entity(org, fields=fields), rows=3, cursor=cursor)
                made = http.made("query")
                owner(org, "clock", {"by_s": 8 * 86_400.0})
                rest = await read(
                    connection, entity(org, fields=fields), rows=3, cursor=cursor, position=again(batches[0].position)
                )
                assert values(rest) == values(batches[1:])
                assert rest[0].numbers.to_list() == [4, 5, 6]  # type: ignore[union-attr]
                assert http.made("query") == made + 1

    try:
        asyncio.run(scene())
    finally:
        owner(org, "clock", {"reset": True})


def test_a_failed_job_is_told_and_made_again(org: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        await put(org, ACCOUNTS)
        owner(org, "jobs/fail", {"message": "the query took too long"})
        async with connected(org, tmp_path) as (connection, http):
            positions = []
            with pytest.raises(ReadFailed, match="took too long") as failed:
                async for batch in connection.read_bulk(entity(org), BulkRead()):
                    positions.append(again(batch.position))
            assert isinstance(failed.value.outcome, Retry)
            assert sorted(values(await read(connection, entity(org), position=positions[-1]))) == [
                f"s{n}" for n in range(7)
            ]
            assert http.made("query") == 2

    asyncio.run(scene())


def test_a_job_that_somebody_aborts_ends_the_read_until_it_is_taken_up(org: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        await put(org, ACCOUNTS)
        async with connected(org, tmp_path) as (connection, _):
            source = connection.read_bulk(entity(org), BulkRead())
            owner(org, "clock", {"by_s": 3_600.0})
            first = await anext(source)
            owner(org, "clock", {"reset": True})  # so it waits for an hour
            answer = await org.ask("PATCH", f"/jobs/query/{first.position['job']}", {"state": "Aborted"})
            assert answer.status == 200
            with pytest.raises(ReadFailed, match="aborted in Salesforce") as failed:
                await anext(source)
            assert isinstance(failed.value.outcome, Reject)
            assert len(values(await read(connection, entity(org), position=again(first.position)))) == 7

    asyncio.run(scene())


def test_a_used_up_quota_of_jobs_holds_the_read(tmp_path: Path, org: Any) -> None:
    org.sandbox.fault("crm", rate_limit_per_s=0.001)

    async def scene() -> None:
        async with connected(org, tmp_path) as (connection, _):
            await connection.check()
            with pytest.raises(ReadFailed) as failed:
                await read(connection, entity(org))
            assert isinstance(failed.value.outcome, Retry) and failed.value.outcome.throttled

    asyncio.run(scene())


def test_values_of_parents_lists_and_what_does_not_fit(org: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        await put(org, [{"Shop_Id__c": "a", "Name": "Parent"}])
        contacts = [
            {
                "LastName": "D'Artagnan, 東京",
                "Birthdate": "1990-02-28",
                "Interests__c": "Home;Garden",
                "Account": {"Shop_Id__c": "a"},
            },
            {"LastName": "12"},
        ]
        await put(org, contacts, "Contact")
        async with connected(org, tmp_path) as (connection, _):
            (batch,) = await read(connection, entity(org, "contacts"))
            ada, other = batch.frame.sort("Birthdate", nulls_last=True).rows(named=True)
            assert (ada["LastName"], ada["Birthdate"], ada["Interests__c"]) == (
                "D'Artagnan, 東京",
                dt.date(1990, 2, 28),
                ["Home", "Garden"],
            )
            assert ada["Account"] == {"Name": "Parent", "Shop_Id__c": "a"} and ada["SystemModstamp"].tzinfo is not None
            assert (other["Account"], other["Interests__c"]) == (None, None)
            numbered = {"Id": Field(type=t.String()), "LastName": Field(type=t.Integer())}
            (batch,) = await read(connection, entity(org, "contacts", fields=numbered))
            assert batch.frame["LastName"].to_list() == [12]
            (odd,) = batch.odd
            assert odd.record["LastName"] == "D'Artagnan, 東京" and odd.record["Id"].startswith("003")

    asyncio.run(scene())


def test_changes_and_deleted_records(org: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        leads = [{"LastName": f"L{n}", "Company": "C"} for n in range(4)]
        await put(org, leads, "Lead")
        fields = {**org.entities["Lead"].fields, "SystemModstamp": Field(type=t.DateTime())}
        lead = entity(org, "Lead", fields=fields)
        async with connected(org, tmp_path) as (connection, _):
            (batch,) = await read(connection, lead, cursor="SystemModstamp")
            owner(org, "clock", {"by_s": 60.0})
            gone, changed = batch.frame["Id"].to_list()[:2]
            assert (await org.ask("DELETE", f"/sobjects/Lead/{gone}")).status == 204
            assert (await org.ask("PATCH", f"/sobjects/Lead/{changed}", {"Company": "D"})).status == 204
            since = batch.frame["SystemModstamp"].max() + dt.timedelta(seconds=1)
            for bulk in (BulkUse.ALWAYS, BulkUse.NEVER):
                extra = entity(org, "Lead", bulk).extra
                (found,) = await read(
                    connection, entity(org, "Lead", bulk, fields=fields), cursor="SystemModstamp", since=since
                )
                assert extra.bulk is bulk
                assert set(found.frame.select("Id", "IsDeleted").rows()) == {(gone, True), (changed, False)}
                until = await read(
                    connection, entity(org, "Lead", bulk, fields=fields), cursor="SystemModstamp", until=since
                )
                assert values(until, "Id") == batch.frame["Id"].to_list()[2:]

    try:
        asyncio.run(scene())
    finally:
        owner(org, "clock", {"reset": True})
