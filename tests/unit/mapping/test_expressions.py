"""What expressions mean."""

from __future__ import annotations

import datetime as dt
import importlib.util
from decimal import Decimal
from pathlib import Path

import pytest

from accord.errors import Faults, RecordError
from accord.mapping import Environment, Scope, compile_expression
from accord.record import types as t
from accord.record.types import Field

_spec = importlib.util.spec_from_file_location("mapping_shapes", Path(__file__).with_name("shapes.py"))
assert _spec is not None and _spec.loader is not None
shapes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shapes)

LOOKUPS = {"countries": {"DE": "Germany", "FR": "France"}, "rates": {"DE": Decimal("19"), "FR": 20}}
NAMES = {"shipment": Field(type=t.Object({"number": Field(type=t.String())}), nullable=True)}


def scope():
    return Scope(shapes.ORDER.fields, NAMES, None, LOOKUPS, entity="shop.orders", key=("id",))


def value_of(text, record=None, names=None, environment=None):
    faults = Faults()
    expression = compile_expression(text, scope(), faults)
    assert expression is not None, faults.found
    made = expression.evaluate(shapes.RECORD if record is None else record, names or {}, environment or Environment())
    assert made is not None or expression.field.nullable, "a value that may be null is typed so"
    return made


VALUES = [
    ("id + 1", 8),
    ("name + '-' + customer.name", "#1001-Ada"),
    ("total + 1", Decimal("21.10")),
    ("total * 3", Decimal("60.30")),
    ("total / 3", Decimal("6.7")),
    ("7 / 2", Decimal("3.5")),
    ("7 // 2", 3),
    ("7 % 2", 1),
    ("-total", Decimal("-20.10")),
    ("0.1 + 0.2 == 0.3", True),
    ("total > 20 and status == 'paid'", True),
    ("1 < id < 10", True),
    ("not test", True),
    ("'big' if total > 100 else 'small'", "small"),
    ("status in ['open', 'paid']", True),
    ("'10' in name", True),
    ("customer.id", 3),
    ("customer['name']", "Ada"),
    ("record['first-name']", "Ada"),
    ("[x.sku for x in line_items]", ["A", "B"]),
    ("[x.sku for x in line_items if x.gift]", ["A"]),
    ("sum(x.price * x.quantity for x in line_items)", Decimal("20.10")),
    ("[x.sku + t for x in line_items for t in coalesce(tags, [])]", ["Ax", "Ay", "Bx", "By"]),
    ("[[y for y in [1, 2] if y < x.quantity] for x in line_items]", [[1], []]),
    ("line_items[0].sku", "A"),
    ("line_items[-1].sku", "B"),
    ("line_items[5].sku", None),
    ("name[1:3]", "10"),
    ('f"{name}: {total:.1f} {id} {test}"', "#1001: 20.1 7 false"),
    ('f"{{{id}}}"', "{7}"),
    ("extra.a[1].b", "deep"),
    ("extra.nothing.at.all", None),
    ("extra['a'][0] == 1", True),
    ("decimal(extra.n) + 1", Decimal("2.5")),
    ("'n' in extra", True),
    ("len([x for x in extra.a])", 2),
    ("date(created_at) + days(2)", dt.date(2024, 6, 2)),
    ("date('2024-03-01') - date('2024-02-01')", dt.timedelta(days=29)),
    ("created_at - hours(10)", dt.datetime(2024, 5, 31, 0, 0, tzinfo=dt.UTC)),
    ("lookup('countries', 'DE')", "Germany"),
    ("lookup('countries', 'XX')", None),
    ("lookup('countries', 'XX', default='?')", "?"),
    ("lookup('rates', 'FR')", Decimal(20)),
    ("coalesce(discount, 0)", Decimal(0)),
    ("coalesce(discount, total)", Decimal("20.10")),
    ("case(total > 100, 'a', total > 10, 'b', 'c')", "b"),
    ("case(total > 100, 'a')", None),
    ("max(1, 2.5)", Decimal("2.5")),
    ("min(x.price for x in line_items)", Decimal("5.05")),
    ("any(x.gift for x in line_items)", True),
    ("all(x.gift for x in line_items)", False),
    ("text(total)", "20.10"),
    ("text(1e3)", "1000"),
    ("true and not false", True),
    ("email is not null", True),
    ("1 + 1 is null", False),
    ("id != null", True),
    ("shipment is null", True),
]


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_an_expression_has_this_value(text, expected):
    made = value_of(text)
    assert made == expected
    assert type(made) is type(expected)


NULLS = [
    ("discount + 1", None),
    ("1 + discount", None),
    ("email + 'x'", None),
    ("upper(email)", None),
    ("customer.name", None),
    ('f"{email}"', None),
    ("discount > 1", None),
    ("discount == 1", None),
    ("discount == null", True),
    ("discount is not null", False),
    ("not paid", None),
    ("paid and test", False),
    ("test and paid", False),
    ("paid or not test", True),
    ("paid and not test", None),
    ("paid or test", None),
    ("'yes' if paid else 'no'", "no"),
    ("'yes' if discount > 1 else 'no'", "no"),
    ("[t for t in tags]", None),
    ("[t + 'x' for t in tags if t != email]", None),
    ("coalesce(email, customer.name, 'nobody')", "nobody"),
    ("coalesce(email, customer.name)", None),
    ("null + 1", None),
    ("len(coalesce(tags, []))", 0),
    ("sum(x.price for x in line_items)", Decimal(0)),
    ("first(line_items).sku", None),
    ("lookup('countries', email)", None),
    ("extra.a.b", None),
    ("ref(customer.id, to='crm.clients')", None),
    ("'x' in email", None),
    ("took * 2", None),
]


@pytest.mark.parametrize(("text", "expected"), NULLS)
def test_absent_equals_null_and_null_propagates(text, expected):
    assert value_of(text, shapes.EMPTY) == expected
    assert (
        value_of(text, shapes.EMPTY | dict.fromkeys(n for n, f in shapes.ORDER.fields.items() if f.nullable))
        == expected
    )


def test_a_branch_that_is_not_taken_is_not_evaluated():
    assert value_of("1 / 0 if test else 2") == 2
    assert value_of("decimal(name) if test else total") == Decimal("20.10")
    assert value_of("test and [x for x in extra.nothing.b if integer(name) > 1] is null") is False


def test_money_is_exact_far_beyond_28_digits():
    big = shapes.RECORD | {"total": Decimal("12345678901234567890123456789012.01")}
    assert value_of("total + total", big) == Decimal("24691357802469135780246913578024.02")
    assert value_of("sum([total, total, 0.01])", big) == Decimal("24691357802469135780246913578024.03")


def test_results_and_the_message_can_be_named():
    environment = Environment(dt.datetime(2024, 1, 2, tzinfo=dt.UTC), {"id": "m1", "key": "7", "headers": {"x-a": "1"}})
    assert value_of("shipment.number", names={"shipment": {"number": "S1"}}) == "S1"
    assert value_of("message.id + message.key", environment=environment) == "m17"
    assert value_of('message.headers["X-A"]', environment=environment) == "1"
    assert value_of('message.headers["x-b"]', environment=environment) is None
    assert value_of("now()", environment=environment) == environment.now


def test_a_reference_is_asked_for_once_and_read_when_known():
    environment = Environment()
    assert value_of("ref(customer.id, to='crm.clients')", environment=environment) is None
    assert value_of("ref(id, to='crm.deals')", environment=environment) is None
    required = compile_expression("require(ref(customer.id, to='crm.clients'))", scope(), Faults())
    assert required is not None
    assert required.evaluate(shapes.RECORD, {}, environment) is None, "nothing is rejected for want of an answer"
    assert environment.missing == [("shop.customers", "3", "crm.clients"), ("shop.orders", "7", "crm.deals")]
    known = Environment(refs={("shop.customers", "3", "crm.clients"): "C3"})
    assert value_of("ref(customer.id, to='crm.clients')", environment=known) == "C3"
    assert known.missing == []


@pytest.mark.parametrize(
    ("text", "reason", "value"),
    [
        ("decimal(name)", "not a decimal", "'#1001'"),
        ("date(name, '%Y')", "no day", "'#1001'"),
        ("1 / (id - 7)", "division by zero", ""),
        ("integer(total)", "fraction", "20.10"),
        ("decimal(email)", "not a decimal", "***"),
        ("integer(customer.name)", "whole number", "***"),
        ("[x for x in extra]", "not a list", "an object of 2 fields"),
        ("require(discount, 'no discount')", "no discount", ""),
        ("datetime(name)", "no time", "'#1001'"),
        ("days(id * 10000000000)", "out of range", "70000000000"),
        ("(total + 1e100 + 1e-90) * (total + 1e100 + 1e-90)", "cannot be computed exactly", ""),
    ],
)
def test_a_failing_expression_rejects_the_record_with_reason_expression_and_masked_value(text, reason, value):
    faults = Faults()
    expression = compile_expression(text, scope(), faults)
    assert expression is not None, faults.found
    with pytest.raises(RecordError) as caught:
        expression.evaluate(shapes.RECORD, {}, Environment())
    (problem,) = caught.value.problems
    assert reason in problem.reason
    assert problem.reason.endswith(f"in: {text}")
    assert problem.value == value
    assert "Ada" not in str(problem) and "example.com" not in str(problem)


def test_the_expected_field_converts_and_checks():
    faults = Faults()
    expected = Field(type=t.Decimal(), max=Decimal(10))
    expression = compile_expression("id * 2", scope(), faults, expected=expected)
    assert expression is not None and expression.field.type == t.Decimal()
    with pytest.raises(RecordError, match="at most 10"):
        expression.evaluate(shapes.RECORD, {}, Environment())
    assert expression.evaluate(shapes.RECORD | {"id": 2}, {}, Environment()) == Decimal(4)


def test_an_expression_knows_its_sources_and_whether_it_asks_for_references():
    faults = Faults()
    expression = compile_expression("customer.name + line_items[0].sku", scope(), faults)
    assert expression is not None
    assert set(expression.sources) == {"customer.name", "line_items[].sku"}
    assert not expression.uses_refs
    asking = compile_expression("ref(id, to='crm.deals')", scope(), faults)
    assert asking is not None and asking.uses_refs and asking.field.references == "crm.deals"
