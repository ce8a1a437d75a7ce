"""Mappings: reading, checking, applying, origins, and their example tests."""

from __future__ import annotations

import datetime as dt
import importlib.util
from decimal import Decimal
from pathlib import Path

import pytest

from accord.errors import Faults, RecordError
from accord.mapping import Environment, FunctionTable, compile_mapping, read_mapping, run_tests
from accord.record import Entity
from accord.record import types as t
from accord.record.types import Field
from accord.settings.node import parse_yaml

_spec = importlib.util.spec_from_file_location("mapping_shapes", Path(__file__).with_name("shapes.py"))
assert _spec is not None and _spec.loader is not None
shapes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shapes)
f = shapes.f

PARCEL = t.Object({"sku": f(t.String()), "pieces": f(t.Integer(), max=100), "label": f(t.String(), nullable=True)})
SHIPMENT = Entity(
    name="shipping.shipments",
    fields={
        "reference": f(t.String(), length_max=10),
        "ship_by": f(t.Date()),
        "value": f(t.Decimal(), nullable=True, max=Decimal(1000)),
        "client": f(t.String(), nullable=True),
        "mood": f(t.Enum(("new", "old")), nullable=True),
        "address": f(
            t.Object({"name": f(t.String()), "country": f(t.String(), nullable=True, format="country")}), nullable=True
        ),
        "parcels": f(t.List(PARCEL), nullable=True, length_max=3),
        "lines": f(t.List(t.Object({"sku": f(t.String()), "price": f(t.Decimal())})), nullable=True),
        "skus": f(t.List(t.String()), nullable=True),
        "anything": f(t.Json(), nullable=True),
        "contact": f(t.String(), nullable=True, personal="contact", format="email"),
    },
)
ENTITIES = {
    "shop.orders": shapes.ORDER,
    "shipping.shipments": SHIPMENT,
    "crm.clients": Entity(name="crm.clients", fields={"id": Field(type=t.String())}, key=("id",)),
}
HEAD = "mapping: m\nfrom: shop.orders\nto: shipping.shipments\nfields:\n  reference: name\n  ship_by: date(created_at) + days(2)\n"


def compiled(rest="", head=HEAD, lookups=None):
    faults = Faults()
    node = parse_yaml(head + rest, "mappings/m.yaml", faults)
    assert node is not None
    spec = read_mapping(node, faults)
    mapping = (
        compile_mapping(spec, ENTITIES, FunctionTable.builtin(), lookups or {}, faults) if spec is not None else None
    )
    return mapping, faults


def mapped(rest, record=None, environment=None, names=None):
    mapping, faults = compiled(rest)
    assert mapping is not None, faults.found
    return mapping.apply(record or shapes.RECORD, names or {}, environment or Environment())


def test_fields_objects_and_lists():
    made = mapped(
        """
  value: id
  mood: "'new'"
  address: {name: customer.name, country: "'DE'"}
  parcels:
    each: line_items
    when: quantity > 1 or gift is null
    fields: {sku: sku, pieces: quantity, label: name + "/" + item.sku + text(parent.id)}
  lines: line_items
  skus: {each: line_items, value: sku}
  anything: {a: id, b: [1, 2], c: {d: total}}
""".replace("[1, 2]", '"[1, 2]"')
        .replace("customer.name", 'coalesce(customer.name, "nobody")')
        .replace('{name: coalesce(customer.name, "nobody")', "{name: 'coalesce(customer.name, \"nobody\")'")
    )
    assert made == {
        "reference": "#1001",
        "ship_by": dt.date(2024, 6, 2),
        "value": Decimal(7),
        "mood": "new",
        "address": {"name": "Ada", "country": "DE"},
        "parcels": [
            {"sku": "A", "pieces": 2, "label": "#1001/A7"},
            {"sku": "B", "pieces": 1, "label": "#1001/B7"},
        ],
        "lines": [{"sku": "A", "price": Decimal("5.05")}, {"sku": "B", "price": Decimal("10.00")}],
        "skus": ["A", "B"],
        "anything": {"a": 7, "b": [1, 2], "c": {"d": Decimal("20.10")}},
    }
    assert type(made["value"]) is Decimal


def test_json_lists_can_be_walked():
    record = shapes.RECORD | {"extra": {"boxes": [{"s": "A", "n": Decimal(2)}, None, {"s": "B", "n": 3}]}}
    made = mapped(
        """
  parcels:
    each: extra.boxes
    fields: {sku: "require(text(item.s))", pieces: "require(integer(item.n))"}
""",
        record,
    )
    assert made["parcels"] == [{"sku": "A", "pieces": 2}, {"sku": "B", "pieces": 3}]
    assert mapped("  parcels: {each: extra.none, fields: {sku: \"'x'\", pieces: 1}}\n", record)["parcels"] is None


def test_every_failing_field_is_a_problem_with_its_target_path():
    rest = """
  value: total * 100
  contact: email
  parcels:
    each: line_items
    fields: {sku: sku, pieces: quantity * 60}
  address: {name: "'x'", country: status}
"""
    mapping, faults = compiled(rest)
    assert mapping is not None, faults.found
    record = shapes.RECORD | {"name": "far too long a name", "email": "ada at example"}
    with pytest.raises(RecordError) as caught:
        mapping.apply(record, {}, Environment())
    problems = {p.path: p for p in caught.value.problems}
    assert set(problems) == {"reference", "value", "contact", "parcels[0].pieces", "address.country"}
    assert problems["value"].value == "2010.00"
    assert problems["value"].reason == "must be at most 1000, in: total * 100"
    assert problems["contact"].value == "***"
    assert "ada at" not in str(caught.value)


def test_the_index_of_a_failing_item_is_told():
    record = shapes.RECORD | {"line_items": [{"sku": "A", "quantity": q, "price": Decimal(1)} for q in (1, 2, 300)]}
    mapping, _ = compiled("  parcels: {each: line_items, fields: {sku: sku, pieces: quantity}}\n")
    assert mapping is not None
    with pytest.raises(RecordError) as caught:
        mapping.apply(record, {}, Environment())
    assert [p.path for p in caught.value.problems] == ["parcels[2].pieces"]


def test_missing_references_make_the_result_provisional():
    mapping, faults = compiled(
        '  client: ref(customer.id, to="crm.clients")\n  address: {name: \'require(ref(id, to="crm.clients"))\'}\n'
    )
    assert mapping is not None, faults.found
    assert mapping.uses_refs
    environment = Environment()
    assert mapping.apply(shapes.RECORD, {}, environment) == {}
    assert sorted(environment.missing) == [("shop.customers", "3", "crm.clients"), ("shop.orders", "7", "crm.clients")]
    known = Environment(refs={q: "C" + q[1] for q in environment.missing})
    made = mapping.apply(shapes.RECORD, {}, known)
    assert (made["client"], made["address"]) == ("C3", {"name": "C7"})
    unknown = Environment(refs=dict.fromkeys(environment.missing))
    with pytest.raises(RecordError, match=r"address\.name: this is required"):
        mapping.apply(shapes.RECORD, {}, unknown)


def test_origins_name_expression_and_sources():
    mapping, _ = compiled("  parcels: {each: line_items, fields: {sku: sku, pieces: quantity + id}}\n")
    assert mapping is not None
    origins = mapping.origins()
    assert origins["reference"].text == "name" and origins["reference"].sources == ("name",)
    assert origins["parcels[].pieces"].sources == ("line_items[].quantity", "id")
    assert origins["parcels[].pieces"].place.line == 7


def test_earlier_results_are_declared_and_typed():
    head = HEAD.replace("fields:", "uses: {client_record: crm.clients, answer: json}\nfields:")
    mapping, faults = compiled("  client: client_record.id + text(answer.x)\n", head)
    assert mapping is not None, faults.found
    made = mapping.apply(shapes.RECORD, {"client_record": {"id": "C"}, "answer": {"x": 1}}, Environment())
    assert made["client"] == "C1"
    assert set(mapping.names) == {"client_record", "answer"}


def test_own_lookups_come_before_the_projects():
    head = HEAD.replace("fields:", "lookups: {codes: {A: own}}\nfields:")
    mapping, faults = compiled("  client: lookup('codes', line_items[0].sku)\n", head, {"codes": {"A": "project"}})
    assert mapping is not None, faults.found
    assert mapping.apply(shapes.RECORD)["client"] == "own"


FAULTY = [
    ("  valu: id\n", "unknown-target", 7, "Did you mean 'value'?"),
    ("  value: totl\n", "unknown-name", 7, "Did you mean 'total'?"),
    ("  value: name\n", "conversion", 7, "decimal(name)"),
    ("  mood: \"'newer'\"\n", "enum", 7, "Did you mean 'new'?"),
    ("  mood: status\n", "enum", 7, ""),
    ("  address: {country: \"'DE'\"}\n", "missing-field", 7, "name"),
    ("  address: {name: email}\n", "nullable", 7, "coalesce(email"),
    ("  address: name\n", "type", 7, ""),
    ("  address: customer\n", "nullable-ok", 0, ""),
    ("  value: {a: id}\n", "type", 7, ""),
    ("  value: {each: line_items, value: id}\n", "type", 7, ""),
    ("  parcels: {each: line_items}\n", "shape", 7, ""),
    ("  parcels: {each: id, value: id}\n", "type", 7, "list field"),
    ("  parcels: {each: line_items, fields: {sku: sku}}\n", "missing-field", 7, "pieces"),
    ("  parcels: {each: line_items, fields: {sku: sku, pieces: price}}\n", "conversion", 7, "round(price)"),
    ("  parcels: {each: line_items, when: sku, fields: {sku: sku, pieces: 1}}\n", "type", 7, ""),
    (
        "  parcels: {each: line_items, wen: 1, fields: {sku: sku, pieces: 1}}\n",
        "unknown-key",
        7,
        "Did you mean 'when'?",
    ),
    ("  skus: '[null]'\n", "nullable", 7, ""),
    ("  parcels: [1]\n", "shape", 7, "each"),
    ("  address: {name: name, country: \"'Germany'\"}\n", "constraint", 7, ""),
    ("tests: [{given: {}, expct: {}}]\n", "unknown-key", 7, "Did you mean 'expect'?"),
    ("tests: [{expect: {}}]\n", "test", 7, ""),
    ("form: x\n", "unknown-key", 7, "Did you mean 'from'?"),
    ("uses: {a: crm.clint}\n", "unknown-entity", 7, "Did you mean 'crm.clients'?"),
    ("lookups: {a: 1}\n", "lookup", 7, ""),
]


@pytest.mark.parametrize(("rest", "code", "line", "mend"), FAULTY)
def test_a_faulty_mapping_says_file_line_and_how_to_mend(rest, code, line, mend):
    mapping, faults = compiled(rest)
    if code == "nullable-ok":
        assert mapping is not None, faults.found
        assert mapping.apply(shapes.RECORD)["address"] == {"name": "Ada"}
        return
    found = [x for x in faults.found if x.code == f"mapping.{code}"]
    assert found, faults.found
    assert found[0].place.file == "mappings/m.yaml" and found[0].place.line == line
    assert mend in found[0].mend + found[0].what


def test_all_faults_are_told_at_once():
    _, faults = compiled("  valu: id\n  mood: nam\n  client: uper(name)\n", HEAD.replace("  reference: name\n", ""))
    codes = sorted(x.code for x in faults.found)
    assert codes == [
        "mapping.missing-field",
        "mapping.unknown-function",
        "mapping.unknown-name",
        "mapping.unknown-target",
    ]


def test_unknown_entities_are_told():
    mapping, faults = compiled("", HEAD.replace("shop.orders", "shop.order"))
    assert mapping is None
    assert faults.found[0].code == "mapping.unknown-entity"
    assert "shop.orders" in faults.found[0].mend
    assert faults.found[0].place.line == 2


TESTS = """
  parcels: {each: line_items, fields: {sku: sku, pieces: quantity}}
  client: ref(customer.id, to="crm.clients")
tests:
  - name: good
    given: {id: 1, name: "#1", created_at: "2024-05-31T10:00:00Z", total: 5, weight: 1, status: open, test: false,
            customer: {id: 3, name: A}, line_items: [{sku: A, quantity: 2, price: 1.50}]}
    refs: {crm.clients: {"3": C3}}
    expect: {reference: "#1", ship_by: 2024-06-02, client: C3, parcels: [{pieces: 2}], value: null}
  - name: bad
    given: order.json
    expect: {reference: "#2", parcels: [{sku: B}], nothing: 1}
  - name: exact
    given: order.json
    exactly: {reference: "#1", ship_by: 2024-06-02}
  - name: rejected
    given: order.json
    rejects: parcels
  - name: broken
    given: broken.json
    rejects: line_items
  - name: absent
    given: nowhere.json
    expect: {}
"""
ORDER_JSON = (
    b'{"id":1,"name":"#1","created_at":"2024-05-31T10:00:00Z","total":"5","weight":1,"status":"open","test":false,'
    b'"line_items":[{"sku":"A","quantity":2,"price":1.5}]}'
)


def test_example_tests_show_differences_field_by_field():
    mapping, faults = compiled(TESTS)
    assert mapping is not None, faults.found
    files = {"order.json": ORDER_JSON, "broken.json": b'{"line_items": 1}'}

    def read(name):
        if name not in files:
            raise FileNotFoundError(name)
        return files[name]

    results = {r.name: r for r in run_tests(mapping, read)}
    assert results["good"].is_passed, results["good"]
    assert [str(d) for d in results["bad"].differences] == [
        "reference: expected '#2', got '#1'",
        "parcels[0].sku: expected 'B', got 'A'",
        "nothing: expected 1, got no such field",
    ]
    assert [d.path for d in results["exact"].differences] == ["parcels"]
    assert "gave a record" in results["rejected"].error
    assert results["broken"].is_passed
    assert "cannot be run" in results["absent"].error
    assert results["bad"].place.line == 16
