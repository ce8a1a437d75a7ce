"""The JSON Schemas of flow and mapping files agree with what is read."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from accord.errors import Faults
from accord.flow.kinds import step_kinds
from accord.project.schemas import KINDS, schema_for
from accord.settings.node import parse_yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = {"system": "systems", "flow": "flows", "mapping": "mappings"}
PROJECTS = [ROOT / "examples/business", ROOT / "src/accord/cli/templates/init"]
FILES = [("project", project / "accord.yaml") for project in PROJECTS] + [
    (kind, path)
    for project in PROJECTS
    for kind, name in FOLDERS.items()
    for path in sorted((project / name).glob("*.yaml"))
]


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda d: float(d) if isinstance(d, Decimal) else str(d)))


def errors_of(kind: str, value: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema_for(kind)).iter_errors(plain(value))]


def of_text(kind: str, text: str) -> list[str]:
    node = parse_yaml(text, "x.yaml", Faults())
    assert node is not None
    return errors_of(kind, node.plain())


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_a_schema(kind):
    jsonschema.Draft202012Validator.check_schema(schema_for(kind))


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda value: getattr(value, "name", value))
def test_files_of_projects_that_run_are_valid(kind, path):
    text = path.read_text().replace("@NAME@", "acme")
    assert of_text(kind, text) == []


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda value: getattr(value, "name", value))
def test_an_unknown_key_at_the_top_is_refused(kind, path):
    node = parse_yaml(path.read_text().replace("@NAME@", "acme"), path.name, Faults())
    assert node is not None
    assert errors_of(kind, {**node.plain(), "surprise": 1}) != []


FLOW = "flow: x\non: {manual: a.b}\nsteps:\n  - "
STEPS_GOOD = [
    "validate: a.b",
    "map: m",
    "set: {x: a + 1, y: {z: b}}",
    "filter: x > 1",
    "route: [{when: x, steps: [{stop: no}]}, {otherwise: [{log: '\"hi\"'}]}]",
    "split: lines\n    as: all\n    parallel: 3\n    steps: [{call: s.op, with: {a: b}}]",
    "enrich: s.op\n    with: {a: b}\n    into: c",
    "call: s.op\n    undo: {call: s.back}\n    on_error: {attempts: 2, first: 1s, then: continue}",
    "write: a.b\n    mapping: m\n    mode: upsert\n    guarantee: once\n    when: x",
    "send: mail.message\n    with: {to: email}",
    "respond: {status: 201, body: {a: b}}",
    "dedupe: text(id)\n    scope: s",
    "delay: 10m",
    "delay: {until: at}",
    "log: x\n    level: warning",
    "stop:",
]
STEPS_BAD = [
    "vlidate: a.b",
    "validate: 7",
    "validate: a.b\n    mode: x",
    "write: a.b\n    mode: replace",
    "write: a.b\n    guarantee: twice",
    "filter: [a]",
    "route: []",
    "route: [{when: x}]",
    "split: lines",
    "split: lines\n    parallel: 0\n    steps: [{stop: x}]",
    "call: s.op\n    with: text",
    "call: s.op\n    undo: {filter: x}",
    "call: s.op\n    on_error: {attempts: 0}",
    "filter: x\n    as: y",
    "delay: soon",
    "log: x\n    level: loud",
    "respond: {status: 20}",
    "call: s.op\n    write: a.b",
]


@pytest.mark.parametrize("step", STEPS_GOOD)
def test_steps(step):
    assert of_text("flow", FLOW + step) == []


@pytest.mark.parametrize("step", STEPS_BAD)
def test_steps_that_the_check_refuses(step):
    assert of_text("flow", FLOW + step) != []


def test_every_installed_step_is_known():
    assert {key for step in STEPS_GOOD for key in [step.partition(":")[0]]} == set(step_kinds(Faults()))


@pytest.mark.parametrize(
    "trigger",
    [
        "{webhook: a.b, topic: [x, y]}",
        "{poll: a.b, every: 5m}",
        "{files: a.b}",
        '{schedule: "0 2 * * *", zone: Europe/Berlin}',
        "{schedule: {every: 1h}}",
        "[{manual: a.b}, {webhook: a.b}]",
    ],
)
def test_triggers(trigger):
    assert of_text("flow", f"flow: x\non: {trigger}\nsteps: [{{stop: x}}]") == []


@pytest.mark.parametrize("trigger", ["{webhok: a.b}", "{poll: a.b, evry: 5m}", "[]", "{schedule: {evry: 1h}}", "a.b"])
def test_triggers_that_the_check_refuses(trigger):
    assert of_text("flow", f"flow: x\non: {trigger}\nsteps: [{{stop: x}}]") != []


MAPPING = "mapping: x\nfrom: a.b\nto: c.d\n"
MAPPINGS_GOOD = [
    "fields: {a: b, n: 7, t: true, o: {x: y}, l: {each: items, when: ok, fields: {s: t}}, v: {each: items, value: s}}",
    "fields: {a: b}\nuses: {shipment: c.d, raw: json}\nlookups: {codes: {a: 1}}",
    "fields: {a: b}\ntests: [{given: x.json, expect: {a: 1}}, {given: {b: 1}, rejects: a, message: {key: k}}]",
]
MAPPINGS_BAD = [
    "",
    "fields: [a]",
    "fields: {a: [b]}",
    "fields: {l: {each: items}}",
    "fields: {l: {each: items, fields: {}, value: x}}",
    "fields: {l: {each: items, value: x, whn: y}}",
    "fields: {a: b}\ntests: [{given: x.json}]",
    "fields: {a: b}\ntests: [{given: x.json, expect: {}, rejects: a}]",
    "fields: {a: b}\ntests: [{expect: {a: 1}}]",
    "fields: {a: b}\nuses: [c]",
]


@pytest.mark.parametrize("body", MAPPINGS_GOOD)
def test_mappings(body):
    assert of_text("mapping", MAPPING + body) == []


@pytest.mark.parametrize("body", MAPPINGS_BAD)
def test_mappings_that_the_check_refuses(body):
    assert of_text("mapping", MAPPING + body) != []
