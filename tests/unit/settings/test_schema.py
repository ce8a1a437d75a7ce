"""The JSON Schemas editors use agree with what Accord reads."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any

import jsonschema
import msgspec
import pytest
from msgspec import Meta

from accord.errors import Faults
from accord.settings.entities import read_entity
from accord.settings.node import Node, parse_yaml
from accord.settings.project_file import read_project_file
from accord.settings.schema import ConnectorTypes, json_schema_for, struct_schema
from accord.settings.secret import Secret
from accord.settings.system_file import read_system_file


class ShopSettings(msgspec.Struct, frozen=True):
    """How to reach the shop."""

    store: Annotated[str, Meta(description="The shop's address.")]
    token: Secret
    page_size: Annotated[int, Meta(ge=1, le=250, description="Records a page.")] = 100
    manifest: str = ""


class ShopEntity(msgspec.Struct, frozen=True):
    path: str


CONNECTORS = {"shop": ConnectorTypes(ShopSettings, ShopEntity)}


def plain(text: str) -> Any:
    node = parse_yaml(text, "x.yaml", Faults())
    assert node is not None
    return json.loads(json.dumps(node.plain(), default=lambda d: float(d) if isinstance(d, Decimal) else d))


def is_valid(schema: dict[str, Any], text: str) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(plain(text)))


PROJECTS_GOOD = [
    "name: acme",
    "name: acme\nzone: Europe/Berlin\nenvironments:\n",
    "name: acme\nenvironments: {default: {secrets: [environment, {file: s.accord}], drain: 10s, intake: {body_size_max: 5MB}}}",
    "name: acme\nenvironments: {x: {intake: {requests_max: '${env:N}'}, api_token: '${secret:t}', systems: {shop: {settings: {a: 1}}}}}",
    "name: acme\nlookups: {codes: {a: 1, b: x}, names: {csv: a.csv, key: a, value: b}}\ndefaults: {on_error: {attempts: 3}}",
]
PROJECTS_BAD = [
    "nme: acme",
    "zone: UTC",
    "name: 7",
    "name: a b",
    "name: acme\nenvironments: {x: {adress: a}}",
    "name: acme\nenvironments: {x: {drain: 10}}",
    "name: acme\nenvironments: {x: {api_token: open}}",
    "name: acme\nenvironments: {x: {intake: {requests_max: 0}}}",
    "name: acme\nenvironments: {x: {intake: {body_size_max: 5}}}",
    "name: acme\nenvironments: {x: {store: {kind: sqllite}}}",
    "name: acme\nenvironments: {x: {secrets: [env]}}",
]


@pytest.mark.parametrize("text", PROJECTS_GOOD)
def test_good_project_files_pass_schema_and_reader(text: str) -> None:
    faults = Faults()
    assert read_project_file(parse_yaml(text, "accord.yaml", faults), faults) is not None and faults.found == []
    jsonschema.Draft202012Validator(json_schema_for("project")).validate(plain(text))


@pytest.mark.parametrize("text", PROJECTS_BAD)
def test_bad_project_files_fail_schema_and_reader(text: str) -> None:
    faults = Faults()
    read_project_file(parse_yaml(text, "accord.yaml", faults), faults)
    assert faults.errors and not is_valid(json_schema_for("project"), text)


FIELDS_GOOD = [
    "id: integer",
    "note: string?",
    "tags: list[string]",
    "x: {type: decimal, min: 0, max: 1.5}",
    "x: {list: {sku: string, n: {type: integer, min: 1}}}",
    "x: {list: string}",
    "x: {enum: [a, b], nullable: true}",
    "x: {a: {b: {c: string}}}",
    "x: {object: {type: string}}",
    "x: {type: string, format: email, length: {min: 1}, pattern: '.*', references: crm.clients, personal: contact}",
]
FIELDS_BAD = [
    "id: int",
    "id: 7",
    "x: {type: decimal, mn: 0}",
    "x: {type: strng}",
    "x: {a: {b: {c: strin}}}",
    "x: {enum: [1]}",
    "x: {enum: []}",
    "x: {type: string, format: emial}",
    "x: {type: string, references: clients}",
    "x: {}",
]


@pytest.mark.parametrize(("text", "good"), [(t, True) for t in FIELDS_GOOD] + [(t, False) for t in FIELDS_BAD])
def test_fields_in_schema_and_reader(text: str, good: bool) -> None:
    file = f"system: shop\nconnector: other\nentities:\n  orders:\n    fields:\n      {text}\n"
    faults = Faults()
    system = read_system_file(parse_yaml(file, "shop.yaml", faults), faults)
    assert system is not None and system.entities is not None
    entity = read_entity("shop", "orders", system.entities["orders"], None, faults)
    assert (entity is not None) is good and is_valid(json_schema_for("system"), file) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("connector: shop\nsettings: {store: a, token: '${secret:t}', page_size: 5}", True),
        ("connector: shop\nsettings: {store: a, token: open}", False),
        ("connector: shop\nsettings: {store: a, token: '${secret:t}', page_size: 0}", False),
        ("connector: shop\nsettings: {store: a, token: '${secret:t}', pages: 0}", False),
        ("connector: shop\nsettings: {token: '${secret:t}'}", False),
        ("connector: shop\nsettings: {manifest: manifests/shop.yaml, token: '${secret:t}'}", True),
        ("connector: shop\nentities: {orders: {path: /x, fields: {id: integer}}}", True),
        ("connector: shop\nentities: {orders: {pth: /x, fields: {id: integer}}}", False),
        ("connector: stranger\nsettings: {anything: 1}\nentities: {orders: {topic: x, fields: {id: integer}}}", True),
        ("connector: shop\nrate_limit: {requests: 2, per: 1s}", True),
        ("connector: shop\nrate_limit: {request: 2}", False),
    ],
)
def test_settings_follow_the_connector(text: str, good: bool) -> None:
    assert is_valid(json_schema_for("system", CONNECTORS), f"system: shop\n{text}\n") is good


def test_structs_of_one_name_in_two_connectors_stay_apart() -> None:
    def connector(module: str, key: str) -> ConnectorTypes:
        paging = msgspec.defstruct("Paging", [(key, int)], module=module)
        return ConnectorTypes(msgspec.defstruct("Settings", [("paging", paging)], module=module))

    schema = json_schema_for("system", {"one": connector("one.spec", "page"), "two": connector("two.spec", "offset")})
    for name, key, other in (("one", "page", "offset"), ("two", "offset", "page")):
        assert is_valid(schema, f"system: s\nconnector: {name}\nsettings: {{paging: {{{key}: 1}}}}")
        assert not is_valid(schema, f"system: s\nconnector: {name}\nsettings: {{paging: {{{other}: 1}}}}")


def test_descriptions_and_defaults_are_shown() -> None:
    schema = json_schema_for("system", CONNECTORS)
    page_size = schema["$defs"]["settings of shop"]["properties"]["page_size"]
    assert page_size["description"] == "Records a page." and page_size["default"] == 100 and page_size["maximum"] == 250
    intake = json_schema_for("project")["$defs"]["IntakeBounds"]["properties"]
    assert intake["body_size_max"]["default"] == "5MB" and "413" in intake["body_size_max"]["description"]


def test_every_setting_of_the_project_file_is_described() -> None:
    schema = json_schema_for("project")
    own = [name for name in schema["$defs"] if name[0].isupper()]
    bare = {
        f"{name}.{key}"
        for name in own
        for key, value in schema["$defs"][name]["properties"].items()
        if "description" not in value and not any("$ref" in part for part in (value, *value.get("anyOf", ())))
    }
    assert bare == {"CsvTable.delimiter"}


def test_other_rooms_add_their_own_files() -> None:
    class Step(msgspec.Struct):
        write: str
        inner: "list[Step]" = []  # noqa: UP037

    class Flow(msgspec.Struct):
        flow: str
        steps: Annotated[list[Node], Meta(description="What is done.")]

    step = {"type": "object", "properties": {"write": {"type": "string"}}, "required": ["write"]}
    schema = struct_schema(
        Flow,
        title="Accord flow",
        definitions={"step": step},
        fields={"steps": {"type": "array", "items": {"$ref": "#/$defs/step"}}},
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["steps"]["description"] == "What is done."
    assert is_valid(schema, "flow: a\nsteps: [{write: b}]") and not is_valid(schema, "flow: a\nsteps: [{wrte: b}]")


@pytest.mark.parametrize("kind", ["project", "system"])
def test_schemas_are_valid_json_schema(kind: str) -> None:
    schema = json_schema_for(kind, CONNECTORS)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    with pytest.raises(KeyError):
        json_schema_for("nothing")
