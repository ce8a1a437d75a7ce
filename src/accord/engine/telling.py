"""Tells what became of a message, step by step: its flow runs again, purely, over the results in the journal.

Works for any message the journal still has, on the version of its flow it ran with as far as that can run. Personal values are masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from accord.engine.attempts import AttemptView, RecentAttempts, attempt_views, journaled_attempts
from accord.engine.ends import GIVE_UP_PATH, decode_result, generation_of
from accord.engine.masking import MASK, Masker, personal_names
from accord.engine.versions import Versions
from accord.flow.commands import Call, Command, Fetch, Mark, Note, Respond, Wait, Write
from accord.flow.flow import Flow
from accord.flow.shape import StepShape
from accord.flow.trace import Asked, NotKnown, Trace, TracedStep, trace_of
from accord.journal.group import Journal
from accord.journal.operations import Lease, MessageRow, State
from accord.mapping.environment import Query
from accord.project.snapshot import VersionGone
from accord.record import Done, Entity, Field, Reject
from accord.record.types import List, Object

ROUNDS_MAX = 20  # of finding cross-references that only an earlier one lets the flow ask for
VALUES_SHOWN_MAX = 3  # of a source or target field within a list
_DEDUPED = "dedupe: "
_SPLIT_INDEX = re.compile(r"(?<=\.split)\[\d+\]")
ASSUMED = Done(None)
"""The answer a preview goes on with."""


class OriginView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a target field came from. ``sources``: path → value, as ``value`` a list where the path goes through one (its first
    VALUES_SHOWN_MAX)."""

    target: str
    expression: str
    sources: dict[str, Any]
    value: Any


class EffectView(msgspec.Struct, frozen=True, kw_only=True):
    """What a step asked for. ``outcome``: done, rejected, was there, or open. ``sent`` and ``answer`` masked."""

    path: str
    target: str
    mode: str
    guarantee: str
    sent: Any
    outcome: str
    answer: Any = None
    reason: str = ""


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one step, in the order they were entered. ``depth``: how many splits and routes it stands in."""

    path: str
    depth: int
    kind: str
    outcome: str
    reason: str
    written: dict[str, str]
    before: Any
    after: Any
    is_changed: bool
    names: dict[str, Any]
    origins: tuple[OriginView, ...] = ()
    effects: tuple[EffectView, ...] = ()


class MessageTrace(msgspec.Struct, frozen=True, kw_only=True):
    """``notes``: what the reader has to know of its limits. ``attempts``: those that are kept."""

    seq: int
    flow: str
    version: str
    steps: tuple[StepView, ...]
    notes: tuple[str, ...]
    attempts: tuple[AttemptView, ...] = ()


class Telling:
    def __init__(
        self,
        journal: Journal,
        flows: Mapping[str, Flow],
        versions: Versions,
        entities: Mapping[str, Entity],
        recent: RecentAttempts,
    ) -> None:
        self._recent = recent
        self._journal = journal
        self._flows = flows
        self._versions = versions
        self._entities = entities
        self._names = personal_names(entities.values())

    def flow_of_today(self, name: str) -> Flow | None:
        return self._flows.get(name)

    async def tell(self, row: MessageRow, *, is_preview: bool = False) -> MessageTrace:
        """``is_preview``: what the flow of today would do, effects that are not journaled taken as done wherever nothing reads their
        answer. Raises JournalError."""
        message, notes = row.message, []
        flow = self._flows.get(message.flow)
        if flow is None:
            return self._nothing(row, f"The project has no flow '{message.flow}' any more.")
        lease = Lease(seq=row.seq, message=message, results=row.results)
        version = self._versions.version_of_row(row)
        if version not in ("", flow.version) and not is_preview:
            found = await self._versions.flow_of(lease, flow)
            if isinstance(found, VersionGone):
                return self._nothing(row, f"Version {version} of its flow cannot be run any more: {found}")
            flow = found
        answers = answers_of(row.results)
        trace = await self.traced(flow, row, answers, is_preview=is_preview)
        if trace.missing:
            notes.append("Cross-references could not all be found.")
        if trace.is_cut:
            notes.append("Only the beginning is shown: the message has more steps than a page can hold.")
        if trace.asks_references:
            notes.append("Cross-references are those of today.")
        reads = [path for path in trace.unknown if _is_read(trace.asked[path].command)]
        if reads:
            notes.append(f"What was read at {', '.join(reads)} is not kept, so the steps after it cannot be shown.")
        if is_preview and (calls := [path for path in trace.unknown if path not in reads]):
            notes.append(f"The steps after {', '.join(calls)} depend on what the system will answer.")
        masker = self.masker_of(flow, row, trace)
        steps = tuple(self._step_view(step, flow, trace, masker, row) for step in trace.steps)
        return MessageTrace(
            seq=row.seq,
            flow=flow.name,
            version=flow.version,
            steps=steps,
            notes=tuple(notes),
            attempts=() if is_preview else self._attempts(row, masker),
        )

    def _attempts(self, row: MessageRow, masker: Masker) -> tuple[AttemptView, ...]:
        known = [*journaled_attempts(row.results), *self._recent.of(row.message.flow, row.seq)]
        return attempt_views(row.message.time, known, masker)

    async def traced(
        self, flow: Flow, row: MessageRow, answers: Mapping[str, Done | Reject], *, is_preview: bool = False
    ) -> Trace:
        """The trace over these answers, cross-references asked of the journal. Of a message that ended as a repeat, the last `dedupe`
        it came to said so."""
        refs: dict[Query, str | None] = {}
        is_repeat = row.state is State.DONE and row.reason.startswith(_DEDUPED)

        def answering(command: Command) -> Any:
            match command:
                case Mark():
                    return not (is_repeat and command.scope in row.reason)
                case Wait():
                    if row.state is State.WAITING and row.due == command.until:
                        raise NotKnown
                    return None
                case Note() | Respond():
                    return None
            found = answers.get(getattr(command, "path", ""))
            if found is not None:
                return found
            if is_preview and _is_answer_unread(command, flow):
                return ASSUMED
            raise NotKnown

        for _ in range(ROUNDS_MAX):
            trace = trace_of(flow, row.message, answering, refs)
            if not trace.missing:
                break
            keys = await self._journal.reads.references(trace.missing)
            refs.update(zip(trace.missing, keys, strict=True))
        return trace

    def masker_of(self, flow: Flow, row: MessageRow, trace: Trace) -> Masker:
        """Knows every personal value the message had on its way."""
        masker = Masker(self._names)
        entity = self._entities.get(row.message.source)
        if entity is not None:
            try:
                masker.learn(msgspec.json.decode(row.message.body), entity.fields)
            except msgspec.DecodeError:
                pass  # no JSON: nothing of it is shown
        for step in trace.steps:
            shape = flow.shapes.get(step.static)
            if shape is None:
                continue
            masker.learn(step.before, shape.before)
            masker.learn(step.after, shape.after)
            for name, value in step.names.items():
                if name in shape.names:
                    masker.learn_value(value, shape.names[name])
        for asked in trace.asked.values():
            if isinstance(asked.command, Write) and (target := self._entities.get(asked.command.entity)):
                masker.learn(asked.command.record, target.fields)
                if isinstance(asked.answer, Done):
                    masker.learn(asked.answer.result, target.fields)
        return masker

    def _step_view(self, step: TracedStep, flow: Flow, trace: Trace, masker: Masker, row: MessageRow) -> StepView:
        shape = flow.shapes.get(step.static)
        outcome, reason = step.outcome, step.reason
        asked = trace.asked.get(step.path)
        if outcome == "open" and row.dead is not None and row.dead.step == step.path:
            outcome, reason = "refused", row.dead.reason
        elif outcome == "open" and asked is not None and not asked.is_known:
            outcome, reason = ("ended", row.reason) if row.state is State.DONE else ("open", row.reason)
        is_changed = step.after is not step.before and step.after is not None
        return StepView(
            path=step.path,
            depth=step.path.count("["),
            kind=shape.kind if shape else step.path.rpartition(".")[2],
            outcome=outcome,
            reason=masker.text(reason),
            written=dict(shape.written) if shape else {},
            before=masker.record(step.before, shape.before) if shape else MASK,
            after=masker.record(step.after, shape.after) if shape and is_changed else None,
            is_changed=is_changed,
            names=_names_view(step.names, shape, masker),
            origins=_origins(step, shape, asked, masker),
            effects=(_effect_view(asked, flow, masker, self._entities),) if asked is not None else (),
        )

    def _nothing(self, row: MessageRow, why: str) -> MessageTrace:
        return MessageTrace(seq=row.seq, flow=row.message.flow, version="", steps=(), notes=(why,))


def answers_of(results: Mapping[str, bytes]) -> dict[str, Done | Reject]:
    """Journaled answers by path, of the time since everything was last taken back."""
    prefix = generation_of(results)[1]
    return {
        path[len(prefix) :]: decode_result(raw)
        for path, raw in results.items()
        if path.startswith(prefix) and (prefix or path[:1] != "~") and path[len(prefix) :] != GIVE_UP_PATH
    }


def _names_view(names: Mapping[str, Any], shape: StepShape | None, masker: Masker) -> dict[str, Any]:
    fields: Mapping[str, Field] = shape.names if shape is not None else {}
    return {name: masker.value(value, fields[name]) if name in fields else MASK for name, value in names.items()}


def _origins(step: TracedStep, shape: StepShape | None, asked: Asked | None, masker: Masker) -> tuple[OriginView, ...]:
    mapping = shape.mapping if shape is not None else None
    if mapping is None:
        return ()
    made = asked.command.record if asked is not None and isinstance(asked.command, Write) else step.after
    if made is None or (made is step.before):
        return ()
    source = masker.record(step.before, mapping.source.fields)
    target = masker.record(made, mapping.target.fields)
    return tuple(
        OriginView(
            target=path,
            expression=origin.text,
            sources={one: at_path(source, one, mapping.source.fields) for one in origin.sources},
            value=at_path(target, path, mapping.target.fields),
        )
        for path, origin in mapping.origins().items()
    )


def at_path(record: Any, path: str, fields: Mapping[str, Field]) -> Any:
    """The value there; through lists, the first VALUES_SHOWN_MAX values. MASK for what the fields do not declare."""
    name, _, rest = path.partition(".")
    plain = name.removesuffix("[]")
    field = fields.get(plain)
    if field is None or not isinstance(record, dict):
        return None if record is None else MASK
    value = record.get(plain)
    match field.type:
        case Object(fields=inner) if rest and not field.personal:
            return at_path(value, rest, inner)
        case List(item=Object(fields=inner)) if rest and not field.personal:
            return [at_path(item, rest, inner) for item in (value or ())[:VALUES_SHOWN_MAX]]
        case _:
            return value[:VALUES_SHOWN_MAX] if isinstance(value, list) else value


def _effect_view(asked: Asked, flow: Flow, masker: Masker, entities: Mapping[str, Entity]) -> EffectView:
    command = asked.command
    path = getattr(command, "path", "")
    static = _static(path)
    effect = next((one for one in flow.effects if one.path == static), None)
    target, mode, sent = _what(command)
    entity = entities.get(target) if isinstance(command, Write | Fetch) else None
    answer = asked.answer
    outcome, shown, reason = "open", None, ""
    if answer is ASSUMED:
        outcome = "to be done"
    elif isinstance(answer, Done):
        outcome, shown = "was there" if answer.was_there else "done", _shown(answer.result, entity, masker)
    elif isinstance(answer, Reject):
        outcome, reason = "rejected", masker.text(answer.reason)
    elif asked.is_known:
        outcome = "done" if answer else "seen before"
    return EffectView(
        path=path,
        target=target,
        mode=mode,
        guarantee=effect.guarantee if effect is not None else "",
        sent=_shown(sent, entity, masker) if isinstance(command, Write) else masker.free(sent),
        outcome=outcome,
        answer=shown,
        reason=reason,
    )


def _shown(value: Any, entity: Entity | None, masker: Masker) -> Any:
    return masker.record(value, entity.fields) if entity is not None and isinstance(value, dict) else masker.free(value)


def _what(command: Command) -> tuple[str, str, Any]:
    match command:
        case Write():
            return command.entity, str(command.mode), command.record
        case Call():
            return (
                f"{command.system}.{command.operation}",
                "read" if command.is_read_only else "call",
                command.arguments,
            )
        case Fetch():
            return command.entity, "get", {"key": command.key}
        case Mark():
            return command.scope, "dedupe", {"id": command.id, "version": command.version}
        case Wait():
            return "", "delay", {"until": command.until}
    return "", type(command).__name__.lower(), None


def _is_answer_unread(command: Command, flow: Flow) -> bool:
    """Whether the flow goes on in the same way whatever the system answers."""
    if isinstance(command, Write):
        return True  # its name holds what was written, and what the system adds to it
    return isinstance(command, Call) and not command.is_read_only and _static(command.path) not in flow.names


def _static(path: str) -> str:
    """A path as compiled: indexes of splits left out, those of routes kept."""
    return _SPLIT_INDEX.sub("[]", path)


def _is_read(command: Command) -> bool:
    return isinstance(command, Fetch) or (isinstance(command, Call) and command.is_read_only)
