"""JSON Schemas of all files of a project, for editors that complete and lint YAML.

Connectors' settings and steps are those installed here, a stranger's among them. What a schema refuses, the check refuses too;
the check sees more (names, types, line by line).
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Any

import msgspec

from accord.errors import NOWHERE, Faults
from accord.flow.bulk.compile import STEPS
from accord.flow.bulk.read import MANUAL, BulkFile
from accord.flow.bulk.write import write_kind
from accord.flow.flowtests import DeclaredExpect, DeclaredTest
from accord.flow.kinds import step_kinds
from accord.flow.policy import PolicySpec
from accord.flow.read import NAME, FlowFile
from accord.flow.step import StepKind
from accord.flow.steps.respond import Answer
from accord.flow.trigger import TRIGGER_SPECS
from accord.project.connectors import GROUP, Connectors
from accord.settings.node import Node
from accord.settings.schema import DIALECT, ConnectorTypes, Schema, json_schema_for, struct_schema
from accord.settings.setting_types import setting_fields

KINDS = ("project", "system", "flow", "mapping")

_EXPRESSION: Schema = {"type": ["string", "number", "boolean", "null"], "description": "An expression."}
_OBJECT: Schema = {"type": "object"}
_ENTITY = r"^[A-Za-z_][\w-]*\.[A-Za-z_][\w-]*$"
_STEPS: Schema = {"$ref": "#/$defs/steps"}
_DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$"}


def schema_for(kind: str) -> Schema:
    """The schema of one kind of file (``KINDS``). Raises KeyError."""
    if kind == "flow":
        return flow_schema()
    if kind == "mapping":
        return mapping_schema()
    return json_schema_for(kind, _connectors())


def _connectors() -> dict[str, ConnectorTypes]:
    """Every installed connector; one that cannot be imported is left out (the check names it where it is used)."""
    finder, faults = Connectors(), Faults()
    names = sorted(entry.name for entry in entry_points(group=GROUP))
    found = {name: finder.find(name, NOWHERE, faults) for name in names}
    return {n: ConnectorTypes(kind.settings, kind.entity_settings) for n, kind in found.items() if kind is not None}


def flow_schema() -> Schema:
    """A flow file: a step is recognised by its key, a bulk flow by ``read``."""
    message, bulk = _message_flow_schema(), _bulk_flow_schema()
    for one in (message, bulk):
        one.pop("$schema", None)
    definitions = {**bulk.pop("$defs"), **message.pop("$defs")}
    return {
        "$schema": DIALECT,
        "title": "Accord flow",
        "type": "object",
        "properties": {"flow": {}, "read": {"description": "What a bulk flow reads; other flows have none."}},
        "if": {"required": ["read"]},
        "then": bulk,
        "else": message,
        "$defs": definitions,
    }


def _bulk_flow_schema() -> Schema:
    definitions: dict[str, Schema] = {}
    policy = _part(PolicySpec, definitions, "on_error")
    kinds = {key: msgspec.structs.replace(kind, gives=False) for key, kind in step_kinds(Faults()).items()}
    kinds["write"] = write_kind([], has_cursor=False, is_whole_at_times=False)
    for key in STEPS:
        definitions[f"bulk {key}"] = _step(kinds[key], policy, definitions)
        definitions[f"bulk {key}"]["properties"].pop("on_error")
    steps: Schema = {"type": "array", "minItems": 1, "maxItems": 500}
    steps["items"] = {"anyOf": [{"$ref": f"#/$defs/bulk%20{key}"} for key in STEPS]}
    definitions["bulk steps"] = steps
    definitions["bulk split"]["properties"]["steps"] = {"$ref": "#/$defs/bulk%20steps"}
    starts: list[Schema] = [_part(TRIGGER_SPECS[key], definitions, f"trigger {key}") for key in ("schedule", "files")]
    start: Schema = {"anyOf": [{"const": MANUAL}, *starts]}
    return struct_schema(
        BulkFile,
        title="bulk flow",
        definitions=definitions,
        fields={
            **_flow_fields(policy),
            "on": {
                "anyOf": [start, {"type": "array", "minItems": 1, "items": start}],
                "description": "When it runs: by hand, at times, when files arrive.",
            },
            "steps": {"$ref": "#/$defs/bulk%20steps"},
            "stop_after": {
                "anyOf": [
                    {"type": "integer", "minimum": 0},
                    {"type": "string", "pattern": r"^\s*[0-9.]+\s*%?\s*(rejects?)?\s*$"},
                ],
                "description": "The run stops when there are more rejects: 1% rejects, or a number.",
            },
            "tests": {"type": ["array", "null"], "items": _flow_test(definitions)},
        },
    )


def _flow_fields(policy: Schema) -> dict[str, Schema]:
    return {
        "flow": {"type": "string", "pattern": f"^{_pattern(NAME)}$", "description": "The flow's name."},
        "summary": {"type": "string", "description": "What it does, in a sentence."},
        "key": {**_EXPRESSION, "description": "Messages of one key run in order; different keys in parallel."},
        "on_error": policy,
    }


def _message_flow_schema() -> Schema:
    definitions: dict[str, Schema] = {}
    policy = _part(PolicySpec, definitions, "on_error")
    kinds = step_kinds(Faults())
    for kind in kinds.values():
        definitions[f"step {kind.key}"] = _step(kind, policy, definitions)
    steps = [{"$ref": f"#/$defs/step%20{key}"} for key in kinds]
    definitions["steps"] = {"type": "array", "minItems": 1, "maxItems": 500, "items": {"anyOf": steps}}
    triggers = [_part(spec, definitions, f"trigger {key}") for key, spec in TRIGGER_SPECS.items()]
    trigger: Schema = {"anyOf": triggers}
    return struct_schema(
        FlowFile,
        title="Accord flow",
        definitions=definitions,
        fields={
            **_flow_fields(policy),
            "on": {
                "anyOf": [trigger, {"type": "array", "minItems": 1, "items": trigger}],
                "description": "What starts it.",
            },
            "steps": _STEPS,
            "response_timeout": {**_DURATION, "description": "How long a caller waits for `respond`."},
            "tests": {"type": ["array", "null"], "items": _flow_test(definitions)},
        },
    )


def _pattern(name: re.Pattern[str]) -> str:
    return name.pattern.removesuffix(r"\Z")


def _part(struct: type[Any], definitions: dict[str, Schema], name: str, **fields: Schema) -> Schema:
    """A reference to a Struct's schema; it and what it uses join ``definitions``."""
    whole = struct_schema(struct, title=name, fields=fields)
    definitions.update({key: value for key, value in whole.pop("$defs").items() if key not in definitions})
    whole.pop("$schema")
    definitions[name] = whole
    return {"$ref": f"#/$defs/{name.replace(' ', '%20')}"}


def _step(kind: StepKind, policy: Schema, definitions: dict[str, Schema]) -> Schema:
    nodes = {
        field.key: _node_of(kind.key, field.key) for field in setting_fields(kind.settings) if _is_node(field.type)
    }
    if kind.key == "respond":
        nodes["respond"] = _part(Answer, definitions, "answer")
    whole = struct_schema(kind.settings, title=kind.key, fields=nodes)
    definitions.update({key: value for key, value in whole["$defs"].items() if key not in definitions})
    properties: dict[str, Schema] = {
        **whole["properties"],
        "when": {**_EXPRESSION, "description": "The step runs only when this is true."},
        "summary": {"type": "string", "description": "What the step is for."},
        "on_error": policy,
    }
    properties[kind.key] = {**properties[kind.key], "description": kind.summary}
    if kind.gives:
        properties["as"] = {"type": "string", "pattern": r"^[A-Za-z_]\w*$", "description": "The name of its result."}
    if kind.is_effect:
        effects = [{"$ref": f"#/$defs/step%20{key}"} for key in ("write", "call", "send")]
        properties["undo"] = {"anyOf": effects, "description": "Runs when the flow is given up later."}
        properties["guarantee"] = {"const": "once", "description": "The check fails when it cannot be kept."}
    required = sorted({kind.key, *whole.get("required", ())})
    return {
        "type": "object",
        "description": kind.summary,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _is_node(type_: Any) -> bool:
    return Node in (type_, *getattr(type_, "__args__", ()))


def _node_of(step: str, field: str) -> Schema:
    """What the keys of the built-in steps hold that are read by the step itself; anything for a stranger's."""
    branch = {
        "type": "object",
        "properties": {"when": _EXPRESSION, "steps": _STEPS, "otherwise": _STEPS},
        "additionalProperties": False,
        "oneOf": [{"required": ["when", "steps"]}, {"required": ["otherwise"]}],
    }
    until = {
        "type": "object",
        "properties": {"until": _EXPRESSION},
        "required": ["until"],
        "additionalProperties": False,
    }
    known: dict[tuple[str, str], Schema] = {
        ("split", "steps"): _STEPS,
        ("route", "route"): {"type": "array", "minItems": 1, "items": branch},
        ("delay", "delay"): {"anyOf": [_DURATION, until]},
        ("set", "set"): {"type": "object", "minProperties": 1},
        **{(step_, "with"): _OBJECT for step_ in ("call", "write", "send", "enrich")},
        **{(s, s): _EXPRESSION for s in ("split", "filter", "dedupe", "log")},
        ("enrich", "key"): _EXPRESSION,
    }
    return known.get((step, field), {})


def _flow_test(definitions: dict[str, Schema]) -> Schema:
    effects: Schema = {"type": ["array", "null"]}
    expect = _part(
        DeclaredExpect,
        definitions,
        "expect",
        writes=effects,
        calls=effects,
        sends=effects,
        undone=effects,
        links=effects,
        logs=effects,
        response=_OBJECT,
        rejects=_OBJECT,
        stopped={"type": ["boolean", "string"]},
        record=_OBJECT,
    )
    given: Schema = {"type": ["object", "string"], "description": "A record, or the name of a JSON file."}
    answers: Schema = {
        "type": ["object", "null"],
        "description": "What systems answer, by target, step path or `as` name.",
    }
    return _part(DeclaredTest, definitions, "test", given=given, expect=expect, answers=answers)


def mapping_schema() -> Schema:
    """A mapping file (``accord.mapping.spec``)."""
    entity: Schema = {"type": "string", "pattern": _ENTITY}
    return {
        "$schema": DIALECT,
        "title": "Accord mapping",
        "type": "object",
        "properties": {
            "mapping": {"type": "string", "minLength": 1, "description": "The mapping's name."},
            "summary": {"type": "string"},
            "from": {**entity, "description": "The entity of the records it takes: system.entity."},
            "to": {**entity, "description": "The entity of the records it makes: system.entity."},
            "fields": {"$ref": "#/$defs/fields", "description": "target field: expression over the source's fields"},
            "uses": {
                "type": ["object", "null"],
                "additionalProperties": {"type": "string"},
                "description": "Earlier results it reads: name: system.entity (or json).",
            },
            "lookups": {
                "type": ["object", "null"],
                "additionalProperties": {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {"type": ["string", "number", "boolean"]},
                },
                "description": "Look-up tables of this mapping only.",
            },
            "tests": {"type": ["array", "null"], "items": {"$ref": "#/$defs/test"}},
        },
        "required": ["mapping", "from", "to", "fields"],
        "additionalProperties": False,
        "$defs": {**_mapping_fields(), "test": _mapping_test()},
    }


def _mapping_fields() -> dict[str, Schema]:
    each: Schema = {
        "type": "object",
        "properties": {
            "each": {**_EXPRESSION, "description": "The list whose items become the items of this one."},
            "when": {**_EXPRESSION, "description": "Which items."},
            "fields": {"$ref": "#/$defs/fields", "description": "What each item becomes: an object."},
            "value": {**_EXPRESSION, "description": "What each item becomes: a value."},
        },
        "required": ["each"],
        "oneOf": [{"required": ["fields"]}, {"required": ["value"]}],
        "additionalProperties": False,
    }
    return {
        "fields": {"type": "object", "additionalProperties": {"$ref": "#/$defs/field"}},
        "field": {
            "type": ["string", "number", "boolean", "null", "object"],
            "if": {"type": "object"},
            "then": {"if": {"required": ["each"]}, "then": each, "else": {"$ref": "#/$defs/fields"}},
        },
    }


def _mapping_test() -> Schema:
    record: Schema = {"type": "object"}
    optional: Schema = {"type": ["object", "null"]}
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "given": {"type": ["object", "string"], "description": "A record, or the name of a JSON or YAML file."},
            "expect": {**record, "description": "Some fields of the result."},
            "exactly": {**record, "description": "All fields of the result."},
            "rejects": {"type": "string", "description": "The field path, or part of the reason, of a rejection."},
            "message": {**optional, "description": "message.* as the mapping sees it."},
            "names": {**optional, "description": "Earlier results, by name."},
            "refs": {**optional, "description": "Cross-references: {crm.clients: {'7': C-7}}."},
        },
        "required": ["given"],
        "oneOf": [{"required": [way]} for way in ("expect", "exactly", "rejects")],
        "additionalProperties": False,
    }
