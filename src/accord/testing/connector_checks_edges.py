"""Conformance checks: the system is away or talks nonsense, webhooks, opening and closing."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec

from accord.record import Done, Outcome, Reconnect, Reject, Retry
from accord.sdk.connector import CallItem, ReadFailed, Received, Refused, WriteItem, WriteMode
from accord.testing.connector_checks_reading import capabilities_of, entity_of
from accord.testing.connector_suite import NotApplicable, Subject, check


async def attempts(subject: Subject, settings: Any) -> list[tuple[str, Outcome]]:
    """One attempt at everything declared: what was tried and what came of it. A read that ends well counts as Done."""
    found: list[tuple[str, Outcome]] = []
    async with subject.connected(settings) as connection:
        found.append(("check", await connection.check()))
        for case in subject.cases:
            entity, declared = entity_of(subject, case), capabilities_of(subject, case)
            if declared.get:
                key = str(case.records[0].get(entity.key[0], "1"))
                found.append((f"get {case.entity}", await connection.get(entity, key)))
            if declared.read:
                try:
                    pages = [page async for page in connection.read(entity, None)]
                    found.append((f"read {case.entity}", Done(len(pages))))
                except ReadFailed as failed:
                    found.append((f"read {case.entity}", failed.outcome))
            for mode in sorted(declared.write):
                if mode is WriteMode.DELETE or (case.modes is not None and mode not in case.modes):
                    continue
                for in_doubt in (False, True):
                    keys = dict.fromkeys(entity.key, 1) if mode is WriteMode.UPDATE else {}
                    item = WriteItem(uuid.uuid4().hex, {**keys, **case.records[0]}, in_doubt)
                    what = f"{mode} {case.entity}" + (" in doubt" if in_doubt else "")
                    found.append((what, await connection.write(entity, mode, [item])))
        for call in subject.calls:
            item_ = CallItem(uuid.uuid4().hex, call.arguments)
            found.append((f"call {call.operation}", await connection.call(call.operation, item_)))
    return found


@check
async def an_absent_system_is_reconnect(subject: Subject) -> None:
    if subject.unreachable is None:
        raise NotApplicable("no `unreachable` settings")
    for what, outcome in await attempts(subject, subject.unreachable):
        assert isinstance(outcome, Reconnect), f"{what} of an absent system gave {outcome}"
        is_doubtful = "in doubt" in what  # what was in doubt before stays so when nothing could be sent
        assert is_doubtful or not outcome.in_doubt, f"{what}: nothing was sent, so nothing is in doubt"


@check
async def nonsense_is_an_outcome(subject: Subject) -> None:
    """Answers that are not what the protocol says become outcomes, never exceptions, and never a success with a record."""
    if subject.garbage is None:
        raise NotApplicable("no `garbage` settings")
    for what, outcome in await attempts(subject, subject.garbage):
        assert isinstance(outcome, Retry | Reconnect | Reject), f"{what} of a system talking nonsense gave {outcome}"


@check
async def genuine_webhooks_are_received(subject: Subject) -> None:
    if not subject.webhooks:
        raise NotApplicable("no `webhooks`")
    topics = subject.kind.topics(subject.settings)
    async with subject.connected() as connection:
        for case in subject.webhooks:
            received = connection.receive(case.request)
            assert isinstance(received, Received), f"{case.topic}: {received}"
            assert len(received.events) >= 1, f"{case.topic}: no event"
            event = received.events[0]
            assert (event.entity, event.topic) == (case.entity, case.topic), (
                f"{case.topic}: {event.entity} {event.topic}"
            )
            assert topics.get(event.topic) == event.entity, f"{case.topic} is not among the declared topics"
            assert not case.event_id or event.event_id == case.event_id, f"{case.topic}: event id {event.event_id!r}"
            assert isinstance(msgspec.json.decode(event.body), dict), f"{case.topic}: the body is not one record"


@check
async def forged_webhooks_are_refused(subject: Subject) -> None:
    """Unsigned, wrongly signed and altered requests are refused with 401."""
    cases = [case for case in subject.webhooks if case.signature_header]
    if not cases:
        raise NotApplicable("no webhook with a `signature_header`")
    async with subject.connected() as connection:
        for case in cases:
            genuine = case.request
            name = case.signature_header
            without = {k: v for k, v in genuine.headers.items() if k != name}
            wrong = "".join(_other(c) for c in genuine.headers[name])
            forged = [
                msgspec.structs.replace(genuine, headers=without),
                msgspec.structs.replace(genuine, headers={**genuine.headers, name: ""}),
                msgspec.structs.replace(genuine, headers={**genuine.headers, name: wrong}),
                msgspec.structs.replace(genuine, headers={**genuine.headers, name: "\xe9" + genuine.headers[name][1:]}),
            ]
            if case.sign is not None:
                forged.append(msgspec.structs.replace(genuine, body=genuine.body + b" "))
            for request in forged:
                answer = connection.receive(request)
                assert isinstance(answer, Refused) and answer.status == 401, f"{case.topic}: forged, but {answer}"


@check
async def malformed_webhooks_do_no_harm(subject: Subject) -> None:
    """A body that is not JSON, signed well, is refused with 400 or taken as it is (to become a dead letter); nothing breaks."""
    cases = [case for case in subject.webhooks if case.sign is not None]
    if not cases:
        raise NotApplicable("no webhook with `sign`")
    async with subject.connected() as connection:
        for case in cases:
            assert case.sign is not None
            for body in (b"", b"{", b'{"id": 1', b"\xff\xfe", b"[1, 2]", b"7"):
                answer = connection.receive(case.sign(body))
                if isinstance(answer, Refused):
                    assert answer.status == 400, f"{case.topic}: {body!r} gave {answer}"
                else:
                    assert all(event.body == body for event in answer.events), f"{case.topic}: {body!r} gave {answer}"


@check
async def closes_also_twice_and_unopened(subject: Subject) -> None:
    async with subject.connected() as connection:
        await connection.close()


@check
async def works_concurrently(subject: Subject) -> None:
    async with subject.connected() as connection:
        outcomes = await asyncio.gather(*(connection.check() for _ in range(20)))
    assert all(isinstance(outcome, Done) for outcome in outcomes), f"20 checks at once: {set(map(str, outcomes))}"


def _other(character: str) -> str:
    """Another character of the same alphabet, so that a forged signature has the right form."""
    if character.isdigit():
        return str((int(character) + 1) % 10)
    if character.islower():
        return "b" if character == "a" else "a"
    return "B" if character == "A" else "A" if character.isupper() else character
