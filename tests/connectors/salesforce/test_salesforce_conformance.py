"""The Salesforce connector against an org over real HTTP, by the public conformance suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from accord.connectors.salesforce import CONNECTOR
from accord.connectors.salesforce.values import read_record
from accord.sdk.connector import WriteMode
from accord.testing.connector_suite import CallCase, EntityCase, Status, Subject, check_names, run_check
from accord.testing.http_server import closed_address, nonsense, serve

ACCOUNTS = [
    {"Shop_Id__c": f"shop-{n}", "Name": f"Ada & Söhne {n} 🎈", "AnnualRevenue": Decimal(n), "Phone": None}
    for n in range(5)
]
LEADS = [{"LastName": f"O'Neil {n}", "Company": "Back\\slash"} for n in range(5)]
NOT_APPLICABLE = {"genuine_webhooks_are_received", "forged_webhooks_are_refused", "malformed_webhooks_do_no_harm"}


def cases(org: Any) -> list[EntityCase]:
    def case(entity: str, **given: Any) -> EntityCase:
        fields = org.entities[entity].fields

        async def stored() -> list[dict[str, Any]]:
            return [read_record(one, fields) for one in org.stored(entity)]

        async def seed(records: Sequence[dict[str, Any]]) -> None:
            for record in records:
                body = {name: str(v) if isinstance(v, Decimal) else v for name, v in record.items() if name != "Id"}
                record["Id"] = await org.create(entity, body)

        return EntityCase(entity=entity, stored=stored, seed=seed, **given)

    async def touch_account(record: dict[str, Any]) -> None:
        answer = await org.ask("PATCH", f"/sobjects/Account/Shop_Id__c/{record['Shop_Id__c']}", {"Phone": "+44 20 1"})
        assert answer.status == 200

    async def touch_lead(record: dict[str, Any]) -> None:
        answer = await org.ask("PATCH", f"/sobjects/Lead/{record['Id']}", {"Company": "Touched"})
        assert answer.status == 204

    return [
        case(
            "Account",
            records=[dict(r) for r in ACCOUNTS],
            touch=touch_account,
            changed=lambda r: {**r, "Phone": "+44 20 7946 0000"},
            refused={"Shop_Id__c": "refused", "Name": "x" * 300},
            identify="Shop_Id__c",
        ),
        case(
            "Lead",
            records=[dict(r) for r in LEADS],
            touch=touch_lead,
            changed=lambda r: {**r, "Company": "Changed"},
            refused={"LastName": "Nobody", "Company": None},
            identify="LastName",
            modes=[WriteMode.CREATE, WriteMode.UPDATE, WriteMode.DELETE],
        ),
    ]


@asynccontextmanager
async def subject(org: Any, folder: Path) -> AsyncIterator[Subject]:
    org.sandbox.clear("crm")
    org.sandbox.reset("crm")
    async with serve(nonsense) as liar:

        @asynccontextmanager
        async def lose_answers() -> AsyncIterator[None]:
            org.sandbox.fault("crm", lose_answers=1.0)
            yield
            org.sandbox.clear("crm")

        yield Subject(
            kind=CONNECTOR,
            settings=org.settings(),
            entities=org.entities,
            folder=folder,
            cases=cases(org),
            calls=[
                CallCase(
                    operation="query",
                    arguments={"soql": "SELECT Name, Account.Name FROM Contact"},
                    refused={"soql": "SELECT Nothing FROM Contact"},
                )
            ],
            unreachable=org.settings(address=closed_address()),
            garbage=org.settings(address=liar.address),
            lose_answers=lose_answers,
        )


@pytest.mark.parametrize("check", check_names())
def test_conforms(check: str, org: Any, tmp_path: Path) -> None:
    result = asyncio.run(run_check(check, lambda: subject(org, tmp_path)))
    assert result.status is (Status.NOT_APPLICABLE if check in NOT_APPLICABLE else Status.PASSED), result.why
