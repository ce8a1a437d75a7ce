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
        ({"mail": ["a@b.example"]}, "needs a `system`, or `host` and `from`"),
        ({"mail": ["a@b.example"], "system": "post", "host": "h"}, "`system` belongs to `mail`"),
        ({"mail": ["a@b.example"], "system": "post"}, "sends mail through 'post'"),
        ({"webhook": "ftp://x"}, "must begin with https://"),
    ],
)
def test_a_channel_is_one_thing(channel: dict[str, Any], said: str):
    assert any(said in fault for fault in faults(channels={"ops": channel}))


MAIL = {
    "system": "post",
    "connector": "mail",
    "settings": {"host": "mail.example.com", "from": "it@b.example", "ca_file": "ca.pem"},
}


def test_a_channel_takes_the_server_of_a_mail_system():
    channels = {"office": {"mail": ["a@b.example"], "system": "post"}}
    environment = {"secrets": ["environment"], "channels": channels}
    declared = {"name": "acme", "environments": {"default": environment}}
    channel = Project.build(declared, systems=[MAIL], variables={}, folder="/srv").channels["office"]
    assert (channel.host, channel.port, channel.tls, channel.from_) == (
        "mail.example.com",
        587,
        "starttls",
        "it@b.example",
    )
    assert channel.ca_file == "/srv/ca.pem"
