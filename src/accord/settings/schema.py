"""JSON Schema (draft 2020-12) of project files, for editors that complete and lint YAML.

Built from the same Structs ``decode`` reads with: descriptions come from ``Meta(description=…)`` and docstrings, defaults and
bounds from the fields. A field of type Node may name a definition: ``Annotated[Node, Meta(extra_json_schema={"x-definition":
"fields"})]``; the caller supplies it to ``struct_schema`` where it is not one of ``DEFINITIONS``.
"""

from __future__ import annotations

import datetime as dt
import enum
import inspect
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

import msgspec

from accord.record.types import FORMATS
from accord.settings.durations import format_duration, format_size
from accord.settings.entity_watch import watch_schema
from accord.settings.fields import SIMPLE_TYPES
from accord.settings.lookup_files import CsvTable
from accord.settings.manifest import KEY as MANIFEST_KEY
from accord.settings.node import Node
from accord.settings.project_file import EnvironmentSpec, ProjectFile
from accord.settings.secret import Secret
from accord.settings.setting_types import (
    is_mapping_type,
    is_sequence_type,
    is_size,
    is_struct,
    is_union,
    setting_fields,
    split_annotated,
)
from accord.settings.system_file import SystemFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
_REFERENCE: Schema = {"type": "string", "pattern": r"\$\{(env|secret):[^}]+\}"}


def _shorthand() -> dict[str, Schema]:
    """Entity fields: see ``accord.settings.fields``."""
    names = [*SIMPLE_TYPES, *(f"{name}?" for name in SIMPLE_TYPES)]
    bound: Schema = {"type": ["number", "string"]}
    length: Schema = {"type": "integer", "minimum": 0}
    field: Schema = {"$ref": "#/$defs/field"}
    shapes = ("type", "list", "object", "enum")
    described: Schema = {
        "type": "object",
        "properties": {
            "type": {
                "$ref": "#/$defs/type",
                "description": "string, integer, decimal …; ? behind it: may be absent or null.",
            },
            "list": {**field, "description": "A list of such items."},
            "object": {"$ref": "#/$defs/fields", "description": "An object with these fields."},
            "enum": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
            "nullable": {"type": "boolean", "description": "May be absent or null."},
            "min": bound,
            "max": bound,
            "length": {"type": "object", "properties": {"min": length, "max": length}, "additionalProperties": False},
            "length_min": length,
            "length_max": length,
            "pattern": {"type": "string", "description": "A regular expression the whole text must match."},
            "format": {"enum": list(FORMATS)},
            "references": {"type": "string", "pattern": r"^[A-Za-z_][\w-]*\.[A-Za-z_][\w-]*$"},
            "personal": {"type": "string", "description": "Personal data of this category; masked wherever it shows."},
            "summary": {"type": "string"},
        },
        "additionalProperties": False,
    }
    names_a_shape: Schema = {"anyOf": [{"required": [shape]} for shape in shapes]}
    return {
        "type": {"anyOf": [{"enum": names}, {"type": "string", "pattern": r"^(list\[.+\]|enum\(.+\))\??$"}]},
        "field": {
            "if": {"type": "object"},
            "then": {"if": names_a_shape, "then": described, "else": {"$ref": "#/$defs/fields"}},
            "else": {"$ref": "#/$defs/type"},
        },
        "fields": {"type": "object", "minProperties": 1, "additionalProperties": field},
        "rule": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object",
                    "properties": {
                        "rule": {"type": "string"},
                        "that": {"type": "string"},
                        "message": {"type": "string"},
                    },
                    "additionalProperties": False,
                },
            ]
        },
    }


def entity_schema(extra_type: type[msgspec.Struct] | None, definitions: dict[str, Schema]) -> Schema:
    """One entity of a system file, with the connector's own keys; their definitions join ``definitions``."""
    own = _Writer(definitions).members(extra_type) if extra_type else {"properties": {}}
    key: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    return {
        "type": ["object", "null"],
        "properties": {
            **own["properties"],
            "key": {**key, "description": "The field, or fields, that identify a record."},
            "fields": {"$ref": "#/$defs/fields"},
            "rules": {"type": ["array", "null"], "items": {"$ref": "#/$defs/rule"}},
            "summary": {"type": "string"},
            **watch_schema(),
            "extends": {"type": "boolean", "description": "Add these fields to those the connector knows."},
        },
        "additionalProperties": extra_type is None,
    }


def struct_schema(
    struct: type[msgspec.Struct],
    *,
    title: str,
    definitions: Mapping[str, Schema] | None = None,
    fields: Mapping[str, Schema] | None = None,
) -> Schema:
    """The schema of a file read as ``struct``. ``definitions`` join ``$defs`` (a step's schema, an expression's); ``fields``
    replaces the schema of single keys of the file, for what is a Node to the Struct."""
    known = {**_shorthand(), **(definitions or {})}
    writer = _Writer(known)
    body = writer.members(struct)
    for key, schema in (fields or {}).items():
        said = body["properties"].get(key, {}).get("description")
        body["properties"][key] = {"description": said, **schema} if said else dict(schema)
    return {"$schema": DIALECT, "title": title, **body, "$defs": known}


class ConnectorTypes(msgspec.Struct, frozen=True):
    """What a connector declares, as far as the schema of a system file needs it."""

    settings: type[msgspec.Struct]
    entity_settings: type[msgspec.Struct] | None = None


def system_schema(connectors: Mapping[str, ConnectorTypes] | None = None) -> Schema:
    """A system file; settings and entity keys follow from its ``connector`` for those given."""
    definitions: dict[str, Schema] = {}
    plain = entity_schema(None, definitions)
    cases = []
    for name, types in (connectors or {}).items():
        settings = f"settings of {name}"
        definitions[settings] = _with_manifest(_Writer(definitions).members(types.settings))
        entity = f"entity of {name}"
        definitions[entity] = entity_schema(types.entity_settings, definitions)
        entities = {"type": ["object", "null"], "additionalProperties": {"$ref": _pointer(entity)}}
        then = {"properties": {"settings": {"$ref": _pointer(settings)}, "entities": entities}}
        cases.append({"if": {"properties": {"connector": {"const": name}}, "required": ["connector"]}, "then": then})
    entities = {"type": ["object", "null"], "additionalProperties": plain}
    fields: dict[str, Schema] = {"settings": {"type": ["object", "null"]}, "entities": entities}
    if connectors:
        fields["connector"] = {"anyOf": [{"enum": sorted(connectors)}, {"type": "string"}]}
    schema = struct_schema(SystemFile, title="Accord system file", definitions=definitions, fields=fields)
    return {**schema, "allOf": cases} if cases else schema


def _with_manifest(settings: Schema) -> Schema:
    """Settings that name a manifest need not be whole: the manifest may bring any key (``accord.settings.manifest``)."""
    if MANIFEST_KEY not in settings["properties"] or "required" not in settings:
        return settings
    rest = {key: value for key, value in settings.items() if key != "required"}
    names_one = {"required": [MANIFEST_KEY]}
    return {**rest, "if": {"not": names_one}, "then": {"required": settings["required"]}}


def project_schema() -> Schema:
    """``accord.yaml``."""
    definitions: dict[str, Schema] = {}
    writer = _Writer(definitions)
    environment, table = writer.of(EnvironmentSpec), writer.of(CsvTable)
    rows = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    return struct_schema(
        ProjectFile,
        title="Accord project file",
        definitions=definitions,
        fields={
            "environments": {"type": ["object", "null"], "additionalProperties": environment},
            "lookups": {
                "type": ["object", "null"],
                "additionalProperties": {"if": {"required": ["csv"]}, "then": table, "else": rows},
            },
        },
    )


def json_schema_for(kind: str, connectors: Mapping[str, ConnectorTypes] | None = None) -> Schema:
    """``project`` or ``system``. Other kinds of file belong to other rooms: see ``struct_schema``. Raises KeyError."""
    if kind not in ("project", "system"):
        raise KeyError(kind)
    return project_schema() if kind == "project" else system_schema(connectors)


def _pointer(name: str) -> str:
    return "#/$defs/" + name.replace("~", "~0").replace("/", "~1").replace(" ", "%20")


_SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Decimal: {"type": "number"},
    type(None): {"type": "null"},
    dt.timedelta: {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$|\$\{env:"},
    dt.date: {"type": "string", "format": "date"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.time: {"type": "string", "format": "time"},
    Secret: {"type": "string", "pattern": r"\$\{secret:[A-Za-z][A-Za-z0-9_.-]*\}"},
    Node: {},
    Any: {},
    object: {},
}
_META = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
    "description": "description",
}


class _Writer:
    """Writes types as schemas; Structs become definitions, so that a Struct may hold itself."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self.definitions = definitions

    def of(self, type_: Any) -> Schema:
        type_, metas = split_annotated(type_)
        schema = self.size() if is_size(metas) else self.bare(type_)
        for meta in metas:
            schema = _constrained(schema, type_, meta)
        return schema

    def size(self) -> Schema:
        return {"type": "string", "pattern": r"^[0-9.]+ ?[KMGTkmgt]?[Ii]?[Bb]$|\$\{env:"}

    def bare(self, type_: Any) -> Schema:
        if is_union(type_):
            return {"anyOf": [self.of(member) for member in get_args(type_)]}
        if get_origin(type_) is Literal:
            return {"enum": list(get_args(type_))}
        if isinstance(type_, type) and issubclass(type_, enum.Enum):
            return {"enum": [member.value for member in type_]}
        if is_struct(type_):
            return self.definition(type_)
        arguments = get_args(type_)
        if is_sequence_type(type_):
            items = self.of(arguments[0]) if arguments else {}
            return {"type": ["array", "null"], "items": items}
        if is_mapping_type(type_):
            return {"type": ["object", "null"], "additionalProperties": self.of(arguments[1]) if arguments else {}}
        schema = dict(_SIMPLE[type_])
        # A number may come from the environment; a text can hold a reference anyway.
        return {"anyOf": [schema, _REFERENCE]} if type_ in (int, float, Decimal, bool) else schema

    def definition(self, struct: type[msgspec.Struct]) -> Schema:
        # Two connectors may name a Struct alike; ours are unique and shown short.
        is_ours = struct.__module__.startswith("accord.settings.")
        name = struct.__name__ if is_ours else f"{struct.__module__}.{struct.__qualname__}"
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name].update(self.members(struct))
        return {"$ref": _pointer(name)}

    def members(self, struct: type[msgspec.Struct]) -> Schema:
        properties: dict[str, Schema] = {}
        config = struct.__struct_config__
        if config.tag_field and config.tag is not None:
            properties[config.tag_field] = {"const": config.tag}
        for field in setting_fields(struct):
            schema = self.of(field.type)
            default = _written(field.default)
            if default is not None and is_size(split_annotated(field.type)[1]):
                default = format_size(default)
            properties[field.key] = schema if default is None else {**schema, "default": default}
        required = [field.key for field in setting_fields(struct) if field.is_required]
        schema = {
            "type": "object" if required else ["object", "null"],
            "description": " ".join((inspect.getdoc(struct) or "").split()),
            "properties": properties,
            "additionalProperties": False,
        }
        return {**schema, "required": required} if required else schema


def _constrained(schema: Schema, type_: Any, meta: msgspec.Meta) -> Schema:
    found = {key: value for name, key in _META.items() if (value := getattr(meta, name)) is not None}
    kind = "Items" if is_sequence_type(type_) else "Properties" if is_mapping_type(type_) else "Length"
    if meta.min_length is not None:
        found[f"min{kind}"] = meta.min_length
    if meta.max_length is not None:
        found[f"max{kind}"] = meta.max_length
    extra = dict(meta.extra_json_schema or {})
    if name := extra.pop("x-definition", None):
        found["$ref"] = _pointer(name)
    return {**schema, **found, **{key: value for key, value in extra.items() if not key.startswith("x-")}}


def _written(default: Any) -> Any:
    """A default as it would stand in YAML; None when it says nothing worth showing."""
    if isinstance(default, dt.timedelta):
        return format_duration(default)
    if isinstance(default, bool | int | str) and default != "":
        return default
    return float(default) if isinstance(default, float | Decimal) else None
