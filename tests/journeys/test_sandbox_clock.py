"""The time machine of the sandbox: what falls due is done, tokens expire, records carry the new time."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import requests
from click.testing import CliRunner

from accord.cli.sandbox import sandbox as command
from accord.sandbox.launcher import Sandbox
from servers import wait_until


def test_a_day_later(tmp_path: Path) -> None:
    settings = {"shipping": {"dispatch_after_s": 3600, "deliver_after_s": 3600}}
    with Sandbox(tmp_path, ("shop", "shipping", "crm"), settings=settings) as box:
        crm, keys = box.address("crm"), box.credentials("crm")
        form = {
            "grant_type": "client_credentials",
            "client_id": keys["client_id"],
            "client_secret": keys["client_secret"],
        }
        token = requests.post(f"{crm}/services/oauth2/token", form, timeout=20).json()["access_token"]
        limits = {
            "url": f"{crm}/services/data/v65.0/limits",
            "headers": {"authorization": f"Bearer {token}"},
            "timeout": 20,
        }
        assert requests.get(**limits).status_code == 200
        parcel = {
            "reference": "#1",
            "recipient": "Ada",
            "address": {"street": "-", "city": "-", "country": "DE"},
            "parcels": [{"sku": "A", "pieces": 1}],
        }
        key = {"x-api-key": box.credentials("shipping")["api_key"]}
        assert (
            requests.post(box.address("shipping") + "/shipments", json=parcel, headers=key, timeout=20).status_code
            == 201
        )
        moved = CliRunner().invoke(command, ["clock", "+1d", "--folder", str(tmp_path)])
        assert moved.exit_code == 0 and moved.output.count("(24 h ahead)") == 3, moved.output
        wait_until("it is on its way", lambda: next(box.objects("shipping", "shipments"))["status"] != "created", 20)
        assert requests.get(**limits).status_code == 401, "the session is over"
        box.place_orders(1)
        at = dt.datetime.fromisoformat(list(box.objects("shop", "orders"))[-1]["created_at"])
        assert at - dt.datetime.now(dt.UTC) > dt.timedelta(hours=23)
        box.restart("shop")
        assert "shop" in (shown := CliRunner().invoke(command, ["clock", "--folder", str(tmp_path)]).output)
        assert shown.count("(24 h ahead)") == 3, "kept over a restart"
        back = CliRunner().invoke(command, ["clock", "--reset", "--folder", str(tmp_path)])
        assert back.output.count("(0 h ahead)") == 3
