"""What a step is, for those who write one.

A step is one file that names a ``StepKind`` by an entry point of the group ``accord.steps``; the entry point's name is the key
by which flows write it. ``compile`` looks at the declaration (adding faults), changes the static state for the steps after it,
and returns the function that runs: a generator that yields commands and changes its frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from accord.errors import Faults, Place, did_you_mean
from accord.flow.commands import ErrorPolicy
from accord.flow.effects import EffectInfo
from accord.flow.parts import DeclaredSystem, Parts
from accord.flow.running import Asking, Frame, Step, Undo
from accord.flow.shape import StepShape
from accord.flow.trigger import Trigger
from accord.mapping.expression import Expression, compile_expression
from accord.mapping.mapping import Mapping
from accord.mapping.scope import Scope
from accord.record import Entity, Field
from accord.record.types import Json, Object
from accord.sdk.connector import Operation
from accord.settings.node import Node

RunStep: TypeAlias = Callable[[Frame], Asking]


class StepKind(msgspec.Struct, frozen=True, kw_only=True):
    """``key`` recognises the step; ``settings`` are its keys, read with ``settings.decode`` (a field of type Node passes through).

    ``gives``: it may have ``as`` (its ``compile`` tells the result's field with ``StepContext.bind``). ``is_effect``: it changes
    the outside, so it may have ``undo`` and ``guarantee``. ``ends``: no step of the same list can come after it. ``compile``
    gets an instance of ``settings``.
    """

    key: str
    settings: type[msgspec.Struct]
    compile: Callable[[Any, StepContext], RunStep | None]
    summary: str = ""
    gives: bool = False
    is_effect: bool = False
    ends: bool = False


class State:
    """What is known, before a run, of the record and the names at one place of a flow.

    ``entity``: full name of the entity the record is of ('' when it is of none). ``is_item``: inside a split.
    ``is_unknown``: an earlier fault hides what flows here, so that expressions are not checked against it.
    """

    def __init__(
        self, fields: dict[str, Field], entity: str = "", names: dict[str, Field] | None = None, is_item: bool = False
    ) -> None:
        self.fields = fields
        self.entity = entity
        self.names = names or {}
        self.is_item = is_item
        self.is_unknown = False

    def copy(self) -> State:
        copied = State(dict(self.fields), self.entity, dict(self.names), self.is_item)
        copied.is_unknown = self.is_unknown
        return copied


class Plan:
    """What compiling one flow collects."""

    def __init__(
        self, flow: str, parts: Parts, triggers: tuple[Trigger, ...], source: Entity | None, faults: Faults
    ) -> None:
        self.flow = flow
        self.parts = parts
        self.triggers = triggers
        self.source = source
        self.faults = faults
        self.policy = ErrorPolicy()
        self.kinds: dict[str, StepKind] = {}  # steps that may be used, by key
        self.effects: list[EffectInfo] = []
        self.systems: set[str] = set()
        self.entities: set[str] = set()
        self.mappings: set[str] = set()
        self.names: dict[str, str] = {}  # static path of a step to its ``as`` name
        self.shapes: dict[str, StepShape] = {}  # by static path
        self.has_respond = False
        self.is_validated = False  # the source entity's full contract is applied when the message is decoded
        self.compile_body: Callable[[Node, State, StepContext, str], tuple[Step, ...]] = _no_body

    def use_system(self, name: str) -> None:
        self.systems.add(name)


def _no_body(node: Node, state: State, at: StepContext, prefix: str) -> tuple[Step, ...]:
    raise NotImplementedError("compile_flow sets Plan.compile_body")


class Answered(msgspec.Struct, frozen=True):
    """The type of a step's answer, and how its plain data becomes a value of it."""

    field: Field
    read: Callable[[Any], Any]


class StepContext:
    """One step being compiled. ``path``: its local path (``3.write``); ``static_prefix``: what stands before it in full paths."""

    def __init__(
        self,
        plan: Plan,
        state: State,
        node: Node,
        kind: StepKind,
        path: str,
        static_prefix: str,
        *,
        policy: ErrorPolicy | None,
    ) -> None:
        self.plan = plan
        self.parts = plan.parts
        self.faults = plan.faults
        self.state = state
        self.node = node
        self.kind = kind
        self.path = path
        self.static_prefix = static_prefix
        self.policy = policy
        self.as_name = ""
        self.wants_once = False
        self.undo: Undo | None = None
        self.answer: Answered | None = None
        self.used_mapping: Mapping | None = None

    def place(self, key: str = "") -> Place:
        return self.node.place_of(key or self.kind.key)

    def fault(self, code: str, what: str, mend: str = "", *, key: str = "") -> None:
        self.faults.add(code, self.place(key), what, mend)

    def warn(self, code: str, what: str, mend: str = "", *, key: str = "") -> None:
        self.faults.add(code, self.place(key), what, mend, severity="warning")

    @property
    def is_conditional(self) -> bool:
        """The step may be passed over, so what it changes may not have changed."""
        return self.node.get("when") is not None or (self.policy is not None and self.policy.then == "continue")

    @property
    def scope(self) -> Scope:
        entity = self.parts.entities.get(self.state.entity)
        return Scope(
            self.state.fields,
            self.state.names,
            self.parts.functions,
            self.parts.lookups,
            entity=self.state.entity,
            key=entity.key if entity else (),
            entities=frozenset(self.parts.entities) | self.parts.broken,
        )

    def expression(self, node: Node, expected: Field | None = None, what: str = "the value") -> Expression | None:
        """Compiles an expression (``what`` names it in messages); numbers, true, false and null written plainly are constants."""
        value = node.value
        if isinstance(value, dict | list):
            self.faults.add(
                "flow.bad-expression", node.place, f"An expression is one text, and this is {node.describe()}."
            )
            return None
        text = (
            {None: "null", True: "true", False: "false"}[value]
            if value is None or isinstance(value, bool)
            else str(value)
        )
        if self.state.is_unknown:
            return None
        return compile_expression(text, self.scope, self.faults, node.place, expected, what=what)

    def system(self, name: str, *, key: str = "") -> DeclaredSystem | None:
        found = self.parts.systems.get(name)
        if found is None and name not in self.parts.broken:
            self.fault(
                "flow.unknown-system",
                f"There is no system '{name}'.",
                did_you_mean(name, self.parts.system_names),
                key=key,
            )
        if found is not None:
            self.plan.use_system(name)
        return found

    def entity(self, name: str, *, key: str = "") -> tuple[DeclaredSystem, Entity] | None:
        """The system and entity of ``system.entity``; a fault when there is none."""
        return find_entity(name, self.plan, self.place(key))

    def operation(self, name: str) -> tuple[DeclaredSystem, Operation] | None:
        """The system and operation of ``system.operation``; a fault when there is none."""
        system_name, dot, short = name.partition(".")
        if not dot:
            self.fault("flow.unknown-operation", f"'{name}' names no operation.", "Write it as system.operation.")
            return None
        system = self.system(system_name)
        if system is None:
            return None
        operations = system.operations()
        found = operations.get(short)
        if found is None:
            known = did_you_mean(short, operations) or f"A system of connector '{system.connector}' has none here."
            self.fault("flow.unknown-operation", f"System '{system_name}' has no operation '{short}'.", known)
            return None
        return system, found

    def mapping(self, name: str, *, key: str = "mapping") -> Mapping | None:
        found = self.parts.mappings.get(name)
        if found is None and name not in self.parts.broken:
            self.fault(
                "flow.unknown-mapping",
                f"There is no mapping '{name}'.",
                did_you_mean(name, self.parts.mappings),
                key=key,
            )
        if found is not None:
            self.plan.mappings.add(name)
            self.used_mapping = found
        return found

    def takes_record_of(self, entity: str, who: str, *, key: str = "") -> bool:
        """True when the record here is of ``entity``; else a fault that says what flows here."""
        if self.state.entity == entity:
            return True
        if self.state.is_unknown or entity in self.parts.broken:
            return False
        if self.state.entity:
            flows = f"a record of '{self.state.entity}' flows here"
        elif self.state.is_item:
            flows = "an item of a split flows here"
        else:
            flows = "the record here is of no entity any more (a step before it changed its fields)"
        self.fault(
            "flow.wrong-record",
            f"{who} takes a record of '{entity}', and {flows}.",
            "Map to it first, or name the fields with 'with:'.",
            key=key,
        )
        return False

    def can_apply(self, mapping: Mapping, *, key: str = "") -> bool:
        """True when the record and the names here are what the mapping reads; else faults."""
        is_right = self.takes_record_of(mapping.source.name, f"mapping '{mapping.name}'", key=key)
        for name, wanted in mapping.names.items():
            given = self.state.names.get(name)
            if given is None:
                mend = did_you_mean(name, self.state.names) or f"Give an earlier step 'as: {name}'."
                self.fault(
                    "flow.unknown-name",
                    f"Mapping '{mapping.name}' reads '{name}', which no earlier step gives.",
                    mend,
                    key=key,
                )
            elif given.type != wanted.type and not isinstance(wanted.type, Json):
                self.fault(
                    "flow.wrong-type",
                    f"Mapping '{mapping.name}' takes '{name}' to be another type than the step gives.",
                    "Correct its entity under 'uses' of the mapping.",
                    key=key,
                )
            elif given.nullable and not wanted.nullable:
                self.fault(
                    "flow.nullable",
                    f"Mapping '{mapping.name}' reads '{name}', which is null when its step is passed over.",
                    "Apply the mapping only where the step ran (route), or let the step always run.",
                    key=key,
                )
            else:
                continue
            is_right = False
        return is_right

    def body(self, node: Node, state: State, local: str) -> tuple[Step, ...]:
        """Compiles an inner list of steps. ``local`` is what its paths have after this step's path (``[1]``)."""
        return self.plan.compile_body(node, state, self, local)

    def change(self, fields: dict[str, Field]) -> None:
        """Gives the record these fields. It stays of its entity while every field of the entity keeps its type (further
        fields do no harm: mappings do not see them, writes leave them out)."""
        entity = self.parts.entities.get(self.state.entity)
        own = entity.fields if entity is not None else {}
        changed = dict(self.state.fields)
        for name, field in fields.items():
            known = changed.get(name)
            if known is not None and known.type == field.type and (known.nullable or not field.nullable):
                continue  # it keeps its bounds and marks
            if name in own:
                self.state.entity = ""
            if self.is_conditional and known is not None and known.type != field.type:
                self.fault(
                    "flow.type-changes",
                    f"'{name}' would have another type when the step is passed over.",
                    "Give the new value a name of its own.",
                )
            is_optional = self.is_conditional and (known is None or known.nullable)
            changed[name] = msgspec.structs.replace(field, nullable=True) if is_optional else field
        self.state.fields = changed

    def answers(self, field: Field, read: Callable[[Any], Any]) -> None:
        """What its undo sees as ``result``: there only after the step was done, so always present. ``read`` gives the typed value."""
        self.answer = Answered(field, read)

    def bind(self, field: Field) -> None:
        """Makes the step's result known under its ``as`` name; nullable where the policy passes over failures."""
        if not self.as_name:
            return
        if self.is_conditional:
            field = msgspec.structs.replace(field, nullable=True)
        self.state.names[self.as_name] = field

    def add_effect(self, system: str, target: str, mode: str, guarantee: str) -> None:
        effect = EffectInfo(
            path=self.static_prefix + self.path,
            step=self.kind.key,
            system=system,
            target=target,
            mode=mode,
            guarantee=guarantee,
            place=self.place(),
        )
        self.plan.effects.append(effect)
        if self.wants_once and not effect.is_exactly_once:
            self.fault(
                "flow.guarantee",
                f"'guarantee: once' cannot be kept: {target} gives {guarantee}.",
                "Choose another write mode, give the target an idempotency key, or remove the line.",
                key="guarantee",
            )


def find_entity(name: str, plan: Plan, place: Place) -> tuple[DeclaredSystem, Entity] | None:
    """The system and entity of a full name; adds the fault and None when there is none."""
    parts = plan.parts
    found = parts.entities.get(name)
    system_name, dot, short = name.partition(".")
    system = parts.systems.get(system_name)
    if found is not None and system is not None:
        plan.use_system(system_name)
        plan.entities.add(name)
        return system, found
    if name in parts.broken or system_name in parts.broken:
        return None
    if not dot:
        plan.faults.add("flow.unknown-entity", place, f"'{name}' names no entity.", did_you_mean(name, parts.entities))
    elif system is None:
        plan.faults.add(
            "flow.unknown-system",
            place,
            f"There is no system '{system_name}'.",
            did_you_mean(system_name, parts.system_names),
        )
    else:
        known = did_you_mean(short, system.entities)
        plan.faults.add("flow.unknown-entity", place, f"System '{system_name}' has no entity '{short}'.", known)
    return None


JSON = Field(type=Json())


def object_field(fields: dict[str, Field], *, nullable: bool = False) -> Field:
    return Field(type=Object(fields), nullable=nullable)
