"""Conformance checks: writing in every mode, nothing twice, refusals, calls."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from accord.record import Done, Outcome, Partial, Reconnect, Reject, Retry
from accord.sdk.connector import CallItem, Connection, Idempotency, WriteItem, WriteMode
from accord.testing.connector_checks_reading import capabilities_of, entity_of, identities, identity
from accord.testing.connector_suite import EntityCase, NotApplicable, Record, Subject, check

CREATING = (WriteMode.CREATE, WriteMode.UPSERT)
BY_EFFECT_ID = (Idempotency.TRANSACTION, Idempotency.KEY)


def writable(subject: Subject, modes: tuple[WriteMode, ...]) -> Iterator[tuple[EntityCase, WriteMode, Idempotency]]:
    """Every case and declared mode of ``modes`` that can be inspected; raises NotApplicable when there is none."""
    found = False
    for case in subject.cases:
        declared = capabilities_of(subject, case)
        wanted = declared.write if case.modes is None else declared.write & set(case.modes)
        for mode in modes:
            if mode in wanted and case.stored is not None:
                found = True
                yield case, mode, declared.idempotency[mode]
    if not found:
        raise NotApplicable(f"no case with `stored` declares {' or '.join(modes)}")


def new_item(record: Record, *, in_doubt: bool = False, effect_id: str = "") -> WriteItem:
    return WriteItem(effect_id or uuid.uuid4().hex, record, in_doubt)


def single(outcome: Outcome) -> Outcome:
    return outcome.outcomes[0] if isinstance(outcome, Partial) and len(outcome.outcomes) == 1 else outcome


def is_same(stored: object, written: object) -> bool:
    """Whether a system that keeps values in its own form holds what was written; parts of nested values are not compared."""
    if isinstance(written, dict | list) or str(stored) == str(written):
        return True
    try:
        return Decimal(str(stored)) == Decimal(str(written))
    except InvalidOperation:
        return False


async def write_one(
    connection: Connection, subject: Subject, case: EntityCase, mode: WriteMode, item: WriteItem
) -> Outcome:
    return single(await connection.write(entity_of(subject, case), mode, [item]))


async def stored_identities(subject: Subject, case: EntityCase) -> list[str]:
    assert case.stored
    return identities(subject, case, await case.stored())


@check
async def writes_new_records(subject: Subject) -> None:
    for case, mode, _ in writable(subject, CREATING):
        before = await stored_identities(subject, case)
        async with subject.connected() as connection:
            outcome = await write_one(connection, subject, case, mode, new_item(case.records[0]))
        assert isinstance(outcome, Done), f"{case.entity} {mode}: {outcome}"
        wanted = sorted({*before, identity(subject, case, case.records[0])})
        assert await stored_identities(subject, case) == wanted, f"{case.entity} {mode}: the record is not there once"


@check
async def writes_over_stored_records(subject: Subject) -> None:
    for case, mode, _ in writable(subject, (WriteMode.UPDATE, WriteMode.UPSERT)):
        if case.seed is None or case.changed is None or case.stored is None:
            continue
        if identity(subject, case, case.records[0]) not in await stored_identities(subject, case):
            await case.seed(case.records[:2])
        changed = case.changed(case.records[0])
        async with subject.connected() as connection:
            outcome = await write_one(connection, subject, case, mode, new_item(changed))
        assert isinstance(outcome, Done), f"{case.entity} {mode}: {outcome}"
        who = identity(subject, case, changed)
        found = [r for r in await case.stored() if identity(subject, case, r) == who]
        assert len(found) == 1, f"{case.entity} {mode}: {len(found)} records of {who}"
        wrong = {
            name: found[0].get(name)
            for name in changed
            if name in found[0] and not is_same(found[0][name], changed[name])
        }
        assert not wrong, f"{case.entity} {mode}: not written: {sorted(wrong)}"


@check
async def deletes_records_also_twice(subject: Subject) -> None:
    for case, mode, means in writable(subject, (WriteMode.DELETE,)):
        if case.seed is None:
            continue
        await case.seed(case.records[:2])
        item = new_item(case.records[0])
        async with subject.connected() as connection:
            first = await write_one(connection, subject, case, mode, item)
            again = await write_one(
                connection, subject, case, mode, new_item(item.record, in_doubt=True, effect_id=item.effect_id)
            )
        assert isinstance(first, Done), f"{case.entity} delete: {first}"
        assert identity(subject, case, case.records[0]) not in await stored_identities(subject, case)
        assert means is Idempotency.NONE or isinstance(again, Done), f"{case.entity}: deleting again gave {again}"


@check
async def repeats_do_nothing_twice(subject: Subject) -> None:
    """The same effect id, in doubt: the system shows the effect once."""
    for case, mode, means in writable(subject, CREATING):
        if means is Idempotency.NONE:
            continue
        item = new_item(case.records[0])
        doubtful = new_item(item.record, in_doubt=True, effect_id=item.effect_id)
        async with subject.connected() as connection:
            first = await write_one(connection, subject, case, mode, item)
            once = await stored_identities(subject, case)
            again = await write_one(connection, subject, case, mode, doubtful)
            third = await write_one(connection, subject, case, mode, item) if means in BY_EFFECT_ID else again
        assert isinstance(first, Done) and isinstance(again, Done), f"{case.entity} {mode}: {first}, then {again}"
        assert isinstance(third, Done), f"{case.entity} {mode}: the third time {third}"
        assert await stored_identities(subject, case) == once, f"{case.entity} {mode} ({means}): a repeat showed twice"


@check
async def different_effects_are_both_done(subject: Subject) -> None:
    """Idempotency is by effect: two effects with different records are two records."""
    for case, mode, _ in writable(subject, CREATING):
        before = await stored_identities(subject, case)
        async with subject.connected() as connection:
            for record in case.records[:2]:
                outcome = await write_one(connection, subject, case, mode, new_item(record))
                assert isinstance(outcome, Done), f"{case.entity} {mode}: {outcome}"
        wanted = {*before, *(identity(subject, case, r) for r in case.records[:2])}
        assert set(await stored_identities(subject, case)) == wanted


@check
async def in_doubt_but_never_done_is_done(subject: Subject) -> None:
    for case, mode, _ in writable(subject, CREATING):
        async with subject.connected() as connection:
            outcome = await write_one(connection, subject, case, mode, new_item(case.records[1], in_doubt=True))
        assert isinstance(outcome, Done), f"{case.entity} {mode}: {outcome}"
        assert identity(subject, case, case.records[1]) in await stored_identities(subject, case)


@check
async def lost_answers_are_in_doubt(subject: Subject) -> None:
    """The system did the work and the answer was lost: the outcome says so, and the repeat finds it done."""
    if subject.lose_answers is None:
        raise NotApplicable("no `lose_answers`")
    for case, mode, means in writable(subject, CREATING):
        item = new_item(case.records[2])
        async with subject.connected() as connection:
            async with subject.lose_answers():
                lost = await write_one(connection, subject, case, mode, item)
            assert isinstance(lost, Retry | Reconnect), f"{case.entity} {mode}: a lost answer gave {lost}"
            assert lost.in_doubt, f"{case.entity} {mode}: a lost answer is not marked in doubt: {lost}"
            once = await stored_identities(subject, case)
            again = await write_one(
                connection, subject, case, mode, new_item(item.record, in_doubt=True, effect_id=item.effect_id)
            )
        assert isinstance(again, Done), f"{case.entity} {mode}: {again}"
        who = identity(subject, case, item.record)
        assert who in await stored_identities(subject, case), f"{case.entity} {mode}: the record is not there"
        if means is not Idempotency.NONE and who in once:
            assert await stored_identities(subject, case) == once, f"{case.entity} {mode}: the effect shows twice"


@check
async def refusals_are_rejects(subject: Subject) -> None:
    found = False
    for case, mode, _ in writable(subject, CREATING):
        if case.refused is None:
            continue
        found = True
        before = await stored_identities(subject, case)
        async with subject.connected() as connection:
            outcome = await write_one(connection, subject, case, mode, new_item(case.refused))
        assert isinstance(outcome, Reject) and outcome.reason, f"{case.entity} {mode}: a bad record gave {outcome}"
        assert await stored_identities(subject, case) == before, f"{case.entity} {mode}: a refused record was stored"
    if not found:
        raise NotApplicable("no case provides `refused`")


@check
async def many_records_are_told_apart(subject: Subject) -> None:
    """Good, bad, good in one request: the bad one is rejected by its place, or all are refused and none is stored."""
    found = False
    for case, mode, _ in writable(subject, CREATING):
        if capabilities_of(subject, case).write_items_max < 3:
            continue
        found = True
        before = await stored_identities(subject, case)
        records = [case.records[0], case.refused or case.records[2], case.records[1]]
        async with subject.connected() as connection:
            outcome = await connection.write(entity_of(subject, case), mode, [new_item(r) for r in records])
        if case.refused is None:
            outcomes = outcome.outcomes if isinstance(outcome, Partial) else (outcome,)
            assert all(isinstance(o, Done) for o in outcomes), f"{case.entity} {mode}: {outcome}"
        elif isinstance(outcome, Partial):
            kinds = [type(o) for o in outcome.outcomes]
            assert kinds == [Done, Reject, Done], f"{case.entity} {mode}: {outcome}"
        else:
            assert isinstance(outcome, Reject), f"{case.entity} {mode}: {outcome}"
            assert await stored_identities(subject, case) == before
    if not found:
        raise NotApplicable("no entity takes several records in one request")


@check
async def calls_do_nothing_twice(subject: Subject) -> None:
    operations = subject.kind.operations(subject.settings)
    if not subject.calls:
        raise NotApplicable("no `calls`")
    for case in subject.calls:
        declared = operations[case.operation]
        item = CallItem(uuid.uuid4().hex, case.arguments)
        async with subject.connected() as connection:
            first = await connection.call(case.operation, item)
            assert isinstance(first, Done), f"{case.operation}: {first}"
            if declared.gives is not None and isinstance(first.result, dict):
                needed = {name for name, field in declared.gives.items() if not field.nullable}
                assert needed <= set(first.result), f"{case.operation}: the answer lacks {needed - set(first.result)}"
            if case.effects is None:
                continue
            once = await case.effects()
            if declared.is_read_only or declared.idempotency is not Idempotency.NONE:
                again = await connection.call(case.operation, CallItem(item.effect_id, case.arguments, True))
                assert isinstance(again, Done), f"{case.operation}: the repeat gave {again}"
                assert await case.effects() == once, f"{case.operation}: a repeat showed twice"


@check
async def refused_calls_are_rejects(subject: Subject) -> None:
    cases = [case for case in subject.calls if case.refused is not None]
    if not cases:
        raise NotApplicable("no call with `refused`")
    for case in cases:
        assert case.refused is not None
        async with subject.connected() as connection:
            outcome = await connection.call(case.operation, CallItem(uuid.uuid4().hex, case.refused))
        assert isinstance(outcome, Reject) and outcome.reason, f"{case.operation}: {outcome}"
