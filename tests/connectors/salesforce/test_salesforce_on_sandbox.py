"""What the conformance suite does not ask: sessions, paging, collections, errors, and clients that others wrote."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

from accord.connectors.salesforce import CONNECTOR
from accord.engine.http import PooledHttpClient
from accord.record import Done, Partial, Reconnect, Reject, Retry
from accord.sandbox import Sandbox
from accord.sdk.connector import CallItem, Context, WriteItem, WriteMode
from accord.settings.secret import Secret


def connected(org: Any, use: Any, folder: Path, **settings: Any) -> Any:
    """Runs ``use(connection)`` on an open connection."""

    async def run() -> Any:
        http = PooledHttpClient(timeout_s=5.0)
        context = Context(system="crm", http=http, folder=folder, state_folder=folder)
        connection = CONNECTOR.connect(org.settings(**settings), org.entities, context)
        try:
            await connection.open()
            return await use(connection)
        finally:
            await connection.close()
            await http.close()

    return asyncio.run(run())


def accounts(*numbers: int) -> tuple[WriteItem, ...]:
    return tuple(WriteItem(f"e{n}", {"Shop_Id__c": f"s{n}", "Name": f"Account {n}"}) for n in numbers)


def test_two_hundred_records_are_one_call_and_each_has_its_outcome(org: Any, tmp_path: Path) -> None:
    items = [*accounts(*range(199)), WriteItem("bad", {"Shop_Id__c": "bad", "Name": "x" * 256})]

    async def use(connection: Any) -> Any:
        before = (await connection.check()).result["api_calls_left"]
        outcome = await connection.write(org.entities["Account"], WriteMode.UPSERT, items)
        return outcome, before - (await connection.check()).result["api_calls_left"]

    outcome, calls = connected(org, use, tmp_path)
    assert isinstance(outcome, Partial)
    assert all(isinstance(one, Done) and one.result["Id"].startswith("001") for one in outcome.outcomes[:-1])
    assert isinstance(outcome.outcomes[-1], Reject)
    assert outcome.outcomes[-1].path == "Name"
    assert "STRING_TOO_LONG" in outcome.outcomes[-1].reason
    assert calls == 2  # the write, and the second look at the limit
    assert len(org.stored("Account")) == 199


def test_the_same_record_twice_in_one_write_is_written_in_order(org: Any, tmp_path: Path) -> None:
    first, second = (
        {"Shop_Id__c": "A", "Name": "one"},
        {"Shop_Id__c": "a", "Name": "two"},
    )  # texts are equal without case

    async def use(connection: Any) -> Any:
        items = (WriteItem("1", first), *accounts(7), WriteItem("2", second))
        return await connection.write(org.entities["Account"], WriteMode.UPSERT, items)

    outcome = connected(org, use, tmp_path)
    assert [type(one) for one in outcome.outcomes] == [Done, Done, Done]
    assert outcome.outcomes[0].result["Id"] == outcome.outcomes[2].result["Id"]
    assert {one["Name"] for one in org.stored("Account")} == {"two", "Account 7"}


def test_a_session_that_ended_is_renewed_once_and_nothing_fails(org: Any, tmp_path: Path) -> None:
    async def use(connection: Any) -> Any:
        await connection.check()
        async with asyncio.timeout(5):
            answer = await asyncio.to_thread(
                requests.post, org.sandbox.systems["crm"].control + "/_sandbox/sessions/end", timeout=5
            )
            assert answer.status_code == 204
        return await connection.write(org.entities["Account"], WriteMode.CREATE, accounts(1))

    assert isinstance(connected(org, use, tmp_path), Done)
    assert len(org.stored("Account")) == 1


def test_wrong_credentials_are_told_and_give_up_no_record(org: Any, tmp_path: Path) -> None:
    async def use(connection: Any) -> Any:
        checked = await connection.check()
        return checked, await connection.write(org.entities["Account"], WriteMode.CREATE, accounts(1))

    checked, written = connected(org, use, tmp_path, client_secret=Secret("wrong-secret"))
    assert isinstance(checked, Reject)
    assert checked.code == "connector.unauthorized"
    assert isinstance(written, Reconnect)
    assert "wrong-secret" not in checked.reason + written.reason


def test_the_jwt_flow_signs_in_without_a_secret(org: Any, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    control = org.sandbox.systems["crm"].control

    async def use(connection: Any) -> Any:
        return await connection.check()

    given = {"client_secret": None, "username": org.credentials["username"], "private_key": Secret(pem)}
    assert isinstance(connected(org, use, tmp_path, **given), Reject)  # the app knows no certificate yet
    assert requests.post(control + "/_sandbox/public-key", data=public, timeout=5).status_code == 204
    assert isinstance(connected(org, use, tmp_path, **given), Done)
    told = connected(org, use, tmp_path, **(given | {"username": "stranger@example.com"}))
    assert isinstance(told, Reject)
    assert "approved" in told.reason


def test_reading_goes_on_after_any_page_and_sees_what_changed_meanwhile(org: Any, tmp_path: Path) -> None:
    entity = org.entities["Account"]

    async def use(connection: Any) -> Any:
        await connection.write(entity, WriteMode.UPSERT, accounts(*range(10)))
        pages = []
        async for page in connection.read(entity):
            pages.append(page)
            if len(pages) == 2:
                break
        await connection.write(entity, WriteMode.UPSERT, (WriteItem("x", {"Shop_Id__c": "s0", "Name": "renamed"}),))
        rest = [page async for page in connection.read(entity, pages[-1].position)]
        # A change within the second that was just read is seen by the next run, which looks back.
        rest += [page async for page in connection.read(entity, rest[-1].position)]
        quiet = [page async for page in connection.read(entity, rest[-1].position)]
        return pages, rest, quiet

    pages, rest, quiet = connected(org, use, tmp_path)
    assert [len(page.records) for page in pages] == [3, 3]
    seen = [record["Shop_Id__c"] for page in (*pages, *rest) for record in page.records]
    assert set(seen) == {f"s{n}" for n in range(10)}
    assert [r["Name"] for page in rest for r in page.records if r["Shop_Id__c"] == "s0"] == ["renamed"]
    assert [record for page in quiet for record in page.records] == []


def test_values_keep_their_types_both_ways(org: Any, tmp_path: Path) -> None:
    entity = org.entities["contacts"]

    async def use(connection: Any) -> Any:
        await connection.write(org.entities["Account"], WriteMode.UPSERT, accounts(1))
        given = {
            "LastName": "D'Artagnan \\ 東京",
            "Birthdate": "1990-02-28",
            "Interests__c": ["Home", "Garden"],
            "Account": {"Shop_Id__c": "s1"},  # the parent is found by its external id
        }
        done = await connection.write(entity, WriteMode.CREATE, (WriteItem("c", given),))
        found = await connection.get(entity, done.result["Id"])
        called = await connection.call(
            "query", CallItem("q", {"soql": r"SELECT Id FROM Contact WHERE LastName = 'd\'artagnan \\ 東京'"})
        )
        return done, found, called

    done, found, called = connected(org, use, tmp_path)
    assert found.result["LastName"] == "D'Artagnan \\ 東京"
    assert found.result["Birthdate"] == "1990-02-28"
    assert found.result["Interests__c"] == ["Home", "Garden"]
    assert found.result["Account"] == {"Name": "Account 1", "Shop_Id__c": "s1"}
    assert found.result["SystemModstamp"].endswith("Z")
    assert called.result == [{"Id": done.result["Id"]}]


def test_what_is_in_doubt_is_looked_up_before_it_is_created_again(org: Any, tmp_path: Path) -> None:
    async def use(connection: Any) -> Any:
        entity = org.entities["Account"]
        (item,) = accounts(1)
        first = await connection.write(entity, WriteMode.CREATE, (item,))
        again = await connection.write(entity, WriteMode.CREATE, (WriteItem("e1", item.record, in_doubt=True),))
        return first, again

    first, again = connected(org, use, tmp_path)
    assert again.was_there
    assert again.result["Id"] == first.result["Id"]
    assert len(org.stored("Account")) == 1


def test_deleted_records_are_read_where_asked_for(org: Any, tmp_path: Path) -> None:
    entity = org.entities["Lead"]

    async def use(connection: Any) -> Any:
        record = {"LastName": "Gone", "Company": "X"}
        done = await connection.write(entity, WriteMode.CREATE, (WriteItem("1", record),))
        await connection.write(entity, WriteMode.DELETE, (WriteItem("2", done.result),))
        again = await connection.write(entity, WriteMode.DELETE, (WriteItem("2", done.result, in_doubt=True),))
        return again, [record async for page in connection.read(entity) for record in page.records]

    again, read = connected(org, use, tmp_path)
    assert again.was_there
    assert [(record["LastName"], record["IsDeleted"]) for record in read] == [("Gone", True)]


def test_a_used_up_daily_limit_holds_everything_and_spends_no_attempt(tmp_path: Path, org: Any) -> None:
    org.sandbox.fault("crm", rate_limit_per_s=0.001)

    async def use(connection: Any) -> Any:
        await connection.check()  # the token takes what the bucket holds
        return await connection.write(org.entities["Account"], WriteMode.CREATE, accounts(1))

    outcome = connected(org, use, tmp_path)
    assert isinstance(outcome, Retry)
    assert outcome.throttled


# --- clients nobody here wrote


@pytest.fixture(scope="module")
def tls_crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("tls-crm")
    with Sandbox(folder, ["crm"], settings={"crm": {"accounts": 0, "tls": True}}) as sandbox:
        yield sandbox


@pytest.fixture
def session(tls_crm: Sandbox) -> dict[str, str]:
    tls_crm.reset("crm")
    form = {"grant_type": "client_credentials"} | {
        name: tls_crm.credentials("crm")[name] for name in ("client_id", "client_secret")
    }
    told = requests.post(
        tls_crm.address("crm") + "/services/oauth2/token", data=form, verify=str(certificate(tls_crm)), timeout=5
    ).json()
    return {"token": told["access_token"], "address": told["instance_url"]}


def certificate(sandbox: Sandbox) -> Path:
    return sandbox.folder / "crm" / "certificate.pem"


def test_simple_salesforce_works_on_the_stand_in(tls_crm: Sandbox, session: dict[str, str]) -> None:
    trusting = requests.Session()
    trusting.trust_env = False  # its variables go before what is said here
    trusting.verify = str(certificate(tls_crm))
    client = Salesforce(instance_url=session["address"], session_id=session["token"], session=trusting, version="65.0")
    made = client.Account.create({"Name": "Made by a stranger", "AnnualRevenue": 12})
    assert made["success"]
    assert client.Account.get(made["id"])["Name"] == "Made by a stranger"
    assert client.Account.upsert("Shop_Id__c/s-1", {"Name": "Upserted"}) == 201
    assert client.Account.upsert("Shop_Id__c/s-1", {"Name": "Upserted again"}) == 200
    assert client.Account.update(made["id"], {"Phone": "1"}) == 204
    found = client.query_all("SELECT Id, Name FROM Account ORDER BY Name LIMIT 10")
    assert [row["Name"] for row in found["records"]] == ["Made by a stranger", "Upserted again"]
    assert {field["name"] for field in client.Account.describe()["fields"]} >= {"Id", "Name", "Shop_Id__c"}
    assert client.Account.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        client.Account.get(made["id"])
    with pytest.raises(SalesforceMalformedRequest, match="INVALID_FIELD"):
        client.query("SELECT Nothing FROM Account")
    assert client.limits()["DailyApiRequests"]["Max"] == 100_000
    assert client.api_usage["api-usage"].total == 100_000


JSFORCE = """
const jsforce = require('jsforce');
(async () => {
  const org = new jsforce.Connection({instanceUrl: process.env.ADDRESS, accessToken: process.env.TOKEN, version: '65.0'});
  const made = await org.sobject('Account').create([{Name: 'One'}, {Name: 'Two'}, {Phone: 'no name'}]);
  const upserted = await org.sobject('Account').upsert({Shop_Id__c: 'js-1', Name: 'Three'}, 'Shop_Id__c');
  const found = await org.query("SELECT Id, Name FROM Account WHERE Name IN ('One', 'Two', 'Three') ORDER BY Name DESC");
  const removed = await org.sobject('Account').destroy(made[0].id);
  const described = await org.sobject('Opportunity').describe();
  console.log(JSON.stringify({
    made: made.map(one => one.success), created: upserted.created, names: found.records.map(one => one.Name),
    removed: removed.success, stages: described.fields.find(f => f.name === 'StageName').picklistValues.length,
  }));
})().catch(error => { console.error(error); process.exit(1); });
"""


@pytest.mark.server
@pytest.mark.slow
def test_jsforce_works_on_the_stand_in(tls_crm: Sandbox, session: dict[str, str], tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are not installed (Debian: apt-get install npm): they run jsforce")
    folder = Path(tempfile.gettempdir()) / "accord-jsforce-3.10.4"
    if not (folder / "node_modules" / "jsforce").exists():
        folder.mkdir(exist_ok=True)
        command = [npm, "install", "jsforce@3.10.4", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
        subprocess.run(command, check=True, timeout=240, stdout=subprocess.DEVNULL)
    script = tmp_path / "use.js"
    script.write_text(JSFORCE)
    environment = {
        "ADDRESS": session["address"],
        "TOKEN": session["token"],
        "NODE_PATH": str(folder / "node_modules"),
        "NODE_EXTRA_CA_CERTS": str(certificate(tls_crm)),
    }
    ran = subprocess.run([node, script], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told == {
        "made": [True, True, False],
        "created": True,
        "names": ["Two", "Three", "One"],
        "removed": True,
        "stages": 7,
    }


def test_money_is_exact(org: Any, tmp_path: Path) -> None:
    async def use(connection: Any) -> Any:
        record = {"Shop_Id__c": "m", "Name": "Money", "AnnualRevenue": Decimal("9007199254740993")}
        await connection.write(org.entities["Account"], WriteMode.UPSERT, (WriteItem("m", record),))
        return [record async for page in connection.read(org.entities["Account"]) for record in page.records]

    assert connected(org, use, tmp_path)[0]["AnnualRevenue"] == Decimal("9007199254740993")
