"""Where values are not needed, what is missing stands for something of its type, and is told."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from accord.errors import Faults
from accord.settings.decode import decode
from accord.settings.node import parse_yaml
from accord.settings.references import Environment, Resolver
from accord.settings.secret import Secret
from accord.settings.secrets.provider import ProviderChain
from accord.settings.setting_types import Size
from accord.settings.text import STAND_IN


class Colour(Enum):
    RED = "red"


def resolved(text: str, type_: Any, *, needs_secrets: bool = False, **variables: str) -> tuple[Any, Faults]:
    faults = Faults()
    node = parse_yaml(f"value: {text}\n", "x.yaml", faults)
    assert node is not None
    resolver = Resolver(Environment(variables, ProviderChain(()), needs_secrets=needs_secrets))
    found = decode(resolver.resolve(node, faults), dict[str, type_], faults)
    return (found or {}).get("value"), faults


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (str, STAND_IN),
        (str | None, STAND_IN),
        (Secret | str, STAND_IN),
        (Annotated[str, Meta(pattern="^x$")], STAND_IN),
        (Any, STAND_IN),
        (int, 1),
        (Annotated[int, Meta(ge=100)], 1),
        (int | None, 1),
        (Size, 1),
        (float, 1.0),
        (Decimal, Decimal(1)),
        (bool, False),
        (Literal["tls", "none"], "tls"),
        (Colour, Colour.RED),
        (dt.timedelta, dt.timedelta(seconds=1)),
        (dt.date, dt.date(2000, 1, 1)),
        (dt.datetime, dt.datetime(2000, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_a_variable_that_is_not_set_stands_for_a_value_of_its_type(type_, value):
    found, faults = resolved("${env:NO}", type_)
    assert found == value
    assert [(fault.code, fault.severity) for fault in faults.found] == [("settings.env-missing", "warning")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:NO}/messages", f"{STAND_IN}/messages"),
        ("127.0.0.1:${env:NO}", "127.0.0.1:1"),
        ("${env:YES}:${env:NO}", "y:1"),
        ("${env:NO:-default}", "default"),
    ],
)
def test_parts_of_a_text(text, value):
    found, _faults = resolved(f'"{text}"', str, YES="y")
    assert found == value


def test_what_is_set_is_taken():
    found, faults = resolved("${env:PORT}", int, PORT="25")
    assert (found, faults.found) == (25, [])


def test_where_values_are_needed_a_missing_one_is_an_error():
    found, faults = resolved("${env:NO}", str, needs_secrets=True)
    assert found is None
    assert [(fault.code, fault.severity) for fault in faults.found] == [("settings.env-missing", "error")]


def test_a_broken_reference_is_an_error_all_the_same():
    _found, faults = resolved('"${envv:NO}"', str)
    assert [fault.code for fault in faults.errors] == ["settings.bad-reference"]
