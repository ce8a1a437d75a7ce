"""Alerts that name what there is not, or say too little, are faults of the check."""

from __future__ import annotations

from typing import Any

import pytest

from accord.errors import DeclarationError
from accord.project.project import Project

BASE: dict[str, Any] = {"name": "acme", "environments": {"default": {"secrets": ["environment"]}}}
CHANNEL = {"ops": {"webhook": "https://example.com/notices"}}


def faults(*alerts: dict[str, Any], channels: dict[str, Any] | None = None) -> list[str]:
    environment = {"secrets": ["environment"], "channels": CHANNEL if channels is None else channels}
    try:
        Project.build({"name": "acme", "environments": {"default": environment}, "alerts": list(alerts)}, variables={})
    except DeclarationError as error:
        return [str(fault) for fault in error.faults]
    return []


def test_what_is_right_is_taken():
    assert faults({"alert": "sick", "when": "breaker_open", "notify": ["ops"], "for": "2m"}) == []


@pytest.mark.parametrize(
    ("alert", "said"),
    [
        ({"when": "breaker_open", "notify": ["opps"]}, "Did you mean 'ops'"),
        ({"when": "breaker_open", "system": "erp"}, "names the system 'erp'"),
        ({"when": "dead_letters", "flow": "orders"}, "names the flow 'orders'"),
        ({"when": "silence", "within": "30m"}, "`flow` is missing"),
        ({"when": "oldest_waiting"}, "`within` is missing"),
        ({"when": "missing", "flow": "f", "within": "10m"}, "`reaches` names"),
        ({"when": "dead_letters", "hours": "08:00-18:00"}, "`hours` belong to silence"),
        ({"when": "dead_letters", "repeat_every": "1s"}, "`repeat_every` must be"),
        ({"when": "dead_leters"}, "dead_letters"),
    ],
)
def test_what_is_wrong_is_said(alert: dict[str, Any], said: str):
    (fault,) = faults({"alert": "one", **alert})
    assert said in fault


def test_a_name_is_given_once():
    assert (
        "declared already" in faults({"alert": "a", "when": "dead_letters"}, {"alert": "a", "when": "breaker_open"})[0]
    )


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({}, "one of `mail`, `webhook` and `slack`"),
        ({"mail": ["a@b.example"]}, "needs `host` and `from`"),
        ({"webhook": "ftp://x"}, "must begin with https://"),
    ],
)
def test_a_channel_is_one_thing(channel: dict[str, Any], said: str):
    assert any(said in fault for fault in faults(channels={"ops": channel}))
