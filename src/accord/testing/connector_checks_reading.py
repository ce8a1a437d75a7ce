"""Conformance checks: declarations, reading, getting."""

from __future__ import annotations

import msgspec

from accord.record import Done, Entity, Reject
from accord.sdk.connector import Capabilities, Connection, Idempotency
from accord.testing.connector_suite import EntityCase, NotApplicable, Record, Subject, check

PAGES_MAX = 1000


def entity_of(subject: Subject, case: EntityCase) -> Entity:
    return subject.entities[case.entity]


def capabilities_of(subject: Subject, case: EntityCase) -> Capabilities:
    return subject.kind.capabilities(subject.settings, entity_of(subject, case))


def identity(subject: Subject, case: EntityCase, record: Record) -> str:
    """What tells records apart, as text (systems give keys as numbers or text)."""
    name = case.identify or entity_of(subject, case).key[0]
    return str(record.get(name))


def identities(subject: Subject, case: EntityCase, records: list[Record]) -> list[str]:
    return sorted(identity(subject, case, r) for r in records)


async def read_from(connection: Connection, entity: Entity, position: object) -> tuple[list[Record], list[object]]:
    """Records and positions of one read to its end; positions have been through JSON, as the journal keeps them."""
    records: list[Record] = []
    positions: list[object] = []
    async for page in connection.read(entity, position):
        records += page.records
        positions.append(msgspec.json.decode(msgspec.json.encode(page.position)))
        assert len(positions) < PAGES_MAX, f"a read of {entity.name} does not end"
    return records, positions


def cases_with(subject: Subject, *capabilities: str, needs: str = "") -> list[EntityCase]:
    """Cases whose entity declares all of these and which have the function a check needs."""
    found = [c for c in subject.cases if all(getattr(capabilities_of(subject, c), name) for name in capabilities)]
    if not found:
        raise NotApplicable(f"no entity declares {', '.join(capabilities)}")
    found = [c for c in found if not needs or getattr(c, needs) is not None]
    if not found:
        raise NotApplicable(f"no case provides `{needs}`")
    return found


@check
async def declares_consistently(subject: Subject) -> None:
    """Every write mode has its idempotency, every at-least-once its reason, every topic a known entity."""
    kind, settings = subject.kind, subject.settings
    for entity in subject.entities.values():
        declared = kind.capabilities(settings, entity)
        assert set(declared.idempotency) == set(declared.write), (
            f"{entity.name}: idempotency is not told for every mode"
        )
        assert declared.write_items_max >= 1, f"{entity.name}: write_items_max is below 1"
        at_least_once = [m for m, means in declared.idempotency.items() if means is Idempotency.NONE]
        assert not at_least_once or declared.at_least_once_reason, f"{entity.name}: {at_least_once} need a reason"
        for field in entity.key:
            assert field in entity.fields, f"{entity.name}: key field {field} is not declared"
    for operation in kind.operations(settings).values():
        is_covered = operation.is_read_only or operation.idempotency is not Idempotency.NONE
        assert is_covered or operation.at_least_once_reason, f"operation {operation.name} needs at_least_once_reason"
    known = {*subject.entities, *kind.entities(settings)}
    for topic, name in kind.topics(settings).items():
        assert name in known, f"topic {topic} names the unknown entity {name}"
    limit = kind.rate_limit(settings)
    assert limit.concurrent >= 1, "rate_limit.concurrent must be at least 1"


@check
async def check_finds_the_system(subject: Subject) -> None:
    async with subject.connected() as connection:
        outcome = await connection.check()
    assert isinstance(outcome, Done), f"check() of a healthy system gave {outcome}"


@check
async def discovers_entities(subject: Subject) -> None:
    cases = cases_with(subject, "discover")
    async with subject.connected() as connection:
        found = {entity.short_name: entity for entity in await connection.discover()}
    for case in cases:
        assert case.entity in found, f"{case.entity} was not discovered, only {sorted(found)}"
        missing = set(entity_of(subject, case).key) - set(found[case.entity].fields)
        assert not missing, f"the discovered {case.entity} lacks its key fields {sorted(missing)}"


@check
async def reads_everything(subject: Subject) -> None:
    for case in cases_with(subject, "read", needs="seed"):
        assert case.seed
        await case.seed(case.records)
        async with subject.connected() as connection:
            records, positions = await read_from(connection, entity_of(subject, case), None)
        wanted = set(identities(subject, case, list(case.records)))
        got = identities(subject, case, records)
        assert wanted <= set(got), f"{case.entity}: not read: {sorted(wanted - set(got))}"
        assert len(got) == len(set(got)), f"{case.entity}: one quiet read gives records twice"
        assert positions, f"{case.entity}: a read without any page has no position to go on from"


@check
async def reads_on_from_every_position(subject: Subject) -> None:
    """A read stopped after any page goes on from its position without a gap (repeats are allowed)."""
    for case in cases_with(subject, "read", needs="seed"):
        assert case.seed
        await case.seed(case.records)
        entity = entity_of(subject, case)
        async with subject.connected() as connection:
            pages = [page async for page in connection.read(entity, None)]
            wanted = set(identities(subject, case, [r for page in pages for r in page.records]))
            seen: set[str] = set()
            for page in pages:
                seen |= set(identities(subject, case, page.records))
                position = msgspec.json.decode(msgspec.json.encode(page.position))
                if page is not pages[-1]:
                    rest, _ = await read_from(connection, entity, position)
                    lost = wanted - seen - set(identities(subject, case, rest))
                    assert not lost, f"{case.entity}: reading on from {position} loses {sorted(lost)}"


@check
async def reads_changes_without_gap(subject: Subject) -> None:
    for case in cases_with(subject, "read_changes", needs="seed"):
        assert case.seed
        entity = entity_of(subject, case)
        *earlier, late = case.records
        await case.seed(earlier)
        async with subject.connected() as connection:
            _, positions = await read_from(connection, entity, None)
            assert positions, f"{case.entity}: no position after the first read"
            await case.seed([late])
            wanted = {identity(subject, case, late)}
            if case.touch is not None:
                await case.touch(earlier[0])
                wanted.add(identity(subject, case, earlier[0]))
            changes, later = await read_from(connection, entity, positions[-1])
            lost = wanted - set(identities(subject, case, changes))
            assert not lost, f"{case.entity}: changes since {positions[-1]} lack {sorted(lost)}"
            again, _ = await read_from(connection, entity, (later or positions)[-1])
            assert len(again) <= len(changes), f"{case.entity}: reading changes again gives ever more records"


@check
async def reads_changes_made_while_reading(subject: Subject) -> None:
    """A record changed after the first page was given still comes: in this read or the next."""
    for case in cases_with(subject, "read_changes", needs="touch"):
        assert case.seed and case.touch
        entity = entity_of(subject, case)
        await case.seed(case.records)
        async with subject.connected() as connection:
            touched = False
            position: object = None
            after: list[Record] = []
            async for page in connection.read(entity, None):
                if touched:
                    after += page.records
                else:
                    await case.touch(case.records[0])
                    touched = True
                position = msgspec.json.decode(msgspec.json.encode(page.position))
            changes, _ = await read_from(connection, entity, position)
        seen = identities(subject, case, after + changes)
        assert identity(subject, case, case.records[0]) in seen, f"{case.entity}: a change during the read was lost"


@check
async def gets_one_record(subject: Subject) -> None:
    for case in cases_with(subject, "get", needs="seed"):
        assert case.seed
        await case.seed(case.records)
        entity = entity_of(subject, case)
        record = case.records[0]
        async with subject.connected() as connection:
            outcome = await connection.get(entity, str(record[entity.key[0]]))
        assert isinstance(outcome, Done) and isinstance(outcome.result, dict), f"{case.entity}: get gave {outcome}"
        assert identity(subject, case, outcome.result) == identity(subject, case, record)


@check
async def getting_a_missing_record_is_a_reject(subject: Subject) -> None:
    for case in cases_with(subject, "get", needs="seed"):
        assert case.seed
        await case.seed(case.records[:1])
        async with subject.connected() as connection:
            outcome = await connection.get(entity_of(subject, case), "999999999")
        assert isinstance(outcome, Reject), f"{case.entity}: get of a missing record gave {outcome}"
