"""A list of steps as written becomes compiled steps: kinds recognised, common keys read, the state carried along."""

from __future__ import annotations

import keyword

import msgspec

from accord.errors import RecordError, did_you_mean
from accord.flow.commands import ErrorPolicy
from accord.flow.policy import read_policy
from accord.flow.running import Asking, Frame, Step, StepRejected, Undo, run_steps
from accord.flow.shape import StepShape
from accord.flow.step import Answered, Plan, State, StepContext, StepKind
from accord.mapping.expression import Expression
from accord.record import Done, Field
from accord.record.types import Boolean, Json
from accord.settings.decode import decode, setting_fields
from accord.settings.node import Node

STEPS_MAX = 500  # steps of one list; a longer one is better read as several flows
RESULT = "result"
_RESERVED = frozenset({"message", "record", "parent", RESULT, "true", "false", "null"})
_ALWAYS = ("when", "summary", "on_error")


def compile_body(
    plan: Plan, node: Node, state: State, path_before: str, policy: ErrorPolicy | None = None
) -> tuple[Step, ...]:
    """Compiles a list of steps; ``path_before`` is what stands before their local paths in full static paths, ``policy`` that
    of the step around them, if it has one."""
    nodes = node.elements()
    if not nodes:
        shown = "an empty list" if node.is_list else node.describe()
        plan.faults.add("flow.no-steps", node.place, f"'steps' must be a list of steps, and this is {shown}.")
        return ()
    if len(nodes) > STEPS_MAX:
        plan.faults.add(
            "flow.too-many-steps", node.place, f"More than {STEPS_MAX} steps in one list.", "Split the flow."
        )
        return ()
    steps: list[Step] = []
    ended_by = ""
    for index, each in enumerate(nodes):
        if ended_by:
            plan.faults.add(
                "flow.unreachable",
                each.place,
                f"This step is never reached: '{ended_by}' before it ends the flow.",
                "Remove it, or give the step before it a 'when'.",
            )
            ended_by = ""
        kind = _kind_of(each, plan)
        if kind is None:
            state.is_unknown = state.is_unknown or not _is_harmless(each)
            continue
        step = _compile_step(kind, each, plan, state, f"{index}.{kind.key}", path_before, policy)
        if step is not None:
            steps.append(step)
        if kind.ends and each.get("when") is None:
            ended_by = kind.key
    return tuple(steps)


def _is_harmless(node: Node) -> bool:
    """An unrecognised step without 'as' cannot have given names to later steps; the record may have stayed."""
    return node.get("as") is None


def _kind_of(node: Node, plan: Plan) -> StepKind | None:
    kinds = plan.kinds
    keys = [key for key, _ in node.items()]
    found = [key for key in keys if key in kinds]
    if len(found) == 1:
        return kinds[found[0]]
    if len(found) > 1:
        plan.faults.add(
            "flow.two-steps",
            node.place,
            f"One list entry holds {len(found)} steps: {', '.join(found)}.",
            "Begin each step with its own '- '.",
        )
        return None
    shown = f"'{', '.join(keys)}'" if keys else node.describe()
    word = keys[0] if keys else str(node.value)
    plan.faults.add("flow.unknown-step", node.place, f"No step is recognised by {shown}.", did_you_mean(word, kinds))
    return None


def _common_keys(kind: StepKind) -> tuple[str, ...]:
    return (*_ALWAYS, *(("as",) if kind.gives else ()), *(("undo", "guarantee") if kind.is_effect else ()))


def _compile_step(
    kind: StepKind, node: Node, plan: Plan, state: State, path: str, path_before: str, outer: ErrorPolicy | None
) -> Step | None:
    common = _common_keys(kind)
    own = {field.key for field in setting_fields(kind.settings)}
    for key, _ in node.items():
        if key not in own and key not in common:
            plan.faults.add(
                "flow.unknown-key",
                node.place_of(key),
                f"The step '{kind.key}' has no key '{key}'.",
                did_you_mean(key, (*own, *common)),
            )
    policy = _policy(node, plan, outer)
    before = state.fields
    at = StepContext(plan, state, node, kind, path, path_before, policy=policy)
    when_node = node.get("when")
    when = at.expression(when_node, Field(type=Boolean(), nullable=True)) if when_node is not None else None
    _read_as(at, kind)
    _read_guarantee(at, kind)
    undos: list[Undo] = []
    if kind.is_effect and node.get("undo") is not None:
        at.undo = lambda frame, done: undos[0](frame, done)
    settings = Node({k: v for k, v in node.items() if k in own}, node.place, node.key_places)
    spec = decode(settings, kind.settings, plan.faults, what=f"the step '{kind.key}'")
    run = kind.compile(spec, at) if spec is not None else None
    plan.shapes[path_before + path] = StepShape(
        kind=kind.key,
        before=before,
        after=state.fields,
        names=dict(state.names),
        mapping=at.used_mapping,
        written=_written(node),
        place=at.place(),
    )
    if at.undo is not None:  # after the step itself, because it sees the step's name
        undos += _undo(node, plan, state, at)
    if spec is None and at.as_name:
        state.is_unknown = True  # its result has no known type: later uses would only be faults of this one
    if run is None:
        return None
    given_up = (at.as_name,) if at.as_name else ()
    return Step(path, run, when if isinstance(when, Expression) else None, policy, given_up, path_before + path)


def _written(node: Node, before: str = "") -> dict[str, str]:
    """The lines of a step by dotted key, those of the steps under it left out."""
    found: dict[str, str] = {}
    for key, child in node.items():
        if key in ("steps", "undo", "on_error") or child.is_list:
            continue
        if child.is_map:
            found |= _written(child, f"{before}{key}.")
        else:
            found[before + key] = str(child.value)
    return found


def _policy(node: Node, plan: Plan, outer: ErrorPolicy | None) -> ErrorPolicy | None:
    """The step's own over that of the step around it over the flow's; None when only the flow has one."""
    written = node.get("on_error")
    return outer if written is None else read_policy(written, outer or plan.policy, plan.faults, is_flow=False)


def _read_as(at: StepContext, kind: StepKind) -> None:
    node = at.node.get("as")
    if node is None or not kind.gives:
        return
    name = node.value
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name in _RESERVED:
        at.fault(
            "flow.bad-as",
            f"'as: {node.value}' cannot be a name in expressions.",
            "Use letters, digits and _, and none of " + ", ".join(sorted(_RESERVED)) + ".",
            key="as",
        )
        return
    if name in at.state.fields:
        at.fault(
            "flow.name-clash",
            f"'as: {name}' would be hidden by the record's field '{name}'.",
            "Choose another name.",
            key="as",
        )
    elif name in at.state.names:
        at.fault("flow.name-clash", f"An earlier step already gives '{name}'.", "Choose another name.", key="as")
    at.as_name = name
    at.plan.names[at.static_prefix + at.path] = name


def _read_guarantee(at: StepContext, kind: StepKind) -> None:
    node = at.node.get("guarantee")
    if node is None or not kind.is_effect:
        return
    if node.value != "once":
        at.fault(
            "flow.bad-guarantee", f"'guarantee' can only be 'once', and this is {node.describe()}.", key="guarantee"
        )
        return
    at.wants_once = True


def _undo(node: Node, plan: Plan, state: State, at: StepContext) -> list[Undo]:
    """Compiles the ``undo:`` step, none when it has faults.

    It sees the names as they were, the step's ``as`` name, and the answer as ``result``; both are there, since it runs only for what
    was done.
    """
    written = node.get("undo") or node
    kind = _kind_of(written, plan) if written.is_map else None
    if not written.is_map:
        plan.faults.add(
            "flow.bad-undo",
            written.place,
            f"'undo' is one step, and this is {written.describe()}.",
            "Write undo: {call: …}.",
        )
    if kind is None:
        return []
    if not kind.is_effect or written.get("undo") is not None or written.get("as") is not None:
        plan.faults.add(
            "flow.bad-undo",
            written.place,
            f"'undo' must be one effect (write, call or send) without 'as' and 'undo'; this is '{kind.key}'.",
        )
        return []
    inner = state.copy()
    answer = at.answer or Answered(Field(type=Json(), nullable=True), lambda plain: plain)
    inner.names[RESULT] = answer.field
    if at.as_name in inner.names:
        inner.names[at.as_name] = msgspec.structs.replace(inner.names[at.as_name], nullable=False)
    step = _compile_step(kind, written, plan, inner, at.path, "undo/" + at.static_prefix, None)
    if step is None:
        return []

    def undo(frame: Frame, done: Done) -> Asking:
        try:
            frame.names[RESULT] = answer.read(done.result)
        except RecordError as error:
            raise StepRejected(frame.prefix + at.path, error.problems) from error
        yield from run_steps((step,), frame)

    return [undo]
