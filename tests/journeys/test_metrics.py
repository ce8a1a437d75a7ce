"""/metrics of a real run, read by the official parser: the figures are those of the run, and hold nothing of a record."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from journeys.hooks_project import HooksProject, encode, order
from servers import wait_until

MAIL = "marked.person@planted.example"


def figures(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _is_shared(project: HooksProject, workers: int) -> bool:
    """Every worker has its share of the keys, and answers the others."""
    members = project.api("status")["members"]
    return len(members) == workers and all(one["parts"] and one["answers"] for one in members)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_figures_are_those_of_the_run(tmp_path: Path, workers: int) -> None:
    with HooksProject(tmp_path, workers=workers) as project:
        if workers > 1:
            wait_until("workers share", lambda: _is_shared(project, workers))
        for number in range(20):
            assert project.hook(encode(order(number, email=MAIL)))[0] == 200
        assert project.hook(encode(order(99, email=MAIL, currency="nonsense")))[0] == 200
        assert project.hook(encode(order(100, email=MAIL)), signature="Zm9v")[0] == 401
        counts = project.wait_settled()
        status, raw = project.get("/metrics")
        assert status == 200
    text = raw.decode()
    found = figures(text)
    flow = ("flow", "orders")
    assert found["accord_messages_accepted_total", (flow,)] == 21
    assert found["accord_attempts_total", (flow, ("outcome", "done"))] == counts["done"] == 20
    assert found["accord_attempts_total", (flow, ("outcome", "dead"))] == 1
    assert found["accord_messages", (flow, ("state", "dead"))] == 1
    assert found["accord_message_duration_seconds_count", (flow,)] == 21
    assert (
        found["accord_system_requests_total", (("outcome", "done"), ("system", "books"))] >= 1
    )  # records are written in groups
    assert found["accord_system_up", (("system", "books"),)] == 1
    assert found["accord_webhooks_refused_total", (("status", "401"), ("system", "shop"))] == 1
    steps = {key[1]: value for key, value in found.items() if key[0] == "accord_step_duration_seconds_count"}
    assert sum(steps.values()) >= 20
    assert "marked.person" not in text


def test_who_may_read_them(tmp_path: Path) -> None:
    with HooksProject(tmp_path) as project:
        assert project.get("/metrics", host="stranger.example")[0] == 401
        allowed = {"host": "stranger.example", "authorization": f"Bearer {project.token}"}
        assert project.get("/metrics", **allowed)[0] == 200
        assert project.request("POST", "/metrics", b"", {})[0] == 405
