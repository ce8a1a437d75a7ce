"""An operator pauses, resumes and cancels messages, flows and systems of a running engine, across kills and restarts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journeys.live import DESK, Live, desk
from journeys.test_undo import FILES as TRAVEL
from journeys.test_undo import Agency

FLOW = """
flow: travel
on: {webhook: desk.tickets}
key: id
steps:
  - call: agency.book
    with: {what: '"hotel"', by: id}
    undo: {call: agency.cancel, with: {what: '"hotel"', by: id}}
  - when: text == "wait"
    delay: 3d
  - call: agency.pay
    with: {what: text, by: id}
    undo: {call: agency.cancel, with: {what: text, by: id}}
  - call: agency.book
    with: {what: '"flight"', by: id}
on_error: {attempts: 20, first: 50ms, longest: 300ms}
"""
FILES = {
    "systems/desk.yaml": DESK,
    "systems/agency.yaml": TRAVEL["systems/agency.yaml"],
    "flows/travel.yaml": FLOW,
}


@pytest.fixture
def agency() -> Agency:
    return Agency()


@pytest.fixture
def live(tmp_path: Path, agency: Agency) -> Iterator[Live]:
    with desk(agency.answer) as server, Live(tmp_path, FILES, environment={"DESK_ADDRESS": server.address}) as live:
        yield live


def send(live: Live, id: int, text: str, count: int = 1) -> None:
    for number in range(count):
        assert live.hook({"id": id, "text": text}, id=f"{id}-{text}-{number}")[0] == 200


def states(live: Live) -> list[str]:
    return [one["state"] for one in live.api("messages")]


def wait_states(live: Live, *wanted: str) -> None:
    live.wait(lambda: states(live) == list(wanted), f"states {wanted}")


def said(live: Live, *arguments: str, stdin: str = "") -> str:
    done = live.run(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_waiting_message_is_cancelled_and_the_next_of_its_key_goes_on(live: Live, agency: Agency) -> None:
    send(live, 1, "wait")
    send(live, 1, "card")
    wait_states(live, "waiting", "ready")
    assert "message 1: cancelled" in said(live, "cancel", "1", "--reason", "by phone")
    wait_states(live, "done", "done")
    assert agency.order == ["/book hotel", "/book hotel", "/pay card", "/book flight"]
    first, _ = live.api("messages")
    assert first["reason"] == "cancelled: by phone"
    assert "message 1: cancelled" in said(live, "cancel", "1"), "once more changes nothing"
    again = live.run("cancel", "2")
    assert (again.returncode, "has ended already" in again.stderr) == (1, True)
    missing = live.run("cancel", "77")
    assert (missing.returncode, "There is no message 77" in missing.stderr) == (1, True)


def test_what_a_cancelled_message_did_is_undone_across_a_kill(live: Live, agency: Agency) -> None:
    send(live, 1, "wait")
    wait_states(live, "waiting")
    agency.hold = "/cancel hotel"
    (message,) = live.api("messages")
    assert "message 1: cancelling" in said(live, "cancel", message["id"], "--undo")
    live.wait(agency.is_held.is_set, "the undo is under way")
    live.kill()
    agency.go_on.set()
    live.start()
    wait_states(live, "done")
    assert agency.order == ["/book hotel", "/cancel hotel"]
    assert live.api("messages")[0]["reason"] == "cancelled"
    assert live.api("dead-letters") == []
    assert live.run("journal", "verify").returncode == 0


def test_while_no_engine_runs_the_wish_to_undo_waits_for_the_next_start(live: Live, agency: Agency) -> None:
    send(live, 1, "wait")
    send(live, 2, "wait")
    wait_states(live, "waiting", "waiting")
    assert live.stop() == 0
    assert "message 1: cancelling" in said(live, "cancel", "1", "--undo")
    assert "message 2: paused" in said(live, "pause", "2")
    assert "flow travel: paused" in said(live, "pause", "--flow", "travel")
    live.start()
    wait_states(live, "ready", "held")
    assert agency.order == ["/book hotel", "/book hotel"]
    assert "flow travel: resumed" in said(live, "resume", "--flow", "travel")
    wait_states(live, "done", "held")
    assert agency.order[2:] == ["/cancel hotel"]


@pytest.mark.parametrize(("undo", "order"), [(False, []), (True, ["/cancel card", "/cancel hotel"])])
def test_a_running_message_ends_its_effect_and_stops_there(
    live: Live, agency: Agency, undo: bool, order: list[str]
) -> None:
    agency.hold = "/pay card"
    send(live, 1, "card")
    send(live, 1, "cash")
    live.wait(agency.is_held.is_set, "the payment is under way")
    answers: list[Any] = []
    teller = threading.Thread(target=lambda: answers.append(live.api(f"messages/1/cancel?undo={int(undo)}", "POST")))
    teller.start()
    teller.join(0.5)
    assert teller.is_alive(), "it ends only with the effect under way"
    agency.go_on.set()
    teller.join(20)
    assert answers == [{"seq": 1, "state": "cancelled"}]
    wait_states(live, "done", "done")
    steps = live.api("messages")[0]["steps"]
    assert steps["2.call"] == "done", "what was under way is recorded"
    assert agency.order == ["/book hotel", "/pay card", *order, "/book hotel", "/pay cash", "/book flight"]


def test_a_cancel_whose_undo_fails_is_a_dead_letter_that_says_so(live: Live, agency: Agency) -> None:
    send(live, 1, "wait")
    wait_states(live, "waiting")
    agency.refuse = "/cancel hotel"
    said(live, "cancel", "1", "--undo", "--reason", "by phone")
    wait_states(live, "dead")
    (letter,) = live.api("dead-letters")
    assert letter["code"] == "flow.cancelled"
    assert letter["reason"].startswith("cancelled: by phone; undo failed at")


def test_a_paused_flow_accepts_and_waits_across_a_restart(live: Live, agency: Agency) -> None:
    agency.hold = "/pay card"
    send(live, 1, "card")
    live.wait(agency.is_held.is_set, "the payment is under way")
    assert "flow travel: paused" in said(live, "pause", "--flow", "travel", "--reason", "wrong price list")
    for number in range(2, 30):
        send(live, number % 7, f"cash-{number}")
    agency.go_on.set()
    live.wait(lambda: live.api("status")["flows"][0]["done"] == 1, "what ran finishes its attempt")
    assert agency.order == ["/book hotel", "/pay card", "/book flight"]
    live.restart()
    assert "wrong price list" in said(live, "status")
    send(live, 99, "late")
    assert live.api("status")["flows"][0]["ready"] == 29
    assert len(agency.order) == 3
    assert said(live, "resume", "--flow", "travel").strip() == "flow travel: resumed"
    assert live.wait_settled()["done"] == 30
    assert len(agency.order) == 3 * 30
    paid = [int(line.partition("-")[2]) for line in agency.order if line.startswith("/pay cash-")]
    by_key = [[number for number in paid if number % 7 == key] for key in range(7)]
    assert all(numbers == sorted(numbers) for numbers in by_key)
    assert said(live, "resume", "--flow", "travel").strip() == "flow travel: was not paused"


def test_a_paused_system_holds_what_needs_it(live: Live, agency: Agency) -> None:
    said(live, "pause", "--system", "agency", "--reason", "moving")
    send(live, 1, "card")
    wait_states(live, "held")
    assert live.api("messages")[0]["reason"] == "agency is paused"
    live.restart()
    status = said(live, "status")
    assert "moving" in status
    assert states(live) == ["held"]
    assert agency.order == []
    said(live, "resume", "--system", "agency")
    assert live.wait_settled()["done"] == 1
    assert agency.order == ["/book hotel", "/pay card", "/book flight"]
    wrong = live.run("pause", "--system", "agenci")
    assert "Did you mean 'agency'?" in wrong.stderr


def test_a_paused_message_keeps_its_key_back_and_nobody_else(live: Live, agency: Agency) -> None:
    agency.hold = "/book hotel"
    send(live, 1, "card")
    live.wait(agency.is_held.is_set, "the hotel is under way")
    teller = threading.Thread(target=lambda: live.api("messages/1/pause?reason=ask%20Ada", "POST"))
    teller.start()
    agency.go_on.set()
    teller.join(20)
    send(live, 1, "next")
    send(live, 2, "other")
    wait_states(live, "held", "ready", "done")
    live.restart()
    assert states(live) == ["held", "ready", "done"]
    assert live.api("messages")[0]["reason"] == "paused: ask Ada"
    assert "1 message paused one by one" in said(live, "status")
    assert "message 1: resumed" in said(live, "resume", "1")
    assert live.wait_settled()["done"] == 3
    assert agency.order.count("/book hotel") == 3, "what was done before the pause is not repeated"
    assert agency.order.index("/pay card") < agency.order.index("/pay next")
    assert live.run("resume", "1").returncode == 1


def test_many_are_cancelled_after_asking(live: Live, agency: Agency) -> None:
    for number in range(40):
        send(live, number, "wait")
    live.wait(lambda: states(live) == ["waiting"] * 40, "all wait")
    refused = live.run("cancel", "--all", "--flow", "travel", "--state", "waiting", stdin="n\n")
    assert "Cancel 40 waiting messages of flow 'travel'?" in refused.stdout
    assert refused.returncode != 0
    assert states(live) == ["waiting"] * 40
    assert "40 messages told to cancel" in said(live, "cancel", "--all", "--flow", "travel", "--yes")
    assert live.wait_settled()["done"] == 40
    assert agency.order == ["/book hotel"] * 40
