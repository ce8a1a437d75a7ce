"""What the check refuses, and what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from accord.errors import Faults, Place
from accord.mapping import Scope, compile_expression
from accord.record import types as t
from accord.record.types import Field

_spec = importlib.util.spec_from_file_location("mapping_shapes", Path(__file__).with_name("shapes.py"))
assert _spec is not None and _spec.loader is not None
shapes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shapes)

REFUSED = [
    ("nme", "unknown-name", "Did you mean 'name'?"),
    ("customer.nme", "unknown-field", "Did you mean 'name'?"),
    ("line_items.sku", "type", "[x.sku for x in line_items]"),
    ("line_items[0].skuu", "unknown-field", "Did you mean 'sku'?"),
    ("if(id > 1, name, email)", "syntax", "x if condition else y"),
    ("name + if(id > 1, name, email)", "syntax", "x if condition else y"),
    ("case when id > 1 then name end", "syntax", "x if condition else y"),
    ("IF(id > 1, name, email)", "unknown-function", "x if condition else y"),
    ("name if (id > 1) else 'x", "syntax", "quotation mark"),
    ("uper(name)", "unknown-function", "Did you mean 'upper'?"),
    ("str(name)", "unknown-function", "Did you mean 'text'?"),
    ("name.upper()", "unknown-function", "upper(name)"),
    ("name + id", "type", "text(id)"),
    ("id + name", "type", "text(id)"),
    ("total + weight", "type", "decimal(weight)"),
    ("weight < total", "type", ""),
    ("extra + 1", "type", "decimal(extra)"),
    ("name + extra", "type", "text(extra)"),
    ("created_at + 2", "type", "days(2)"),
    ("date(created_at) - created_at", "type", "date(created_at)"),
    ("name > 5", "type", ""),
    ("name == 5", "type", ""),
    ("status == 'payed'", "enum", "Did you mean 'paid'?"),
    ("status in ['payed']", "enum", "Did you mean 'paid'?"),
    ("name and email", "type", "coalesce(name, email)"),
    ("1 if name else 2", "type", "is not null"),
    ("1 if test else 'x'", "type", ""),
    ("[1, 'a']", "type", ""),
    ("upper(id)", "arguments", "text(id)"),
    ("upper()", "arguments", "upper(text: string) -> string"),
    ("upper(name, name)", "arguments", "upper(text: string)"),
    ("round(total, place=2)", "arguments", "Did you mean 'places'?"),
    ("round(total, 2, 'half_upp')", "arguments", ""),
    ("round(total, 2, mode=name)", "arguments", "literal"),
    ("matches(name, '(a+)+')", "arguments", ""),
    ("matches(name, email)", "arguments", ""),
    ("date(name, '%Q')", "arguments", ""),
    ("in_zone(created_at, 'Europe/Berln')", "arguments", ""),
    ("lookup('contries', name)", "unknown-lookup", "Did you mean 'countries'?"),
    ("lookup('countries', total)", "arguments", "text(total)"),
    ("ref(name, to='crm.clients')", "reference", "of="),
    ("ref(customer.id, to='crm.client')", "reference", "Did you mean 'crm.clients'?"),
    ("ref(customer.id)", "arguments", "ref("),
    ("message", "type", "message.id"),
    ("message.idd", "unknown-field", "Did you mean 'id'?"),
    ("lambda: 1", "not-allowed", "comprehension"),
    ("{'a': 1}", "not-allowed", "YAML"),
    ("2 ** 9999999", "not-allowed", ""),
    ("name.__class__", "unknown-field", ""),
    ("().__class__.__bases__", "type", ""),
    ("__import__('os')", "unknown-function", ""),
    ("(x := 1)", "not-allowed", ""),
    ("[*tags]", "not-allowed", ""),
    ("f'{name!r}'", "not-allowed", "text(name)"),
    ("f'{name:10d}'", "type", ""),
    ("f'{total:{id}}'", "type", ""),
    ("f'{line_items}'", "type", ""),
    ("name is name", "not-allowed", "=="),
    ("tags[name]", "type", ""),
    ("customer[name]", "type", "literal"),
    ("name[::2]", "not-allowed", ""),
    ("for x in y", "syntax", ""),
    ("", "syntax", ""),
    ("= name", "syntax", "Leave out"),
    ("a && b", "syntax", "'and'"),
    ("'abc", "syntax", "quotation"),
    ("1e999999", "literal", ""),
    ("1j", "not-allowed", ""),
    ("b'x'", "not-allowed", ""),
    ("(" * 150 + "1" + ")" * 150 + " + a", "unknown-name", ""),
    ("-" * 500 + "1", "too-large", ""),
    ("1" + " + 1" * 3000, "too-large", ""),
    ("1" + " + 1" * 200, "too-large", ""),
    ("[" * 90 + "]" * 90, "too-large", ""),
    ("(" * 1000, "syntax", ""),
    ("name" + ".a" * 500, "too-large", ""),
    ("sum(name)", "arguments", ""),
    ("sum(x.sku for x in line_items)", "arguments", ""),
    ("max(1, 'a')", "arguments", ""),
    ("require(null)", "arguments", ""),
    ("case(1)", "arguments", ""),
    ("case('a', 1)", "type", ""),
    ("[x for x in id]", "type", "list field"),
    ("[x.y for x, y in line_items]", "not-allowed", "one variable"),
]


@pytest.mark.parametrize(("text", "code", "mend"), REFUSED)
def test_the_check_refuses_with_code_place_and_a_way_to_mend(text, code, mend):
    faults = Faults()
    place = Place("mappings/m.yaml", 12)
    scope = Scope(
        shapes.ORDER.fields,
        {},
        None,
        {"countries": {"DE": "Germany"}},
        entity="shop.orders",
        key=("id",),
        entities=frozenset({"crm.clients", "shop.customers"}),
    )
    assert compile_expression(text, scope, faults, place) is None
    assert len(faults.found) == 1, faults.found
    fault = faults.found[0]
    assert fault.code == f"mapping.{code}", fault
    assert fault.place == place
    assert mend in fault.mend or mend in fault.what, fault


@pytest.mark.parametrize(
    ("text", "type_", "code", "mend"),
    [
        ("name", t.Decimal(), "conversion", "decimal(name)"),
        ("name", t.Integer(), "conversion", "integer(name)"),
        ("name", t.Date(), "conversion", "date(name"),
        ("total", t.Integer(), "conversion", "round(total)"),
        ("total", t.String(), "conversion", "text(total)"),
        ("weight", t.Decimal(), "conversion", "decimal(weight)"),
        ("total", t.Float(), "conversion", "float_(total)"),
        ("created_at", t.Date(), "conversion", "date(created_at)"),
        ("extra.a", t.String(), "nullable", "coalesce(extra.a"),
        ("email", t.String(), "nullable", "require(email)"),
        ("'payed'", t.Enum(("paid", "open")), "enum", "Did you mean 'paid'?"),
        ("'a' if test else 'b'", t.Enum(("paid", "open")), "enum", ""),
        ("created_at", t.Json(), "conversion", "text(created_at)"),
        ("name", t.List(t.String()), "conversion", "[name]"),
    ],
)
def test_a_value_must_fit_the_field_it_is_for(text, type_, code, mend):
    faults = Faults()
    assert compile_expression(text, Scope(shapes.ORDER.fields), faults, Place("m.yaml", 3), Field(type=type_)) is None
    (fault,) = faults.found
    assert fault.code == f"mapping.{code}"
    assert mend in fault.mend


def test_a_literal_that_breaks_a_constraint_is_found_before_anything_runs():
    faults = Faults()
    expected = Field(type=t.String(), format="country")
    assert compile_expression("'Germany'", Scope({}), faults, expected=expected) is None
    assert faults.found[0].code == "mapping.constraint"
    assert compile_expression("'DE'", Scope({}), faults, expected=expected) is not None
