"""The business's scenes: won deals reach books and marketing, a renamed account follows, support and the chat agent know the orders."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from agreement import Agreement, agreement
from people import ask_for_help, deals_agreement, rename_an_account, tickets_agreement, win_deals
from stage import ASSISTANT_TOKEN, Stage

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load")]
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    settings = {"shipping": {"dispatch_after_s": 0.2, "deliver_after_s": 0.2}}
    with Stage(tmp_path_factory.mktemp("scenes") / "work", settings=settings) as running:
        yield running


def agree(look: Callable[[], Agreement]) -> None:
    deadline = time.monotonic() + WITHIN_S
    found = look()
    while not found.is_reached and time.monotonic() < deadline:
        assert not found.is_wrong, found
        time.sleep(0.2)
        found = look()
    assert found.is_reached, found


def test_a_won_deal_is_a_customer_everywhere_and_a_new_name_follows(stage: Stage) -> None:
    sandbox = stage.sandbox
    win_deals(sandbox, 25, seed=3)
    sandbox.fault("marketing", lose_answers=0.3, for_s=2)
    sandbox.fault("crm", unavailable=True, for_s=1)
    agree(lambda: deals_agreement(sandbox))
    account = rename_an_account(sandbox, "Renamed & Söhne 🎈")
    agree(lambda: deals_agreement(sandbox))
    assert any(row["name"] == "Renamed & Söhne 🎈" for row in sandbox.objects("accounting", "customers"))
    members = {row["external_id"] for row in sandbox.objects("marketing", "members")}
    assert f"crm-{account}" in members
    assert deals_agreement(sandbox).paid == 25


def test_support_sees_the_customers_orders_beside_the_ticket(stage: Stage) -> None:
    sandbox = stage.sandbox
    sandbox.place_orders(12)
    agree(lambda: agreement(sandbox))
    ask_for_help(sandbox, 6)
    agree(lambda: tickets_agreement(sandbox))
    stranger, *customers = sandbox.objects("helpdesk", "tickets")
    assert stranger["context"]["orders"] == []
    assert all(ticket["context"]["orders"][0]["parcel"]["tracking_number"] for ticket in customers)


def test_the_chat_agent_hears_how_far_an_order_is(stage: Stage) -> None:
    sandbox = stage.sandbox
    sandbox.place_orders(3)
    agree(lambda: agreement(sandbox))
    order = list(sandbox.objects("shop", "orders"))[-1]

    def asked(number: int, email: str) -> str:
        question = json.loads((stage.project / "examples" / "question.json").read_text())
        question["responseId"] = f"r{number}"
        question["queryResult"]["parameters"]["email"] = email
        headers = {"X-Assistant-Token": ASSISTANT_TOKEN, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{stage.address}/hooks/assistant", json.dumps(question).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["fulfillmentText"])

    assert asked(1, order["email"]).startswith("Your order #")
    assert asked(2, "nobody@example.com") == "I know of no order with this mail address."
