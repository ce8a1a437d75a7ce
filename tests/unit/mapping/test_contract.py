"""Contracts: what they take, what they refuse, and that they say everything at once."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pytest

from accord.errors import Faults, Place, RecordError
from accord.mapping import compile_contract
from accord.mapping.codes import COUNTRIES, CURRENCIES
from accord.record import Entity, Rule
from accord.record import types as t
from accord.record.types import Field


def contract(rules=(), *, types_only=False, **fields):
    faults = Faults()
    made = compile_contract(Entity(name="a.b", fields=fields, rules=tuple(rules)), None, faults, types_only=types_only)
    assert not faults.found
    return made


def f(type_, **facts):
    return Field(type=type_, **facts)


def problems(made, raw):
    with pytest.raises(RecordError) as caught:
        made.decode(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    return {p.path: p for p in caught.value.problems}


REFUSED = [
    (f(t.Integer()), '"12"', "type"),
    (f(t.Integer()), "1.0", "type"),
    (f(t.Integer()), "true", "type"),
    (f(t.Integer(), min=1), "0", "range"),
    (f(t.Integer(), max=2**70), str(2**70 + 1), "range"),
    (f(t.Decimal()), '"NaN"', "number"),
    (f(t.Decimal()), '"-Infinity"', "number"),
    (f(t.Decimal()), "1e400000", "number"),
    (f(t.Decimal()), '"1e-400000"', "number"),
    (f(t.Decimal()), "0e400000", "number"),
    (f(t.Decimal()), '"12,5"', "type"),
    (f(t.Decimal()), "true", "type"),
    (f(t.Decimal(), min=Decimal(0)), "-0.01", "range"),
    (f(t.Float()), "1e999", None),
    (f(t.Float()), '"1"', "type"),
    (f(t.Boolean()), "1", "type"),
    (f(t.String()), "1", "type"),
    (f(t.String(), length_min=2), '"a"', "length"),
    (f(t.String(), length_max=2), '"abc"', "length"),
    (f(t.String(), pattern="[A-Z]+"), '"ABc"', "pattern"),
    (f(t.String(), pattern="a|b"), '"ab"', "pattern"),
    (f(t.String(), format="country"), '"XX"', "format"),
    (f(t.String(), format="currency"), '"EURO"', "format"),
    (f(t.String(), format="email"), '"a@b"', "format"),
    (f(t.String(), format="uri"), '"not a uri"', "format"),
    (f(t.String(), format="uuid"), '"123"', "format"),
    (f(t.String(), format="phone"), '"030 1234"', "format"),
    (f(t.Enum(("a", "b"))), '"c"', "enum"),
    (f(t.DateTime()), '"2024-05-31T10:00:00"', "no-zone"),
    (f(t.DateTime()), '"yesterday"', "type"),
    (f(t.DateTime()), "1717149600", "type"),
    (f(t.DateTime(), min=dt.datetime(2024, 1, 1, tzinfo=dt.UTC)), '"2023-12-31T23:59:59Z"', "range"),
    (f(t.Date()), '"31.05.2024"', "type"),
    (f(t.Date(), max=dt.date(2024, 1, 1)), '"2024-01-02"', "range"),
    (f(t.Duration()), '"P1Y"', "type"),
    (f(t.List(t.Integer()), length_max=1), "[1, 2]", "length"),
    (f(t.List(t.Integer())), "[1, null]", "missing"),
    (f(t.List(t.Integer())), "{}", "type"),
    (f(t.Object({})), "[]", "type"),
    (f(t.String()), "null", "missing"),
]


@pytest.mark.parametrize(("field", "value", "code"), REFUSED)
def test_a_value_is_refused_with_its_code_and_path(field, value, code):
    made = problems(contract(x=field), b'{"x": ' + value.encode() + b"}")
    if code is None:
        assert len(made) == 1
        return
    ((path, problem),) = made.items()
    assert path.startswith("x")
    assert problem.code == f"record.{code}"


TAKEN = [
    (t.Integer(), "12345678901234567890123", 12345678901234567890123),
    (t.Decimal(), "0.1234567890123456789012345678901", Decimal("0.1234567890123456789012345678901")),
    (t.Decimal(), '"19.90"', Decimal("19.90")),
    (t.Decimal(), "3", Decimal(3)),
    (t.Float(), "1", 1.0),
    (t.DateTime(), '"2024-05-31T10:00:00+02:00"', dt.datetime(2024, 5, 31, 8, tzinfo=dt.UTC)),
    (t.Date(), '"2024-05-31"', dt.date(2024, 5, 31)),
    (t.Duration(), '"P1DT2H"', dt.timedelta(days=1, hours=2)),
    (t.Json(), '{"a": [1.50, null]}', {"a": [Decimal("1.50"), None]}),
    (t.String(), '"\\ud83d\\ude00 \\u05d0"', "\U0001f600 \u05d0"),
]


@pytest.mark.parametrize(("type_", "value", "expected"), TAKEN)
def test_a_value_is_taken_exactly(type_, value, expected):
    made = contract(x=f(type_)).decode(b'{"x": ' + value.encode() + b', "unknown": [1]}')
    assert made == {"x": expected}
    assert str(made["x"]) == str(expected) or isinstance(expected, dt.datetime)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[", b"nul", b"[]", b"1", b'"x"', b"\xff", b'{"x": "\xff"}', b'{"x": "\\ud800"}', b"\xef\xbb\xbf{}",
     b'{"x":' + b"[" * 200_000, b'{"y":' + b'{"a":' * 100_000, b'{"x": ' + b"9" * 100_000 + b"}", b'{"x": "a" "y"}'],
    ids=range(14),
)  # fmt: skip
def test_hostile_bodies_are_rejected_not_fatal(raw):
    for made in (contract(x=f(t.String())), contract(x=f(t.Json()))):
        with pytest.raises(RecordError) as caught:
            made.decode(raw)
        assert caught.value.problems


def test_all_problems_of_a_record_are_told_and_personal_values_masked():
    made = contract(
        id=f(t.Integer()),
        email=f(t.String(), format="email", personal="contact"),
        who=f(t.Object({"name": f(t.String())}), personal="identity"),
        lines=f(t.List(t.Object({"n": f(t.Integer(), min=1)}))),
    )
    found = problems(made, {"id": "x", "email": "ada at home", "who": {"name": 815}, "lines": [{"n": 1}, {"n": 0}, {}]})
    assert set(found) == {"id", "email", "who.name", "lines[1].n", "lines[2].n"}
    assert found["email"].value == found["who.name"].value == "***"
    assert "ada at" not in str(found) and "815" not in str(found)
    assert found["id"].value == "'x'"


def test_rules_across_fields():
    rules = [Rule("a <= b", "a is over b", Place("s.yaml", 4)), Rule("c == 'x'"), Rule("1 / b > 0")]
    made = contract(rules, a=f(t.Integer()), b=f(t.Integer()), c=f(t.String(), nullable=True))
    assert made.decode(b'{"a": 1, "b": 2, "c": "x"}') == {"a": 1, "b": 2, "c": "x"}
    with pytest.raises(RecordError) as caught:
        made.decode(b'{"a": 1, "b": 0}')
    reasons = [p.reason for p in caught.value.problems]
    assert reasons[0] == "a is over b"
    assert reasons[1] == "must be true: c == 'x'"
    assert "division by zero" in reasons[2]
    assert {p.code for p in caught.value.problems} == {"record.rule"}


@pytest.mark.parametrize(
    "rule", ["now() > now()", "message.id == 'a'", "ref(a, of='x.y', to='x.z') == 'a'", "nope > 1", "a + 1"]
)
def test_a_rule_that_cannot_be_asked_is_a_fault(rule):
    faults = Faults()
    entity = Entity(name="a.b", fields={"a": f(t.Integer())}, rules=(Rule(rule, "", Place("s.yaml", 9)),))
    compile_contract(entity, None, faults)
    assert len(faults.errors) == 1
    assert faults.errors[0].place == Place("s.yaml", 9)


def test_a_pattern_that_may_run_for_ever_is_a_fault():
    faults = Faults()
    field = f(t.List(t.Object({"code": f(t.String(), pattern="(a+)+")})))
    compile_contract(Entity(name="a.b", fields={"x": field}, place=Place("s.yaml", 3)), None, faults)
    assert [(x.code, x.place.line) for x in faults.found] == [("mapping.pattern", 3)]
    assert "'x.code'" in faults.found[0].what


def test_types_only_leaves_constraints_and_rules_out():
    made = contract([Rule("x > 5")], types_only=True, x=f(t.Integer(), min=3))
    assert made.decode(b'{"x": 1}') == {"x": 1}
    assert problems(made, {"x": "1"})["x"].code == "record.type"


def test_check_takes_native_values_but_no_float_for_money():
    made = contract(d=f(t.Decimal()), t=f(t.DateTime()), n=f(t.Integer()), s=f(t.String(), nullable=True))
    now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert made.check({"d": Decimal("1.5"), "t": now, "n": Decimal(3), "z": 1}) == {
        "d": Decimal("1.5"),
        "t": now,
        "n": 3,
    }
    with pytest.raises(RecordError) as caught:
        made.check({"d": 1.5, "t": now.replace(tzinfo=None), "n": Decimal("3.5"), "s": "\ud800"})
    assert {p.path: p.code for p in caught.value.problems} == {
        "d": "record.type",
        "t": "record.no-zone",
        "n": "record.type",
        "s": "record.type",
    }


def test_the_last_of_equal_names_counts():
    made = contract(x=f(t.Integer()), y=f(t.Integer()))
    assert made.decode(b'{"x": 1, "x": 2, "y": 3}') == {"x": 2, "y": 3}
    assert "y" in problems(made, b'{"x": 1, "x": 2}')


def test_code_lists():
    assert len(COUNTRIES) == 249
    assert {"DE", "GB", "US", "XK"} - COUNTRIES == {"XK"}
    assert {"EUR", "USD", "JPY", "XXX"} <= CURRENCIES
    assert all(len(c) == 3 and c.isupper() for c in CURRENCIES)


@pytest.mark.parametrize("good", ["ada@example.com", "a.b+c@sub.example.co.uk", "jörg@exämple.de", "x@1.de"])
@pytest.mark.parametrize(
    "bad", ["a@b", "@b.de", "a b@c.de", "a@-c.de", "a..b@c.de", "a@c..de", ".a@c.de", "a@c.de\n", "a" * 400 + "@c.de"]
)
def test_email(good, bad):
    made = contract(x=f(t.String(), format="email"))
    assert made.decode(json.dumps({"x": good}).encode())
    assert problems(made, {"x": bad})["x"].code == "record.format"
