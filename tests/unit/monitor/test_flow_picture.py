"""The picture of a flow, drawn of what was compiled."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from accord.engine.history import Point
from accord.monitor.flow_picture import INDENT, draw_steps
from accord.project import load_project

BUSINESS = Path(__file__).parents[3] / "examples" / "business"


def test_every_step_is_drawn_in_its_order_with_what_it_promises() -> None:
    flow = load_project(BUSINESS, resolve_secrets=False).flows["order-to-cash"]
    told = Point(at=0, done=7, failed=0, retried=0, open=0, p50_s=0.01, p95_s=0.25, p99_s=0.3)
    root = ElementTree.fromstring(draw_steps(flow, {"5.write": told}))
    titles = [title.text or "" for title in root.iter("title")]
    assert [title.partition(":")[0] for title in titles] == [
        "0.validate",
        "1.filter",
        "2.dedupe",
        "3.split",
        "3.split[].0.call",
        "4.write",
        "5.write",
    ]
    assert 'financial_status == "paid"' in titles[1]
    assert "order-to-invoice" in titles[6] and "p95 250 ms" in titles[6]
    by_path = {effect.path: effect.guarantee for effect in flow.effects}
    assert all(by_path[path] in title for title in titles if (path := title.partition(":")[0]) in by_path)
    left = [float(box.get("x", "0")) for box in root.iter("rect")]
    assert left[4] - left[3] == INDENT, "what is done for each item stands inside"
    assert len([line for line in root.iter("path") if line.get("class") == "edge"]) == len(titles) - 1
