"""Each system is down in turn, under load: the others' work goes on, everything catches up, no attempts are spent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from agreement import agreement
from stage import Stage

from accord.sdk.http import decode_json

OUTAGE_S = 20.0
KIND_OF_EFFECT = {"inventory": "movements", "shipping": "shipments", "accounting": "invoices", "mail": "messages"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("load")
@pytest.mark.parametrize("system", ["shop", "inventory", "shipping", "accounting", "mail"])
def test_an_outage_stops_only_what_needs_the_system(system: str, tmp_path: Path) -> None:
    settings = {"shipping": {"dispatch_after_s": 0.5, "deliver_after_s": 600}}
    with Stage(tmp_path / "stage", settings=settings) as stage:
        sandbox = stage.sandbox
        sandbox.place_orders(20)
        stage.wait_until(lambda: agreement(sandbox).is_reached, "all systems agree before the outage", within_s=60)
        upstream_before = _upstream(stage, system)
        sandbox.fault(system, down=True, for_s=OUTAGE_S)
        ends = time.monotonic() + OUTAGE_S
        while time.monotonic() < ends:
            if system != "shop":
                sandbox.place_orders(5)
            time.sleep(0.5)
        if system not in ("shop", "inventory"):
            assert _upstream(stage, system) > upstream_before, "what comes before the sick system must go on"
        if system == "shop":
            sandbox.place_orders(20)
        stage.wait_until(lambda: agreement(sandbox).is_reached, "all systems agree after the outage", within_s=120)
        status: dict[str, Any] = decode_json(stage.run("status", "--json").stdout.encode())
        assert sum(flow["dead"] for flow in status["flows"]) == 0
        assert all(one["is_well"] for one in status["systems"])
        messages = decode_json(stage.run("messages", "--json", "--limit", "1000").stdout.encode())
        assert max(row["attempts"] for row in messages) == 0, "an outage must not spend attempts"


def _upstream(stage: Stage, system: str) -> int:
    """Effects in the system before this one in the flow."""
    before = {"shipping": "inventory", "accounting": "shipping", "mail": "accounting"}.get(system)
    return stage.sandbox.counts(before)[KIND_OF_EFFECT[before]] if before else 0
