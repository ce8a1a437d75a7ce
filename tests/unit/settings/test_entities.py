"""The shorthand of entities and their fields."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import Faults
from accord.record import Entity, Field
from accord.record import types as t
from accord.record.types import name_of
from accord.record.watch import Quality, SchemaChange
from accord.settings.entities import read_entity
from accord.settings.fields import FIELD_KEYS, TYPE_NAMES, read_field
from accord.settings.node import Node, parse_yaml


class Extra(msgspec.Struct, frozen=True):
    path: str
    page_size: int = 50


def read(
    text: str, base: Entity | None = None, extra: type[msgspec.Struct] | None = None
) -> tuple[Entity | None, list[str]]:
    faults = Faults()
    node = parse_yaml(text, "shop.yaml", faults)
    assert node is not None
    entity = read_entity("shop", "orders", node, extra, faults, base=base)
    return entity, [f"{fault.place.line} {fault.what} {fault.mend}".strip() for fault in faults.found]


def field(text: str) -> tuple[Field | None, list[str]]:
    faults = Faults()
    node = parse_yaml(text, "shop.yaml", faults)
    assert node is not None
    return read_field(node, faults, what="f"), [f"{fault.what} {fault.mend}".strip() for fault in faults.found]


def test_an_entity_as_the_design_writes_it() -> None:
    entity, faults = read(
        """
key: id
summary: Orders of the shop
path: /orders
fields:
  id: integer
  email: {type: string, personal: contact, format: email}
  created_at: datetime
  total_price: {type: decimal, min: 0}
  line_items: {list: {sku: string, quantity: {type: integer, min: 1}, price: decimal}}
  address: {city: string, zip: string?}
  status: {enum: [open, paid], nullable: true}
  tags: list[string?]
  client: {type: string, references: crm.clients, length: {max: 40}}
  note: string?
rules:
  - total_price >= 0
  - {rule: id > 0, message: ids begin at 1}
""".lstrip(),
        extra=Extra,
    )
    assert faults == [] and entity is not None
    assert (entity.name, entity.key, entity.summary, entity.extra) == (
        "shop.orders",
        ("id",),
        "Orders of the shop",
        Extra("/orders"),
    )
    assert [name_of(f.type) for f in entity.fields.values()] == [
        "integer", "string", "datetime", "decimal", "list[object]", "object", "enum(open, paid)", "list[string]", "string", "string",
    ]  # fmt: skip
    assert [name for name, f in entity.fields.items() if f.nullable] == ["status", "note"]
    assert entity.fields["email"].personal == "contact" and entity.fields["client"].length_max == 40
    items = entity.fields["line_items"].type
    assert isinstance(items, t.List) and isinstance(items.item, t.Object) and items.item.fields["quantity"].min == 1
    assert entity.fields["tags"].type == t.List(t.String(), is_item_nullable=True)
    assert [(r.expression, r.message, r.place.line) for r in entity.rules] == [
        ("total_price >= 0", "", 16),
        ("id > 0", "ids begin at 1", 17),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{type: integer, max: 5}", 5),
        ("{type: decimal, max: 5.50}", Decimal("5.50")),
        ("{type: float, max: 5}", 5.0),
        ("{type: date, max: 2026-01-31}", dt.date(2026, 1, 31)),
        ("{type: datetime, max: '2026-01-31T00:00:00Z'}", dt.datetime(2026, 1, 31, tzinfo=dt.UTC)),
        ("{type: duration, max: 2h}", dt.timedelta(hours=2)),
    ],
)
def test_bounds_are_of_the_fields_own_type(text: str, expected: object) -> None:
    found, faults = field(text)
    assert faults == [] and found is not None and found.max == expected and type(found.max) is type(expected)


def test_an_object_may_have_a_field_named_like_a_keyword() -> None:
    found, faults = field("{object: {type: string, list: integer}}")
    assert (
        faults == []
        and found is not None
        and isinstance(found.type, t.Object)
        and list(found.type.fields) == ["type", "list"]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strng", "there is no type 'strng'. Did you mean 'string'?"),
        ("int", "there is no type 'int'. Write 'integer'."),
        ("money?", "there is no type 'money?'. Write 'decimal'."),
        ("list", "Write {list: string}."),
        ("object?", "Write {object: {id: integer}, nullable: true}."),
        ("7", "needs a type, this is the number 7"),
        ("{}", "needs fields"),
        ("{type: decimal, mn: 0}", "unknown key `mn`. Did you mean 'min'?"),
        ("{type: string, list: string}", "`type` and `list` exclude each other"),
        ("{type: string, min: 1}", "type string has no `min`. Use length_min."),
        ("{type: integer, min: 1.5}", "`min` must be a whole number"),
        ("{type: integer, min: true}", "`min` must be a whole number"),
        ("{type: date, max: 2026-31-01}", "must be a day like 2026-01-31"),
        ("{type: datetime, max: '2026-01-31T00:00:00'}", "an instant with its zone"),
        ("{type: decimal, min: 2, max: 1}", "`min` 2 is more than `max` 1"),
        ("{type: integer, length_min: 1}", "type integer has no length"),
        ("{type: string, length: 4}", "`length` must be {min: …, max: …}"),
        ("{type: string, length: {min: 4, max: 2}}", "the shortest length is more than the longest"),
        ("{type: string, length_max: -1}", "a whole number from 0"),
        ("{type: string, pattern: '('}", "no regular expression"),
        ("{type: integer, pattern: '1'}", "`pattern` is for strings"),
        ("{type: string, format: emial}", "Did you mean 'email'?"),
        ("{type: string, references: clients}", "Write system.entity"),
        ("{type: decimal, references: crm.clients}", "a reference is a string or an integer"),
        ("{type: string, personal: Contact Data}", "is no category"),
        ("{type: string, nullable: maybe}", "`nullable` must be true or false"),
        ("{enum: []}", "an enum needs a list of values"),
        ("{enum: [a, a]}", "an enum needs a list of values"),
        ("{enum: [1]}", "must be text, this is the number 1. Put it in quotes."),
        ("{list: {type: integer, min: 1}}", "the items of a list cannot have bounds"),
        ("{id?: integer}", "the mark stands behind the type"),
    ],
)
def test_what_is_wrong_with_a_field(text: str, said: str) -> None:
    found, faults = field(text)
    assert found is None and len(faults) == 1 and said in faults[0], faults


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("key: id", "the key `fields` is missing"),
        ("key: uid\nfields: {id: integer}", "the key 'uid' is not among its fields. Did you mean 'id'?"),
        ("key: [id, id]\nfields: {id: integer}", "the key names a field twice"),
        ("key: id\nfields: {id: integer?}", "never null"),
        ("key: id\nfields: {id: {a: string}}", "never null"),
        ("fields: {id: integer}\nkeys: id", "unknown key `keys`. Did you mean 'key'?"),
        ("fields: {id: integer}\npath: /x", "unknown key `path`"),
        ("fields: {id: integer}\nextends: true", "the connector knows no such entity"),
        ("fields: {id: integer}\nrules: id > 1", "`rules` must be a list"),
        ("fields: {id: integer}\nrules: [{rule: id > 1, mesage: x}]", "Did you mean 'message'?"),
        ("fields: {id: integer}\nrules: [7]", "a rule is an expression"),
        ("[1]", "it must be a mapping"),
        ("fields: {id: integer}\nquality: {volume: 5}", "`volume` of `quality` cannot be"),
        ("fields: {id: integer}\nquality: {new_values: 5%}", "new_values: true"),
        ("fields: {id: integer}\nquality: {nuls: 5%}", "Did you mean 'nulls'?"),
        ("fields: {id: integer}\nquality: often", "`quality` must be a mapping"),
        ("fields: {id: integer}\non_schema_change: thaw", "`on_schema_change` cannot be"),
        ("fields: {id: integer}\non_schema_change: {new: null_value}", "Write one of evolve, freeze."),
        ("fields: {id: integer}\non_schema_change: {nwe: freeze}", "Did you mean 'new'?"),
    ],
)
def test_what_is_wrong_with_an_entity(text: str, said: str) -> None:
    entity, faults = read(text)
    assert entity is None and len(faults) == 1 and said in faults[0], faults


def test_how_an_entity_may_change() -> None:
    entity, faults = read("fields: {id: integer}\nquality: {volume: 50%, nulls: 5 points, new_values: true}")
    assert not faults
    assert entity is not None
    assert entity.quality == Quality(volume=0.5, nulls=0.05, new_values=True)
    assert entity.on_schema_change == SchemaChange()
    entity, _ = read("fields: {id: integer}\non_schema_change: freeze")
    assert entity is not None
    assert set(msgspec.structs.astuple(entity.on_schema_change)) == {"freeze"}
    entity, _ = read("fields: {id: integer}\non_schema_change: {new: freeze, missing: null_value}")
    assert entity is not None
    assert msgspec.structs.astuple(entity.on_schema_change) == ("freeze", "null_value", "reject_row")


def test_an_entity_the_connector_knows_is_extended_or_narrowed() -> None:
    known = {"id": Field(type=t.Integer()), "name": Field(type=t.String())}
    base = Entity(name="shop.orders", fields=known, key=("id",), extra=Extra("/known"))
    wider, faults = read("extends: true\nfields: {note: string?}", base, Extra)
    assert faults == [] and wider is not None and list(wider.fields) == ["id", "name", "note"]
    assert wider.key == ("id",) and wider.extra == Extra("/known")
    narrower, faults = read("fields: {id: integer}", base, Extra)
    assert faults == [] and narrower is not None and list(narrower.fields) == ["id"] and narrower.key == ("id",)
    same, faults = read("", base, Extra)
    assert faults == [] and same is not None and same.fields == known
    other, faults = read("path: /other\nfields: {name: string}", base, Extra)
    assert faults == [] and other is not None and other.extra == Extra("/other") and other.key == ()


words = st.sampled_from(
    [*FIELD_KEYS, *TYPE_NAMES, "key", "fields", "rules", "extends", "id", "list[string]?", "enum(a, b)", "("]
)
tree = st.recursive(
    words | st.integers(-3, 3) | st.booleans() | st.none() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(words, children, max_size=4),
    max_leaves=12,
)


@given(tree)
@settings(max_examples=400, deadline=None)
def test_any_declaration_gives_an_entity_or_a_fault(data: Any) -> None:
    for base in (None, Entity(name="shop.orders", fields={"id": Field(type=t.Integer())}, key=("id",))):
        faults = Faults()
        entity = read_entity("shop", "orders", Node.of(data), None, faults, base=base)
        assert (entity is None) == bool(faults.errors)
