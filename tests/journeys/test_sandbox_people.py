"""Marketing and helpdesk as real processes: contacts kept once, tickets told and answered."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from accord.sandbox import Sandbox

WITHIN_S = 20.0


def test_a_contact_is_kept_once_and_its_tags_lead_into_campaigns(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["marketing"]) as sandbox:
        address = sandbox.address("marketing")
        headers = {"Authorization": f"Bearer {sandbox.credentials('marketing')['token']}"}

        def put(**contact: Any) -> requests.Response:
            return requests.put(f"{address}/contacts/crm-1", json=contact, headers=headers, timeout=10)

        assert put(email="ada@example.com", company="Analytical Engines").status_code == 201
        changed = put(status="customer", tags=["follow-up"])
        assert changed.status_code == 200
        assert changed.json()["company"] == "Analytical Engines", "what is left out stays"
        assert put(tags=["vip"]).json()["tags"] == ["follow-up", "vip"]
        members = requests.get(f"{address}/campaigns/2/members", headers=headers, timeout=10).json()
        assert [one["external_id"] for one in members["contacts"]] == ["crm-1"]
        requests.post(f"{address}/contacts/crm-1/tags", json={"remove": ["vip"]}, headers=headers, timeout=10)
        sandbox.kill("marketing")
        sandbox.restart("marketing")
        (contact,) = sandbox.objects("marketing", "contacts")
        assert (contact["status"], contact["tags"]) == ("customer", ["follow-up"])
        assert requests.get(f"{address}/contacts", timeout=10).status_code == 401


def test_a_ticket_is_told_with_a_signature_and_shows_what_it_was_answered(tmp_path: Path) -> None:
    told: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append(({name.lower(): value for name, value in self.headers.items()}, body))
            answer = b'{"orders": 3}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        with Sandbox(tmp_path, ["helpdesk"]) as sandbox:
            address, credentials = sandbox.address("helpdesk"), sandbox.credentials("helpdesk")
            headers = {"X-Api-Key": credentials["api_key"]}
            hook = {"url": f"http://127.0.0.1:{server.server_address[1]}/", "topics": ["ticket.created"]}
            for _ in range(2):
                assert requests.post(f"{address}/webhooks", json=hook, headers=headers, timeout=10).status_code == 201
            assert sandbox.counts("helpdesk")["hooks"] == 1
            ticket = {
                "subject": "Where is it?",
                "description": "My parcel 📦",
                "requester": {"email": "ada@example.com"},
            }
            made = [
                requests.post(
                    f"{address}/tickets", json=ticket, headers=headers | {"Idempotency-Key": "t1"}, timeout=10
                ).json()
                for _ in range(2)
            ]
            assert made[0]["id"] == made[1]["id"]
            deadline = time.monotonic() + WITHIN_S
            shown = made[0]
            while shown["context"] is None and time.monotonic() < deadline:
                time.sleep(0.02)
                shown = requests.get(f"{address}/tickets/{made[0]['id']}", headers=headers, timeout=10).json()
            assert shown["context"] == {"orders": 3}
            reply = {"text": "It is on its way.", "author": "Agent"}
            for _ in range(2):
                replied = requests.post(
                    f"{address}/tickets/1/replies",
                    json=reply,
                    headers=headers | {"Idempotency-Key": "r1"},
                    timeout=10,
                )
                assert replied.status_code == 201
            assert len(replied.json()["replies"]) == 1
            solved = requests.patch(f"{address}/tickets/1", json={"status": "solved"}, headers=headers, timeout=10)
            assert solved.json()["status"] == "solved"
        (sent,) = told
        digest = hmac.new(credentials["webhook_secret"].encode(), sent[1], hashlib.sha256).hexdigest()
        assert sent[0]["x-helpdesk-signature"] == f"sha256={digest}"
        assert json.loads(sent[1])["ticket"]["requester"]["email"] == "ada@example.com"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
