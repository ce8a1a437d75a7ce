"""Nodes into Structs: nothing converted silently, all faults at once, each with its line."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from accord.errors import NOWHERE, Faults, Place
from accord.settings.decode import Size, decode
from accord.settings.node import Node, parse_yaml
from accord.settings.secret import Secret


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    attempts: Annotated[int, Meta(ge=1, le=100)] = 8
    first: dt.timedelta = dt.timedelta(seconds=1)
    then: Literal["dead-letter", "stop"] = "dead-letter"
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        if self.attempts == 13:
            raise ValueError("`attempts` is an unlucky number")


class Basic(msgspec.Struct, frozen=True, tag="basic", tag_field="kind"):
    user: str


class Bearer(msgspec.Struct, frozen=True, tag="bearer", tag_field="kind"):
    token: Secret


class Everything(msgspec.Struct, frozen=True, kw_only=True):
    flow: Annotated[str, Meta(min_length=1)]
    as_: str = ""
    renamed: int = msgspec.field(default=0, name="re-named")
    policy: Policy = Policy()
    policy_or_none: Policy | Literal["none"] | None = None
    amount: Decimal = Decimal(0)
    ratio: float = 0.0
    flag: bool = False
    size: Size = 0
    texts: tuple[str, ...] = ()
    one_or_many: str | list[str] = ""
    prices: dict[str, Decimal] = {}
    colour: Colour = Colour.RED
    rest: Node = Node(None)
    anything: Any = None
    token: Secret | None = None
    header: str | Secret = ""
    auth: Basic | Bearer | None = None
    day: dt.date | None = None
    at: dt.datetime | None = None
    count: int | None = None
    code: Annotated[str, Meta(pattern="^[A-Z]{2}$")] = "DE"


def read(text: str) -> tuple[Everything | None, list[str]]:
    faults = Faults()
    value = decode(parse_yaml(text, "f.yaml", faults), Everything, faults)
    return value, [
        f"{fault.place.line} {fault.code.partition('.')[2]}: {fault.what} {fault.mend}".strip()
        for fault in faults.found
    ]


def test_everything_a_field_can_hold() -> None:
    value, faults = read(
        """
flow: orders
as: x
re-named: 4
policy: {attempts: 3, first: 1h30m, then: stop}
policy_or_none: none
amount: 1.10
ratio: 2
flag: true
size: 10MB
texts: [a, b]
one_or_many: [c]
prices: {x: 1, y: 2.50}
colour: blue
rest: {free: [1]}
anything: {a: [1, 1.5]}
auth: {kind: basic, user: ada}
day: 2026-01-31
at: 2026-01-31T09:00:00Z
count:
""".lstrip()
    )
    assert faults == [] and value is not None
    assert (value.as_, value.renamed, value.policy_or_none, value.amount) == ("x", 4, "none", Decimal("1.10"))
    assert value.policy == Policy(attempts=3, first=dt.timedelta(minutes=90), then="stop", place=Place("f.yaml", 4))
    assert (value.ratio, value.flag, value.size, value.texts, value.one_or_many) == (
        2.0,
        True,
        10_000_000,
        ("a", "b"),
        ["c"],
    )
    assert value.prices == {"x": Decimal(1), "y": Decimal("2.50")} and str(value.prices["y"]) == "2.50"
    assert value.colour is Colour.BLUE and value.rest.plain() == {"free": [1]}
    assert value.anything == {"a": [1, Decimal("1.5")]} and value.auth == Basic("ada")
    assert (
        value.day == dt.date(2026, 1, 31)
        and value.at == dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC)
        and value.count is None
    )


def test_all_faults_at_once_each_with_its_line() -> None:
    value, faults = read(
        """
flw: orders
policy: {attempts: many}
ratio: half
size: 10
one_or_many: 7
colour: rde
token: open-secret
auth: {kind: bearer, token: open-secret}
count: 1.0
code: de
policy_or_none: nine
""".lstrip()
    )
    assert value is None
    assert faults == [
        "1 unknown-key: Unknown key `flw` in this file. Did you mean 'flow'?",
        "1 missing-key: The key `flow` is missing in this file. It must be text.",
        "2 wrong-type: `policy.attempts` must be a whole number, this is the text 'many'.",
        "11 wrong-type: `policy_or_none` must be a mapping or 'none', this is the text 'nine'.",
        "3 wrong-type: `ratio` must be a number, this is the text 'half'.",
        "4 wrong-type: `size` must be a size with its unit, like 64KiB, 10MB or 2GB, this is the number 10.",
        "5 wrong-type: `one_or_many` must be text or a list, this is the number 7.",
        "6 wrong-type: `colour` must be one of red, blue, this is the text 'rde'. Did you mean 'red'?",
        "7 secret-open: `token` is a secret and stands here openly. "
        "Write ${secret:NAME} here and store the value with `accord secret set NAME`.",
        "8 secret-open: `auth.token` is a secret and stands here openly. "
        "Write ${secret:NAME} here and store the value with `accord secret set NAME`.",
        "9 wrong-type: `count` must be a whole number, this is the number 1.0.",
        "10 out-of-bounds: `code` must match the pattern ^[A-Z]{2}$, this is the text 'de'.",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("flow: 7", "must be text, this is the number 7. Put it in quotes"),
        ("flow: ''", "must not be empty"),
        ("flow:", "must be text, this is nothing"),
        ("flow: a\nflag: yes", "Write true or false."),
        ("flow: a\nflag: 1", "must be true or false"),
        ("flow: a\ncount: true", "must be a whole number, this is the boolean true"),
        ("flow: a\npolicy: {attempts: 0}", "`policy.attempts` must be at least 1, this is the number 0."),
        ("flow: a\npolicy: {attempts: 13}", "`attempts` is an unlucky number."),
        ("flow: a\npolicy: {first: 10}", "must be a duration like 500ms, 1s, 10m, 2h or 3d, this is the number 10."),
        ("flow: a\npolicy: [1]", "`policy` must be a mapping (key: value), this is a list."),
        ("flow: a\ntexts: a", "starts with '- '."),
        ("flow: a\ntexts: [1]", "`texts[0]` must be text"),
        ("flow: a\nat: 2026-01-31T09:00:00", "must be an instant with its zone"),
        ("flow: a\nas_: b", "Did you mean 'as'?"),
        ("flow: a\npolicy: {place: x}", "Unknown key `place`"),
        ("- a", "This file must be a mapping (key: value), this is a list."),
        (
            "flow: a\nauth: {kind: bsic, user: a}",
            "`auth.kind` must be one of basic, bearer, this is the text 'bsic'. Did you mean 'basic'?",
        ),
        ("flow: a\nauth: {user: a}", "The key `kind` is missing in `auth`. It says which: basic, bearer."),
    ],
)
def test_what_is_wrong_is_said_in_words(line: str, said: str) -> None:
    value, faults = read(line)
    assert value is None and len(faults) == 1 and said in faults[0], faults


def test_an_empty_key_is_an_empty_mapping_or_list() -> None:
    value, faults = read("flow: a\npolicy:\ntexts:\nprices:\n")
    assert faults == [] and value is not None and (value.policy.attempts, value.texts, value.prices) == (8, (), {})


def test_a_secret_goes_only_where_secrets_go() -> None:
    secret = Secret("s3cret", "name")
    faults = Faults()
    good = Node.of({"flow": "a", "token": Node(secret), "header": Node(secret)})
    value = decode(good, Everything, faults)
    assert value is not None and value.token is not None and value.token.reveal() == "s3cret" and value.header == secret
    bad = Node.of({"flow": Node(secret), "anything": {"deep": [Node(secret)]}, "prices": {"x": Node(secret)}})
    assert decode(bad, Everything, faults) is None
    assert [fault.code for fault in faults.found] == ["settings.secret-misplaced"] * 3
    assert not any("s3cret" in str(fault) for fault in faults.found)


def test_a_secret_written_openly_is_never_shown() -> None:
    for line in ("token: hunter2", "auth: {kind: bearer, token: hunter2}", "token: [hunter2]"):
        _, faults = read(f"flow: a\n{line}")
        assert faults and not any("hunter2" in fault for fault in faults)


def test_a_file_that_could_not_be_read_adds_no_fault() -> None:
    faults = Faults()
    assert decode(None, Everything, faults) is None and faults.found == []


def test_a_type_settings_cannot_hold_is_a_defect_of_the_program() -> None:
    class Odd(msgspec.Struct):
        value: complex

    with pytest.raises(TypeError, match="complex"):
        decode(Node.of({"value": 1}), Odd, Faults())


keys = st.sampled_from(
    [f.encode_name.rstrip("_") for f in msgspec.structs.fields(Everything)] + ["x", "attempts", "kind", "token"]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
values = st.recursive(scalars, lambda c: st.lists(c, max_size=3) | st.dictionaries(keys, c, max_size=5), max_leaves=10)


@given(st.dictionaries(keys, values, max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_data_gives_a_value_or_a_fault(data: dict[str, Any]) -> None:
    faults = Faults()
    value = decode(Node.of(data), Everything, faults)
    assert (value is None) == bool(faults.errors)
