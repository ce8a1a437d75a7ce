"""Loading by ingest jobs: values, rejects with reasons, repeats, failed jobs, lost answers, and collections for few rows."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.salesforce.bulk_org import chunk, connected, entity, load, owner, refused

from accord.connectors.salesforce.settings import BulkUse
from accord.record import Reject, Retry
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import LoadFailed

UPSERT, APPEND = LoadMode.UPSERT, LoadMode.APPEND


def account(key: str | None, name: str | None = "n", **more: Any) -> dict[str, Any]:
    return {"Shop_Id__c": key, "Name": name, **more}


def names(org: Any) -> dict[str, str]:
    return {one["Shop_Id__c"]: one["Name"] for one in org.stored("Account")}


def test_rows_are_written_and_each_refusal_has_its_reason(org: Any, tmp_path: Path) -> None:
    rows = [
        account(
            "a",
            'Söhne "& Co", Ltd\nzwei 🎈',
            AnnualRevenue=Decimal("12345678901234567"),
            Is_Customer__c=True,
            NumberOfEmployees=7,
        ),
        account("b", "x" * 300),
        account(None),
        account("c", "#N/A"),
        account("d", None),
        account("e", "last"),
    ]

    async def scene() -> None:
        async with connected(org, tmp_path) as (connection, http), load(connection, entity(org), UPSERT) as made:
            written = await made.write(chunk(entity(org), 0, rows))
            assert refused(written) == {
                1: "STRING_TOO_LONG",
                2: "Shop_Id__c is needed to say which Account is meant, and to recognise a repeat",
                3: "Salesforce reads the text #N/A as no value",
                4: "REQUIRED_FIELD_MISSING",
            }
            assert [one.path for one in written.rejects] == ["Name", "Shop_Id__c", "Name", "Name"]
            assert (written.rows, written.was_there, http.made("ingest")) == (2, False, 1)
            await made.finish()

    asyncio.run(scene())
    assert names(org) == {"a": rows[0]["Name"], "e": "last"}
    (first,) = [one for one in org.stored("Account") if one["Shop_Id__c"] == "a"]
    assert (first["AnnualRevenue"], first["Is_Customer__c"], first["NumberOfEmployees"]) == (12345678901234567, True, 7)


def test_the_last_row_of_a_record_wins_and_null_empties(org: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        async with connected(org, tmp_path) as (connection, http), load(connection, entity(org), UPSERT) as made:
            first = [account("A", "one", Phone="1"), account("b", "b"), account("a", "two", Phone="2")]
            assert (await made.write(chunk(entity(org), 0, first))).rows == 3
            assert http.made("ingest") == 2
            assert {(one["Name"], one["Phone"]) for one in org.stored("Account")} == {("two", "2"), ("b", None)}
            assert (await made.write(chunk(entity(org), 1, [account("a", "three")]))).rows == 1
            assert {(one["Name"], one["Phone"]) for one in org.stored("Account")} == {("three", None), ("b", None)}

    asyncio.run(scene())


def test_parents_dates_and_lists(org: Any, tmp_path: Path) -> None:
    contacts = entity(org, "contacts")
    extra = contacts.extra.__class__(object="Contact", external_id="Shop_Id__c")
    fields = {**contacts.fields, "Shop_Id__c": org.entities["Account"].fields["Shop_Id__c"]}
    fields["Account"] = fields["Account"].__class__(
        type=fields["Account"].type.__class__({"Shop_Id__c": fields["Account"].type.fields["Shop_Id__c"]}),
        nullable=True,
    )
    changed = entity(org, "contacts").__class__(name=contacts.name, fields=fields, key=("Shop_Id__c",), extra=extra)
    row = {
        "Shop_Id__c": "c1", "LastName": "Ada", "Birthdate": dt.date(1990, 2, 28), "Interests__c": ["Home", "Garden"],
        "Account": {"Shop_Id__c": "p"},
    }  # fmt: skip

    async def scene() -> None:
        parent = await org.create("Account", {"Name": "P", "Shop_Id__c": "p"})
        async with connected(org, tmp_path) as (connection, _):
            stranger = {**row, "Shop_Id__c": "c2", "Account": {"Shop_Id__c": "nobody"}}
            async with load(connection, bulk_always(changed), UPSERT) as made:
                written = await made.write(
                    chunk(changed, 0, [row, stranger, {**row, "Shop_Id__c": "c3", "Account": None}])
                )
            assert refused(written) == {1: "INVALID_FIELD"}
        stored = {one["Shop_Id__c"]: one for one in org.stored("Contact")}
        assert (stored["c1"]["AccountId"], stored["c1"]["Birthdate"], stored["c1"]["Interests__c"]) == (
            parent,
            "1990-02-28",
            "Home;Garden",
        )
        assert stored["c3"]["AccountId"] is None

    asyncio.run(scene())


def bulk_always(given: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(given, extra=msgspec.structs.replace(given.extra, bulk=BulkUse.ALWAYS))


@pytest.mark.parametrize("mode", [APPEND, UPSERT])
def test_a_chunk_that_comes_again_is_not_sent_again(org: Any, tmp_path: Path, mode: LoadMode) -> None:
    rows = [account("a"), account("b", "x" * 300), account("c")]

    async def scene() -> None:
        async with connected(org, tmp_path) as (connection, _), load(connection, entity(org), mode) as made:
            first = await made.write(chunk(entity(org), 0, rows))
            assert refused(first) == {1: "STRING_TOO_LONG"} and not first.was_there
        async with connected(org, tmp_path) as (connection, http), load(connection, entity(org), mode) as made:
            again = await made.write(chunk(entity(org), 0, rows))
            assert (again.rows, again.rejects, again.was_there) == (2, first.rejects, True)
            assert http.made("ingest") == 0
            assert (await made.write(chunk(entity(org), 1, [account("d")]))).rows == 1
            await made.finish()
            await made.finish()
        assert sorted(names(org)) == ["a", "c", "d"]
        async with connected(org, tmp_path) as (connection, http), load(connection, entity(org), mode) as made:
            later = await made.write(
                chunk(entity(org), 0, rows)
            )  # the note is gone: nothing is there twice all the same
            assert http.made("ingest") == 1
            assert refused(later) == (
                {0: "DUPLICATE_VALUE", 1: "STRING_TOO_LONG", 2: "DUPLICATE_VALUE"} if mode is APPEND else refused(first)
            )
        assert sorted(names(org)) == ["a", "c", "d"] and len(org.stored("Account")) == 3

    asyncio.run(scene())


def test_answers_that_are_lost_write_nothing_twice(org: Any, tmp_path: Path) -> None:
    """Every answer is lost with one chance in four: chunks are tried until they are through."""
    rows = [account(f"k{n}") for n in range(20)]

    async def scene() -> None:
        async with connected(org, tmp_path) as (connection, _), load(connection, entity(org), APPEND) as made:
            org.sandbox.fault("crm", lose_answers=0.25)
            for number in range(3):
                await until_written(
                    made,
                    chunk(
                        entity(org), number, [{**row, "Shop_Id__c": f"{row['Shop_Id__c']}-{number}"} for row in rows]
                    ),
                )
            org.sandbox.clear("crm")
        assert len(org.stored("Account")) == 60 == len(names(org))

    async def until_written(made: Any, one: Any) -> None:
        for _ in range(100):
            try:
                written = await made.write(one)
            except LoadFailed as failed:
                assert not isinstance(failed.outcome, Reject), failed.outcome
                continue
            assert (written.rows, written.rejects) == (20, ())
            return
        raise AssertionError("never through")

    asyncio.run(scene())


def test_rows_a_job_left_unprocessed_go_in_another(org: Any, tmp_path: Path) -> None:
    rows = [account(f"k{n}") for n in range(9)]

    async def scene() -> None:
        owner(org, "jobs/fail", {"message": "Batch failed", "after": 4})
        async with connected(org, tmp_path) as (connection, http), load(connection, entity(org), APPEND) as made:
            assert (await made.write(chunk(entity(org), 0, rows))).rows == 9
            assert http.made("ingest") == 2
        async with connected(org, tmp_path) as (connection, http), load(connection, entity(org), APPEND) as made:
            again = await made.write(chunk(entity(org), 0, rows))
            assert (again.rows, again.was_there, http.made("ingest")) == (9, True, 0)

    asyncio.run(scene())
    assert len(org.stored("Account")) == 9


def test_a_job_that_fails_as_a_whole_stops_the_load(org: Any, tmp_path: Path) -> None:
    async def fails(rows: Sequence[dict[str, Any]], what: Any, **changed: Any) -> Any:
        given = entity(org, **changed)
        async with connected(org, tmp_path) as (connection, _), load(connection, given, UPSERT) as made:
            with pytest.raises(LoadFailed) as failed:
                await made.write(chunk(given, 0, rows))
            assert isinstance(failed.value.outcome, what)
            return failed.value.outcome

    async def scene() -> None:
        fields = org.entities["Account"].fields
        unknown = await fails(
            [{**account("a"), "Nothing__c": "x"}], Reject, fields={**fields, "Nothing__c": fields["Phone"]}
        )
        assert "Field name not found : Nothing__c" in unknown.reason
        owner(org, "jobs/fail", {"message": "the service is busy", "after": 0})
        assert "busy" in (await fails([account("a")], Retry)).reason
        async with connected(org, tmp_path) as (connection, _), load(connection, entity(org), UPSERT) as made:
            assert (await made.write(chunk(entity(org), 0, [account("a")]))).rows == 1  # taken up: by a new job

    asyncio.run(scene())
    assert names(org) == {"a": "n"}


@pytest.mark.parametrize("mode", [APPEND, UPSERT])
def test_few_rows_go_in_collections(org: Any, tmp_path: Path, mode: LoadMode) -> None:
    given = entity(org, bulk=BulkUse.AUTO)
    rows = [account(f"k{n}") for n in range(250)]
    rows[7] = account("bad", "x" * 300)

    async def scene() -> None:
        for was_there in (False, mode is APPEND):
            async with connected(org, tmp_path) as (connection, http), load(connection, given, mode) as made:
                written = await made.write(chunk(given, 0, rows))
                assert (written.rows, refused(written), http.made("ingest")) == (249, {7: "STRING_TOO_LONG"}, 0)
                assert not written.was_there
                if was_there:
                    clean = [row for n, row in enumerate(rows) if n != 7]
                    assert (await made.write(chunk(given, 0, clean))).was_there
        assert len(org.stored("Account")) == 249

    asyncio.run(scene())
