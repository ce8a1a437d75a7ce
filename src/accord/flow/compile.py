"""compile_flow: a spec and the project's parts become a Flow, or faults with their lines."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from accord.errors import Faults, Place, did_you_mean
from accord.flow.body import compile_body
from accord.flow.flow import Flow
from accord.flow.flowtests import check_tests
from accord.flow.keys import compile_key, is_path, key_text
from accord.flow.kinds import step_kinds
from accord.flow.parts import DeclaredSystem, Parts
from accord.flow.read import FlowSpec
from accord.flow.step import Plan, State, StepContext, StepKind, find_entity
from accord.flow.trigger import (
    ChangesTrigger,
    FilesTrigger,
    ManualTrigger,
    PollTrigger,
    ScheduleTrigger,
    Trigger,
    WebhookTrigger,
)
from accord.mapping.contract import Contract, compile_contract
from accord.mapping.environment import Environment
from accord.mapping.expression import compile_expression
from accord.mapping.scope import Scope
from accord.mapping.spec import MappingSpec
from accord.record import Entity, Field
from accord.record.types import DateTime
from accord.sdk.http import encode_json

SCHEDULED = {"scheduled_at": Field(type=DateTime())}


def compile_flow(spec: FlowSpec, parts: Parts, faults: Faults, kinds: dict[str, StepKind] | None = None) -> Flow | None:
    """Checks a flow against the parts and compiles it; None when it has errors. Every fault is added, not only the first.
    ``kinds``: the steps it may have, all installed ones unless given."""
    before = len(faults.errors)
    plan = Plan(spec.name, parts, spec.triggers, None, faults)
    plan.kinds = step_kinds(faults) if kinds is None else kinds
    plan.policy = spec.policy
    plan.source = _source(spec, plan)
    entity = plan.source or Entity(name=f"{spec.name}.schedule", fields=SCHEDULED)
    state = State(dict(entity.fields), plan.source.name if plan.source else "")
    state.is_unknown = plan.source is None and not any(isinstance(t, ScheduleTrigger) for t in spec.triggers)
    plan.compile_body = lambda node, inner, at, local: compile_body(
        plan, node, inner, _inner_prefix(at, local), at.policy
    )
    steps = compile_body(plan, spec.steps, state, "")
    check_tests(spec.tests, faults)
    contract = compile_contract(entity, parts.functions, faults, types_only=not plan.is_validated)
    key_of = _key(spec, entity, contract, parts, faults) if not state.is_unknown or plan.source else None
    if len(faults.errors) > before or key_of is None:
        return None
    return Flow(
        name=spec.name,
        summary=spec.summary,
        version=_version(spec, plan),
        triggers=spec.triggers,
        policy=spec.policy,
        effects=tuple(plan.effects),
        systems=frozenset(plan.systems),
        has_respond=plan.has_respond,
        response_timeout_s=spec.response_timeout_s,
        source_entity=plan.source,
        contract=contract,
        partial_contract=_partial(spec, entity, parts, faults),
        key_of=key_of,
        steps=steps,
        start_path="0.validate" if plan.is_validated else "start",
        names=plan.names,
        shapes=plan.shapes,
        mappings=frozenset(plan.mappings),
        tests=spec.tests,
        priority=spec.priority,
        place=spec.place,
    )


def _partial(spec: FlowSpec, entity: Entity, parts: Parts, faults: Faults) -> Contract | None:
    """For deletes and truncates, which tell of a row no more than its key."""
    if not any(isinstance(trigger, ChangesTrigger) for trigger in spec.triggers):
        return None
    fields = {name: msgspec.structs.replace(field, nullable=True) for name, field in entity.fields.items()}
    partial = msgspec.structs.replace(entity, fields=fields, rules=())
    return compile_contract(partial, parts.functions, faults, types_only=True)


def _inner_prefix(at: StepContext, local: str) -> str:
    return f"{at.static_prefix}{at.path}{local}."


def _source(spec: FlowSpec, plan: Plan) -> Entity | None:
    """The one entity all triggers give; None for a schedule or when there is a fault."""
    found: dict[str, Entity] = {}
    for trigger in spec.triggers:
        if isinstance(trigger, ScheduleTrigger):
            continue
        pair = find_entity(trigger.entity, plan, trigger.place)
        if pair is not None:
            found[pair[1].name] = pair[1]
            _check_trigger(trigger, *pair, plan.faults)
    if len(found) > 1 or (found and any(isinstance(t, ScheduleTrigger) for t in spec.triggers)):
        shown = ", ".join([*found, *("a schedule" for t in spec.triggers if isinstance(t, ScheduleTrigger))])
        plan.faults.add(
            "flow.two-sources",
            spec.node.place_of("on"),
            f"The triggers give different records: {shown}.",
            "All triggers of a flow give one entity; write one flow for each.",
        )
    return next(iter(found.values()), None)


def _check_trigger(trigger: Trigger, system: DeclaredSystem, entity: Entity, faults: Faults) -> None:
    can = system.capabilities(entity)
    match trigger:
        case WebhookTrigger(topics=topics):
            known = system.topics()
            if not can.listen:
                _cannot(faults, trigger.place, entity, system, "tells of changes by webhook", "Use {poll: …} instead.")
                return
            for topic in topics if known else ():
                if topic not in known:
                    what = f"The connector '{system.connector}' knows no webhook topic '{topic}'."
                    faults.add("flow.unknown-topic", trigger.place, what, did_you_mean(topic, known))
                elif known[topic] != entity.short_name:
                    what = f"The topic '{topic}' tells of '{system.name}.{known[topic]}', not of '{entity.name}'."
                    mine = [t for t, short in known.items() if short == entity.short_name]
                    faults.add("flow.unknown-topic", trigger.place, what, did_you_mean(topic, mine))
        case PollTrigger():
            if not can.read_changes:
                mend = (
                    "Use {webhook: …} instead."
                    if can.listen
                    else "Declare what an incremental read needs (a cursor field)."
                )
                _cannot(faults, trigger.place, entity, system, "can be polled for changes", mend)
        case ChangesTrigger():
            if not can.stream_changes:
                mend = "It takes a table of PostgreSQL, MariaDB or MySQL (connector sql) with `key` and no `children`; else use {poll: …}."
                _cannot(faults, trigger.place, entity, system, "tells its changes from a log", mend)
        case FilesTrigger():
            if not (can.read_changes or can.listen):
                _cannot(faults, trigger.place, entity, system, "comes as files", "Use a system of connector 'files'.")
        case ManualTrigger() | ScheduleTrigger():
            pass


def _cannot(faults: Faults, place: Place, entity: Entity, system: DeclaredSystem, what: str, mend: str) -> None:
    faults.add(
        "flow.cannot-trigger", place, f"'{entity.name}' (connector '{system.connector}') is nothing that {what}.", mend
    )


def _key(
    spec: FlowSpec, entity: Entity, contract: Contract, parts: Parts, faults: Faults
) -> Callable[[bytes, str], str] | None:
    if spec.key is None:
        return compile_key(entity.key, entity.fields, lambda body: key_text(contract.decode(body), entity.key))
    text = spec.key.value
    if not isinstance(text, str):
        faults.add(
            "flow.bad-expression", spec.key.place, f"'key' is one expression, and this is {spec.key.describe()}."
        )
        return None
    scope = Scope(entity.fields, {}, parts.functions, parts.lookups, entity=entity.name, key=entity.key)
    expression = compile_expression(text, scope, faults, spec.key.place)
    if expression is None:
        return None

    def slow(body: bytes) -> str:
        value = expression.evaluate(
            contract.decode(body), {}, Environment(dt.datetime.fromtimestamp(0, dt.UTC), {}, {})
        )
        return "" if value is None else str(value)

    return compile_key((text,) if is_path(text) else (), entity.fields, slow)


def _version(spec: FlowSpec, plan: Plan) -> str:
    """16 hex digits over the flow's text and that of the mappings, entities and look-up tables it uses (not over where they
    stand, nor over tests, summaries and priority)."""
    parts = plan.parts
    written = {key: node.plain() for key, node in spec.node.items() if key not in ("tests", "summary", "priority")}
    used: list[Any] = [written, repr(spec.policy)]
    used += [_mapping_text(parts.mapping_specs[name]) for name in sorted(plan.mappings)]
    for name in sorted(plan.entities):
        entity = parts.entities[name]
        used.append([name, list(entity.key), repr(entity.fields), [rule.expression for rule in entity.rules]])
    text = encode_json(used)
    tables = {name: table.rows for name, table in parts.lookups.items() if name.encode() in text}
    return hashlib.blake2b(text + encode_json(tables), digest_size=8).hexdigest()


def _mapping_text(spec: MappingSpec) -> Any:
    lookups = {name: [table.rows, repr(table.type)] for name, table in spec.lookups.items()}
    uses = {name: formula.text for name, formula in spec.uses.items()}
    return [spec.name, spec.source, spec.target, uses, _without_places(msgspec.to_builtins(spec.fields)), lookups]


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_places(v)
            for k, v in value.items()
            if k not in ("place", "key_places") or not isinstance(v, dict)
        }
    return [_without_places(v) for v in value] if isinstance(value, list) else value
