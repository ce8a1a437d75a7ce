"""The stand-in's bulk jobs as a client nobody here wrote uses them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceOperationError

from accord.sandbox import Sandbox


@pytest.fixture(scope="module")
def tls_crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("tls-crm-jobs")
    given = {"accounts": 0, "tls": True, "job_waits_s": 0.0, "job_works_s": 0.0}
    with Sandbox(folder, ["crm"], settings={"crm": given}) as sandbox:
        yield sandbox


@pytest.fixture
def client(tls_crm: Sandbox) -> Any:
    tls_crm.reset("crm")
    trusting = requests.Session()
    trusting.trust_env = False
    trusting.verify = str(tls_crm.folder / "crm" / "certificate.pem")
    credentials = tls_crm.credentials("crm")
    form = {"grant_type": "client_credentials"} | {name: credentials[name] for name in ("client_id", "client_secret")}
    told = trusting.post(tls_crm.address("crm") + "/services/oauth2/token", data=form, timeout=5).json()
    return Salesforce(
        instance_url=told["instance_url"], session_id=told["access_token"], session=trusting, version="65.0"
    )


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_rows_go_in_and_each_is_answered(client: Any) -> None:
    records = [
        {"Name": 'Söhne "& Co", Ltd\nzwei', "Shop_Id__c": "a", "Is_Customer__c": "true"},
        {"Name": "x" * 300, "Shop_Id__c": "b", "Is_Customer__c": ""},
    ]
    (told,) = client.bulk2.Account.insert(records=records, wait=0)
    assert (told["numberRecordsProcessed"], told["numberRecordsFailed"]) == (2, 1)
    (done,) = rows_of(client.bulk2.Account.get_successful_records(told["job_id"]))
    assert (done["sf__Created"], done["Name"], done["sf__Id"][:3]) == ("true", records[0]["Name"], "001")
    (failed,) = rows_of(client.bulk2.Account.get_failed_records(told["job_id"]))
    assert (failed["sf__Id"], failed["sf__Error"].split(":")[0]) == ("", "STRING_TOO_LONG")
    assert rows_of(client.bulk2.Account.get_unprocessed_records(told["job_id"])) == []

    again = [{"Name": "Renamed", "Shop_Id__c": "a"}, {"Name": "New", "Shop_Id__c": "c"}]
    (upserted,) = client.bulk2.Account.upsert(records=again, external_id_field="Shop_Id__c", wait=0)
    created = {
        r["Shop_Id__c"]: r["sf__Created"]
        for r in rows_of(client.bulk2.Account.get_successful_records(upserted["job_id"]))
    }
    assert created == {"a": "false", "c": "true"}
    (removed,) = client.bulk2.Account.delete(records=[{"Id": done["sf__Id"]}], wait=0)
    assert (removed["numberRecordsProcessed"], removed["numberRecordsFailed"]) == (1, 0)
    assert [row["Name"] for row in client.query("SELECT Name FROM Account")["records"]] == ["New"]


def test_results_of_a_query_come_in_sets(client: Any) -> None:
    client.bulk2.Account.insert(records=[{"Name": f"n{n}", "Shop_Id__c": f"s{n}"} for n in range(7)], wait=0)
    sets = list(client.bulk2.Account.query("SELECT Id, Name, Phone FROM Account ORDER BY Id", max_records=3, wait=0))
    assert [len(rows_of(text)) for text in sets] == [3, 3, 1]
    found = [row for text in sets for row in rows_of(text)]
    assert [row["Name"] for row in found] == [f"n{n}" for n in range(7)]
    assert found[0]["Phone"] == "" and sets[0].startswith('"Id","Name","Phone"\n')
    gone = client.query("SELECT Id FROM Account LIMIT 1")["records"][0]["Id"]
    client.Account.delete(gone)
    everything = "".join(client.bulk2.Account.query_all("SELECT Id, IsDeleted FROM Account", wait=0))
    assert {row["Id"] for row in rows_of(everything) if row["IsDeleted"] == "true"} == {gone}


def test_a_job_fails_and_tells_what_was_not_processed(client: Any, tls_crm: Sandbox) -> None:
    control = tls_crm.systems["crm"].control
    planned = {"message": "Batch failed", "after": 2}
    assert requests.post(control + "/_sandbox/jobs/fail", json=planned, timeout=5).status_code == 204
    handler = client.bulk2.Account
    with pytest.raises(SalesforceOperationError, match="Batch failed"):
        handler.insert(records=[{"Name": f"n{n}"} for n in range(5)], wait=0)
    assert len(client.query("SELECT Id FROM Account")["records"]) == 2
    with pytest.raises(SalesforceOperationError, match="Field name not found : Nothing"):
        handler.insert(records=[{"Name": "x", "Nothing": "y"}], wait=0)
