"""Inventory, shipping, accounting and mail as real processes: work once, survive kills, break as told."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import smtplib
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from accord.sandbox import Sandbox, SandboxError

RECEIVED_WITHIN_S = 20.0


class Receiver:
    """Takes webhooks; refuses the first ``refusals`` of them with 503."""

    def __init__(self, refusals: int = 0) -> None:
        self.left, self.lock = refusals, threading.Lock()
        self.accepted: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.refused: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver.lock:
                    is_refused = receiver.left > 0
                    receiver.left -= is_refused
                if is_refused:
                    receiver.refused.append(headers)
                self.send_response(503 if is_refused else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if not is_refused:
                    receiver.accepted.put((headers, body))

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/hooks"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def take(self) -> tuple[dict[str, str], bytes]:
        return self.accepted.get(timeout=RECEIVED_WITHIN_S)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver(refusals=2)
    yield found
    found.close()


def inventory_headers(sandbox: Sandbox, key: str = "") -> dict[str, str]:
    headers = {"Authorization": f"Bearer {sandbox.credentials('inventory')['token']}"}
    return headers | ({"Idempotency-Key": key} if key else {})


def decrease(sandbox: Sandbox, sku: str, by: int, reference: str, key: str = "") -> requests.Response:
    url = f"{sandbox.address('inventory')}/items/{sku}/decrease"
    return requests.post(
        url, json={"by": by, "reference": reference}, headers=inventory_headers(sandbox, key), timeout=10
    )


def first_sku(sandbox: Sandbox) -> str:
    url = f"{sandbox.address('inventory')}/items?per_page=1"
    return str(requests.get(url, headers=inventory_headers(sandbox), timeout=10).json()["items"][0]["sku"])


def shipment(reference: str) -> dict[str, Any]:
    address = {"street": "شارع التحرير ١٢", "city": "القاهرة", "country": "EG"}
    return {
        "reference": reference,
        "recipient": "Zoë 🌙",
        "address": address,
        "parcels": [{"sku": "TEA-001-S", "pieces": 2}],
    }


def ship(sandbox: Sandbox, reference: str, key: str = "") -> requests.Response:
    headers = {"X-Api-Key": sandbox.credentials("shipping")["api_key"]} | ({"Idempotency-Key": key} if key else {})
    return requests.post(
        f"{sandbox.address('shipping')}/shipments", json=shipment(reference), headers=headers, timeout=10
    )


def test_stock_moves_once_per_key_and_never_below_zero(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["inventory"], settings={"inventory": {"stock": 50}}) as sandbox:
        sku = first_sku(sandbox)
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(lambda n: decrease(sandbox, sku, 1, f"order-{n % 40}", f"key-{n % 40}"), range(160))
            )
        assert {answer.status_code for answer in answers} == {201}
        assert sandbox.counts("inventory")["movements"] == 40
        with ThreadPoolExecutor(16) as pool:
            more = [a.status_code for a in pool.map(lambda n: decrease(sandbox, sku, 1, f"late-{n}"), range(40))]
        assert (more.count(201), more.count(409)) == (10, 30)
        item = next(item for item in sandbox.objects("inventory", "items") if item["sku"] == sku)
        assert item["on_hand"] == 0
        url = f"{sandbox.address('inventory')}/movements?reference=order-7"
        assert requests.get(url, headers=inventory_headers(sandbox), timeout=10).json()["total"] == 1
        assert decrease(sandbox, sku, 2, "other", "key-3").status_code == 422, "the key belongs to another request"
        assert decrease(sandbox, "no such", 1, "x").status_code == 404
        assert requests.get(url, timeout=10).status_code == 401


def test_items_are_read_by_pages_and_by_change(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["inventory"]) as sandbox:
        url, headers = f"{sandbox.address('inventory')}/items", inventory_headers(sandbox)
        found: list[str] = []
        page: int | None = 1
        while page is not None:
            answer = requests.get(url, params={"page": page, "per_page": 30}, headers=headers, timeout=10).json()
            found += [item["sku"] for item in answer["items"]]
            page = answer["next_page"]
        assert len(found) == len(set(found)) == answer["total"] == sandbox.counts("inventory")["items"]
        moved = decrease(sandbox, found[0], 3, "r").json()
        changed = requests.get(url, params={"updated_since": moved["created_at"]}, headers=headers, timeout=10).json()
        assert [item["sku"] for item in changed["items"]] == [found[0]]


def test_a_key_ignored_silently_moves_twice(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["inventory"], settings={"inventory": {"ignore_idempotency": True}}) as sandbox:
        sku = first_sku(sandbox)
        assert [decrease(sandbox, sku, 1, "r", "same").status_code for _ in range(2)] == [201, 201]
        assert sandbox.counts("inventory")["movements"] == 2


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["inventory"]) as sandbox:
        sku, address = first_sku(sandbox), sandbox.address("inventory")
        assert decrease(sandbox, sku, 1, "before", "k").status_code == 201
        sandbox.kill("inventory")
        with pytest.raises(requests.ConnectionError):
            requests.get(address, timeout=5)
        sandbox.restart("inventory")
        assert sandbox.address("inventory") == address
        assert decrease(sandbox, sku, 1, "before", "k").headers["Idempotency-Replayed"] == "true"
        assert sandbox.counts("inventory")["movements"] == 1
    with Sandbox(tmp_path, ["inventory"]) as again:
        assert again.counts("inventory")["movements"] == 1
        again.reset()
        assert again.counts("inventory")["movements"] == 0


def test_faults_before_and_after_the_work(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["shipping"]) as sandbox:
        assert sandbox.fault("shipping", lose_answers=1.0) == {"lose_answers": 1.0}
        with pytest.raises(requests.ConnectionError):
            ship(sandbox, "lost", "lost-key")
        sandbox.clear()
        again = ship(sandbox, "lost", "lost-key")
        assert (again.status_code, sandbox.counts("shipping")["shipments"]) == (201, 1)

        sandbox.fault("shipping", error=500, share=1.0)
        assert ship(sandbox, "x").status_code == 500
        sandbox.fault("shipping", clear=True, unavailable=True)
        refused = ship(sandbox, "x")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        sandbox.fault("shipping", clear=True, rate_limit_per_s=1)
        limited = [ship(sandbox, f"limited-{n}") for n in range(4)]
        assert limited[0].status_code == 201
        assert limited[-1].status_code == 429
        sandbox.fault("shipping", clear=True, slow_s=0.3)
        assert ship(sandbox, "slow").elapsed.total_seconds() >= 0.3
        assert sandbox.counts("shipping")["shipments"] == 2 + [a.status_code for a in limited].count(201)


def test_down_refuses_connections_and_comes_back(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["shipping"]) as sandbox:
        session = requests.Session()
        url = f"{sandbox.address('shipping')}/openapi.json"
        assert session.get(url, timeout=5).status_code == 200
        sandbox.fault("shipping", down=True, for_s=0.6)
        until = time.monotonic() + 5
        with pytest.raises(requests.ConnectionError):
            while time.monotonic() < until:
                session.get(url, timeout=5)
        assert sandbox.health("shipping")["up"] is False
        while sandbox.health("shipping")["up"] is False:
            assert time.monotonic() < until, "it did not come back"
        assert session.get(url, timeout=5).status_code == 200
        session.close()


def test_parcels_move_and_webhooks_are_repeated_until_acknowledged(tmp_path: Path, receiver: Receiver) -> None:
    quick = {"dispatch_after_s": 0.1, "deliver_after_s": 0.1, "webhook_retry_first_s": 0.05}
    with Sandbox(tmp_path, ["shipping"], settings={"shipping": quick}) as sandbox:
        headers = {"X-Api-Key": sandbox.credentials("shipping")["api_key"]}
        wanted = {"url": receiver.address, "topics": ["shipment.dispatched", "shipment.delivered"]}
        made = requests.post(f"{sandbox.address('shipping')}/webhooks", json=wanted, headers=headers, timeout=10)
        assert made.status_code == 201
        assert ship(sandbox, "#1001").json()["status"] == "created"
        received = [receiver.take(), receiver.take()]
        secret = sandbox.credentials("shipping")["webhook_secret"].encode()
        for head, body in received:
            assert head["x-shipping-signature"] == "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
        assert {json.loads(body)["topic"] for _, body in received} == {"shipment.dispatched", "shipment.delivered"}
        events = {head["x-shipping-event-id"] for head, _ in received}
        assert len(events) == 2
        assert {head["x-shipping-event-id"] for head in receiver.refused} <= events, "a repeat keeps its id"
        url = f"{sandbox.address('shipping')}/shipments"
        found = requests.get(url, params={"reference": "#1001"}, headers=headers, timeout=10).json()
        assert [s["status"] for s in found["shipments"]] == ["delivered"]
        assert (
            requests.get(f"{url}/{found['shipments'][0]['id']}", headers=headers, timeout=10).json()["recipient"]
            == "Zoë 🌙"
        )


def test_webhooks_twice_and_out_of_order(tmp_path: Path, receiver: Receiver) -> None:
    with Sandbox(tmp_path, ["shipping"], settings={"shipping": {"dispatch_after_s": 60}}) as sandbox:
        headers = {"X-Api-Key": sandbox.credentials("shipping")["api_key"]}
        wanted = {"url": receiver.address, "topics": ["shipment.created"]}
        requests.post(f"{sandbox.address('shipping')}/webhooks", json=wanted, headers=headers, timeout=10)
        receiver.left = 0
        sandbox.fault("shipping", duplicate_webhooks=True, reorder_webhooks=True)
        references = [f"r{number}" for number in range(20)]
        for reference in references:
            ship(sandbox, reference)
        received = [receiver.take() for _ in range(40)]
        order = [json.loads(body)["shipment"]["reference"] for _, body in received]
        assert sorted(order) == sorted(references * 2)
        assert list(dict.fromkeys(order)) != references
        assert len({head["x-shipping-event-id"] for head, _ in received}) == 20


def test_accounting_is_a_database_that_can_be_locked(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["accounting"]) as sandbox:
        path = sandbox.systems["accounting"].database.removeprefix("sqlite:///")
        database = sqlite3.connect(path, timeout=0.2, isolation_level=None)
        sql = (
            "INSERT INTO invoices (number, reference, customer, issued_on, currency, total)"
            " VALUES (?, '#1', 'Zoë', '2026-01-31', 'EUR', '10.10')"
        )
        database.execute(sql, ("INV-1",))
        sandbox.fault("accounting", down=True)
        until = time.monotonic() + 5
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            while time.monotonic() < until:
                database.execute(sql, (f"INV-{time.monotonic_ns()}",))
        sandbox.clear("accounting")
        database.execute("PRAGMA busy_timeout=5000")
        database.execute(sql, ("INV-2",))
        invoices = {invoice["number"]: invoice for invoice in sandbox.objects("accounting", "invoices")}
        assert invoices["INV-2"]["total"] == "10.10"
        assert invoices["INV-2"]["status"] == "open"
        assert "Zoë" in requests.get(sandbox.address("accounting"), timeout=10).text
        with pytest.raises(SandboxError, match="cannot be error"):
            sandbox.fault("accounting", error=500)
        database.close()
        sandbox.reset("accounting")
        assert sandbox.counts("accounting") == {"customers": 25, "invoices": 0, "invoice_lines": 0, "payments": 0}


def test_mail_is_kept_found_and_refused_as_told(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@sandbox.example", "zoë@customers.example", "Ihr Paket 📦"
    message["Message-ID"] = "<effect-1@accord.example>"
    message.set_content("Es ist unterwegs.")
    message.add_alternative("<p>Es ist unterwegs.</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="label.pdf")
    with Sandbox(tmp_path, ["mail"]) as sandbox:
        host, _, port = sandbox.systems["mail"].smtp.rpartition(":")
        known = sandbox.credentials("mail")
        with smtplib.SMTP(host, int(port), timeout=10) as client:
            client.login(known["username"], known["password"])
            client.send_message(message)
        with smtplib.SMTP(host, int(port), timeout=10) as client, pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(known["username"], "wrong")
        url = f"{sandbox.address('mail')}/messages"
        for params in ({"to": "ZOË@customers.example"}, {"message_id": "<effect-1@accord.example>"}):
            (kept,) = requests.get(url, params=params, timeout=10).json()["messages"]
            assert kept["subject"] == "Ihr Paket 📦"
        whole = requests.get(f"{url}/{kept['id']}", timeout=10).json()
        assert (whole["text"].strip(), whole["attachments"][0]["name"]) == ("Es ist unterwegs.", "label.pdf")
        assert "Ihr Paket 📦" in requests.get(sandbox.address("mail"), timeout=10).text

        sandbox.fault("mail", lose_answers=1.0)
        with smtplib.SMTP(host, int(port), timeout=10) as client, pytest.raises(smtplib.SMTPServerDisconnected):
            client.send_message(message)
        assert sandbox.counts("mail")["messages"] == 2
        sandbox.fault("mail", clear=True, unavailable=True)
        with smtplib.SMTP(host, int(port), timeout=10) as client, pytest.raises(smtplib.SMTPSenderRefused, match="421"):
            client.send_message(message)
        sandbox.fault("mail", clear=True, down=True)
        until = time.monotonic() + 5
        with pytest.raises(OSError):
            while time.monotonic() < until:
                smtplib.SMTP(host, int(port), timeout=5).close()
        assert sandbox.counts("mail")["messages"] == 2


def test_the_children_end_with_the_sandbox_and_a_broken_one_is_named(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "a", ["inventory"])
    with sandbox:
        pid = sandbox.pid("inventory")
        assert Path(f"/proc/{pid}").exists()
        with pytest.raises(SandboxError, match="already runs"):
            Sandbox(tmp_path / "a", ["mail"]).__enter__()
        assert sandbox.health("inventory")["up"], "the refused one stopped nothing"
    assert not Path(f"/proc/{pid}").exists()
    assert not (tmp_path / "a" / "systems.json").exists()
    broken = {"accounting": {"database_url": "sqlite:////nowhere/at/all.db"}}
    with pytest.raises(SandboxError, match=r"(?s)accounting .*unable to open database"):
        Sandbox(tmp_path / "b", ["accounting"], settings=broken).__enter__()
    with pytest.raises(SandboxError, match="no stand-in payroll"):
        Sandbox(tmp_path, ["payroll"])
