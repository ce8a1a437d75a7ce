"""split: the steps under it run for each item of a list, side by side; their records are gathered in order.

All items advance together: what each of them asks for next goes out as one ``All``. Inside, the item is the record and the
record outside is ``parent``. An item that a filter or stop ends is left out of what is gathered.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any

import msgspec

from accord.flow.commands import All, Command, Resolve
from accord.flow.running import Asking, Frame, GivenUp, Step, StepRejected, StopFlow, evaluate, run_steps
from accord.flow.step import RunStep, State, StepContext, StepKind, object_field
from accord.record import Field
from accord.record.types import List, Object
from accord.settings.node import Node

ITEM = "item"
PARENT = "parent"
PARALLEL = 8


class Split(msgspec.Struct, frozen=True):
    split: Node
    steps: Node
    parallel: Annotated[int, msgspec.Meta(ge=1, le=1000)] = PARALLEL


def compile_split(spec: Split, at: StepContext) -> RunStep | None:
    expression = at.expression(spec.split)
    if expression is None or not isinstance(expression.field.type, List):
        if expression is not None:
            what = f"'split' takes a list, and '{spec.split.value}' is none."
            at.fault("flow.wrong-type", what, "Name a list field.")
        unknown = State({}, is_item=True)
        unknown.is_unknown = True
        at.body(spec.steps, unknown, "[]")  # its shape can be checked, its expressions cannot
        at.bind(Field(type=List(Object({}))))
        return None
    item = expression.field.type.item
    is_object = isinstance(item, Object)
    fields = dict(item.fields) if isinstance(item, Object) else {ITEM: Field(type=item)}
    names = {**at.state.names, PARENT: object_field(at.state.fields)}
    inner = State(fields, "", names, is_item=True)
    steps = at.body(spec.steps, inner, "[]")
    at.bind(Field(type=List(Object(inner.fields))))
    path, parallel, as_name = at.path, spec.parallel, at.as_name

    def run(frame: Frame) -> Asking:
        items = (yield from evaluate(expression, frame)) or []
        frames = []
        for index, value in enumerate(items):
            record = value if is_object else {ITEM: value}
            child = frame.child(f"{frame.prefix}{path}[{index}].", record or {})
            child.names[PARENT] = frame.record
            frames.append(child)
        is_kept = yield from run_together(frames, steps, parallel)
        if as_name:
            frame.names[as_name] = [f.record for f, kept in zip(frames, is_kept, strict=True) if kept]

    return run


def run_together(frames: list[Frame], steps: tuple[Step, ...], parallel: int) -> Generator[Command, Any, list[bool]]:
    """Runs the steps for every frame in lockstep; True for those that came to their end. Raises GivenUp after all have ended."""
    is_kept = [True] * len(frames)
    is_given_up = False
    runs: list[tuple[int, Asking]] = [(i, run_steps(steps, frame)) for i, frame in enumerate(frames)]
    answers: list[Any] = [None] * len(runs)
    while runs:
        going: list[tuple[int, Asking]] = []
        commands: list[Command] = []
        for (index, run), answer in zip(runs, answers, strict=True):
            try:
                commands.append(run.send(answer))
                going.append((index, run))
            except StopIteration:
                continue
            except StopFlow:
                is_kept[index] = False
            except GivenUp:
                is_given_up = True
            except StepRejected:
                if frames[index].run.done is None:
                    raise
                is_given_up = True  # undo mode: the other items' effects happened before this one was refused
        runs = going
        answers = yield from ask_together(commands, parallel)
    if is_given_up:
        raise GivenUp
    return is_kept


def ask_together(commands: list[Command], parallel: int) -> Generator[Command, Any, list[Any]]:
    """The answers of independent commands, in order: one Resolve for all cross-references, one All for the rest."""
    answers: list[Any] = [None] * len(commands)
    resolves = [i for i, command in enumerate(commands) if isinstance(command, Resolve)]
    if resolves:
        queries = tuple(dict.fromkeys(q for i in resolves for q in commands[i].queries))  # type: ignore[union-attr]
        known = dict(zip(queries, (yield Resolve(queries)), strict=True))
        for i in resolves:
            answers[i] = [known[query] for query in commands[i].queries]  # type: ignore[union-attr]
    flat: list[Command] = []
    spans: list[tuple[int, int, bool]] = []
    for i, command in enumerate(commands):
        if isinstance(command, All):  # a split inside the split
            spans.append((i, len(command.commands), True))
            flat.extend(command.commands)
        elif not isinstance(command, Resolve):
            spans.append((i, 1, False))
            flat.append(command)
    if flat:
        given = yield All(commands=tuple(flat), parallel=parallel)
        position = 0
        for i, count, is_list in spans:
            part = given[position : position + count]
            answers[i] = list(part) if is_list else part[0]
            position += count
    return answers


STEP = StepKind(
    key="split", settings=Split, compile=compile_split, gives=True, summary="Runs steps for each item of a list."
)
