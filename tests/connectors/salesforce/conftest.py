"""A CRM stand-in as a process of its own, and a project's declarations for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.connectors.salesforce.settings import SalesforceEntity, SalesforceSettings
from accord.engine.http import PooledHttpClient
from accord.errors import Faults
from accord.record import Entity
from accord.sandbox import Sandbox
from accord.sdk.http import HttpRequest, HttpResponse
from accord.settings.entities import read_entity
from accord.settings.node import parse_yaml
from accord.settings.secret import Secret

ENTITIES = """
Account:
  external_id: Shop_Id__c
  key: Id
  fields:
    Id: string
    Name: {type: string, length_max: 255}
    Shop_Id__c: string
    Phone: string?
    NumberOfEmployees: integer?
    AnnualRevenue: decimal?
    Is_Customer__c: boolean?
contacts:
  object: Contact
  key: Id
  fields:
    Id: string
    LastName: string
    Email: {type: string?, personal: contact}
    Birthdate: date?
    Interests__c: {type: {list: string}, nullable: true}
    Account: {object: {Name: string?, Shop_Id__c: string?}, nullable: true}
    SystemModstamp: datetime?
Lead:
  key: Id
  fields: {Id: string, LastName: string, Company: string, IsDeleted: boolean?}
"""


class Org:
    """Looks at and changes the org behind the connector's back."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.address = sandbox.address("crm")
        self.credentials = sandbox.credentials("crm")
        self.entities = read_entities()

    def settings(self, **changed: Any) -> SalesforceSettings:
        given = {
            "address": self.address,
            "client_id": self.credentials["client_id"],
            "client_secret": Secret(self.credentials["client_secret"]),
            "page_size": 3,
        }
        return SalesforceSettings(**(given | changed))

    async def ask(self, method: str, path: str, body: Any = None) -> HttpResponse:
        """With a session of its own."""
        http = PooledHttpClient()
        try:
            form = "grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}"
            given = HttpRequest(
                method="POST",
                url=f"{self.address}/services/oauth2/token",
                headers={"content-type": "application/x-www-form-urlencoded"},
                body=form.format_map(self.credentials).encode(),
            )
            token = (await http.send(given)).json()["access_token"]
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            sent = msgspec.json.encode(body) if body is not None else b""
            url = f"{self.address}/services/data/v65.0{path}"
            return await http.send(HttpRequest(method=method, url=url, headers=headers, body=sent))
        finally:
            await http.close()

    async def create(self, object_: str, record: dict[str, Any]) -> str:
        response = await self.ask("POST", f"/sobjects/{object_}", record)
        assert response.status == 201, response.body
        return str(response.json()["id"])

    def stored(self, object_: str) -> list[dict[str, Any]]:
        return list(self.sandbox.objects("crm", object_))


def read_entities() -> dict[str, Entity]:
    faults = Faults()
    node = parse_yaml(ENTITIES, "crm.yaml", faults)
    assert node is not None
    found = {str(name): read_entity("crm", name, one, SalesforceEntity, faults) for name, one in node.items()}
    assert not faults.errors, faults.errors
    return {name: entity for name, entity in found.items() if entity is not None}


@pytest.fixture(scope="session")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder: Path = tmp_path_factory.mktemp("crm")
    with Sandbox(folder, ["crm"], settings={"crm": {"accounts": 0}}) as sandbox:
        yield sandbox


@pytest.fixture
def org(crm: Sandbox) -> Org:
    crm.clear("crm")
    crm.reset("crm")
    return Org(crm)
