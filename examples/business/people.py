"""What people do in the CRM and at the helpdesk: sales people win deals and rename accounts, customers ask for help."""

from __future__ import annotations

import random
import urllib.parse
import urllib.request
from decimal import Decimal
from typing import Any

import msgspec
from agreement import Agreement, Check

from accord.sandbox.launcher import Sandbox

COLLECTION_MAX = 200
SHOWN_ORDERS_MAX = 10  # that the flow shows beside a ticket
TIMEOUT_S = 20


class Crm:
    """The sales people's entrance."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._address = sandbox.address("crm")
        credentials = sandbox.credentials("crm")
        form = {"grant_type": "client_credentials"} | {
            name: credentials[name] for name in ("client_id", "client_secret")
        }
        body = urllib.parse.urlencode(form).encode()
        self._token = ask(f"{self._address}/services/oauth2/token", body, {})["access_token"]

    def send(self, method: str, path: str, value: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        url = f"{self._address}/services/data/v65.0{path}"
        return ask(url, msgspec.json.encode(value), headers, method)

    def win(self, deals: list[dict[str, Any]]) -> None:
        for start in range(0, len(deals), COLLECTION_MAX):
            records = [
                {"attributes": {"type": "Opportunity"}, **deal} for deal in deals[start : start + COLLECTION_MAX]
            ]
            results = self.send("POST", "/composite/sobjects", {"records": records})
            assert all(result["success"] for result in results), results

    def rename(self, account: str, name: str) -> None:
        self.send("PATCH", f"/sobjects/Account/{account}", {"Name": name})


def ask(url: str, body: bytes, headers: dict[str, str], method: str = "POST") -> Any:
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        found = answer.read()
    return msgspec.json.decode(found) if found else None


def win_deals(sandbox: Sandbox, count: int, seed: int) -> None:
    """Opportunities of the CRM's accounts, each closed won."""
    dice = random.Random(f"{seed}:deals")
    accounts = list(sandbox.objects("crm", "Account"))
    deals = [
        {
            "Name": f"Deal {number + 1}",
            "StageName": "Closed Won",
            "CloseDate": f"2026-{number % 12 + 1:02d}-15",
            "Amount": dice.randrange(10_000, 5_000_000) / 100,
            "AccountId": dice.choice(accounts)["Id"],
        }
        for number in range(count)
    ]
    Crm(sandbox).win(deals)


def rename_an_account(sandbox: Sandbox, name: str) -> str:
    """Of one that has won a deal; returns its id."""
    account = next(sandbox.objects("crm", "Opportunity"))["AccountId"]
    Crm(sandbox).rename(account, name)
    return str(account)


def ask_for_help(sandbox: Sandbox, count: int) -> None:
    """Tickets of people who have ordered, and of one who has not."""
    addresses = dict.fromkeys(order["email"] for order in sandbox.objects("shop", "orders") if order["email"])
    headers = {"X-Api-Key": sandbox.credentials("helpdesk")["api_key"], "Content-Type": "application/json"}
    for email in ["stranger@customers.example", *addresses][:count]:
        ticket = {"subject": "Where is my order?", "description": "It has not come yet.", "requester": {"email": email}}
        ask(sandbox.address("helpdesk") + "/tickets", msgspec.json.encode(ticket), headers)


def deals_agreement(sandbox: Sandbox) -> Agreement:
    """Every deal that was won: a customer in the books under the account's name, one invoice, a contact in the follow-up campaign."""
    won = {deal["Id"]: deal for deal in sandbox.objects("crm", "Opportunity") if deal["IsWon"]}
    accounts = {account["Id"]: account for account in sandbox.objects("crm", "Account")}
    customers = {row["email"]: row for row in sandbox.objects("accounting", "customers")}
    contacts = {row["external_id"]: row for row in sandbox.objects("marketing", "contacts")}
    invoices: dict[str, list[Any]] = {}
    for row in sandbox.objects("accounting", "invoices"):
        if row["reference"].startswith("DEAL-"):
            invoices.setdefault(row["reference"].removeprefix("DEAL-"), []).append(row)
    booked, invoiced, followed = (
        Check("a customer of this name"),
        Check("one invoice of equal sum"),
        Check("a follow-up"),
    )
    for id_, deal in won.items():
        account = accounts[deal["AccountId"]]
        customer, rows = customers.get(account["Email__c"]), invoices.get(id_, [])
        contact = contacts.get(f"crm-{account['Id']}")
        _count(booked, deal, customer, lambda one, account=account: one["name"] == account["Name"], can_change=True)
        _count(
            invoiced,
            deal,
            rows,
            lambda rows, deal=deal: len(rows) == 1 and _sum(rows[0]["total"]) == _sum(deal["Amount"]),
        )
        _count(
            followed,
            deal,
            contact,
            lambda one, account=account: (
                (one["status"], one["tags"], one["company"]) == ("customer", ["follow-up"], account["Name"])
            ),
            can_change=True,
        )
    strangers = [f"invoice of deal {id_}" for id_ in invoices if id_ not in won]
    return Agreement(len(won), [booked, invoiced, followed], strangers)


def tickets_agreement(sandbox: Sandbox) -> Agreement:
    """Beside every ticket stand the customer's orders, each with its parcel and its invoice if it has them."""
    tickets = list(sandbox.objects("helpdesk", "tickets"))
    orders: dict[str, list[Any]] = {}
    for order in sandbox.objects("shop", "orders"):
        orders.setdefault(order["email"], []).append(order)
    answered, complete = Check("an answer beside it"), Check("all the customer's orders, with parcels and invoices")
    for ticket in tickets:
        named = {"Name": f"ticket {ticket['id']}"}
        _count(answered, named, ticket["context"], lambda context: "orders" in context)
        _count(
            complete,
            named,
            ticket["context"],
            lambda context, email=ticket["requester"]["email"]: _is_told(context["orders"], orders.get(email, [])),
        )
    return Agreement(len(tickets), [answered, complete], [])


def _is_told(told: list[Any], placed: list[Any]) -> bool:
    newest = {order["name"]: order for order in sorted(placed, key=lambda order: order["id"])[-SHOWN_ORDERS_MAX:]}
    if {one["name"] for one in told} != set(newest):
        return False
    paid = [one for one in told if newest[one["name"]]["financial_status"] == "paid"]
    return all(one["invoice"]["reference"] == one["name"] and one["parcel"]["reference"] == one["name"] for one in paid)


def _count(check: Check, subject: dict[str, Any], found: Any, holds: Any, *, can_change: bool = False) -> None:
    """``can_change``: what differs may be on its way, so it counts as missing."""
    if not found:
        check.missing.append(subject["Name"])
    elif holds(found):
        check.holds += 1
    else:
        (check.missing if can_change else check.wrong).append(subject["Name"])


def _sum(amount: Any) -> Decimal:
    return Decimal(str(amount)).quantize(Decimal("0.01"))
