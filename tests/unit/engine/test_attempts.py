"""What is kept of attempts: in memory the newest, in the journal those that failed; never a secret, shown without what is personal."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from accord.engine.attempts import (
    BODY_BYTES_MAX,
    RECENT_MAX,
    Attempted,
    RecentAttempts,
    attempt_views,
    encode_attempt,
    journaled_attempts,
    shown_url,
)
from accord.engine.http import PooledHttpClient
from accord.engine.masking import Masker
from accord.monitor.waterfall import draw_waterfall
from accord.record import Done, Field, Outcome, Reject, Retry
from accord.record.types import String
from accord.sdk.http import HttpFailed, HttpRequest, HttpResponse, InboundRequest, encode_json
from accord.testing.http_server import serve
from unit.engine.engine_room import FunctionFlow, Room, message
from unit.engine.test_queue import FAST, one_write

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
PERSON = "marked.person@planted.example"


async def answer(request: InboundRequest) -> HttpResponse | None:
    if request.path == "/gone":
        return None
    body = {"id": 7, "contact": {"text": f"hello {PERSON}"}, "access_token": "planted-secret"}
    return HttpResponse(
        status=201, headers={"set-cookie": "planted-secret", "x-request-id": "r1"}, body=encode_json(body)
    )


async def attempted_of(paths: list[str], body: bytes) -> Attempted:
    recent, client = RecentAttempts(), PooledHttpClient()
    async with serve(answer) as server:
        watch = recent.begin()
        for path in paths:
            address = server.address.replace("//", "//user:planted-secret@") if path == "/user" else server.address
            headers = {"authorization": "Bearer planted-secret", "content-type": "application/json"}
            request = HttpRequest(method="POST", url=address + path, headers=headers, body=body)
            try:
                await client.send(request)
            except HttpFailed as error:
                assert error.in_doubt
        ended = recent.end(watch, "f", 1, "0.write", NOW, Retry(f"no, {PERSON}"))
        await client.send(HttpRequest(method="GET", url=server.address + "/later"))
        await client.close()
    assert recent.of("f", 1) == [ended]
    return ended


@pytest.mark.parametrize("is_journaled", [False, True])
def test_requests_and_answers_are_kept_and_shown_masked(is_journaled: bool) -> None:
    body = encode_json({"mail": PERSON, "note": PERSON.upper(), "password": "planted-secret", "total": 5})
    ended = asyncio.run(attempted_of([f"/orders?mail={PERSON}&token=planted-secret&page=2", "/gone"], body))
    assert [one.status for one in ended.exchanges] == [201, 0]
    if is_journaled:
        raw = encode_attempt(ended)
        assert b"planted-secret" not in raw
        (ended,) = journaled_attempts({"~attempt.0": raw, "0.write": b"{}"})
    masker = Masker(["mail"])
    masker.learn({"mail": PERSON}, {"mail": Field(type=String(), personal="contact")})
    (view,) = attempt_views(NOW - dt.timedelta(seconds=2), [ended], masker)
    first, gone = view.exchanges
    assert (view.reason, view.waited_s, view.outcome) == ("no, ***", 2.0, "retry")
    assert first.url.endswith("/orders?mail=***&token=***&page=2")
    assert first.body == {"mail": "***", "note": "***", "password": "***", "total": 5}
    assert first.answer == {"id": 7, "contact": {"text": "hello ***"}, "access_token": "***"}
    assert (first.headers["authorization"], first.headers["content-type"]) == ("***", "application/json")
    assert (first.answer_headers["set-cookie"], first.answer_headers["x-request-id"]) == ("***", "r1")
    assert (gone.status, gone.error) == (0, "the connection broke before the whole answer had come")
    shown = encode_json(view)
    assert b"planted" not in shown and b"marked" not in shown.lower()
    picture = draw_waterfall(NOW, None, [view])
    assert picture.count('class="request"') == 2 and picture.count('class="retry"') == 1


def test_of_a_large_body_only_the_size_is_kept() -> None:
    ended = asyncio.run(attempted_of(["/big"], b"[" + b"1," * BODY_BYTES_MAX + b"1]"))
    assert ended.exchanges[0].body == b""
    (view,) = attempt_views(NOW, [ended], Masker())
    assert view.exchanges[0].body == f"({2 * BODY_BYTES_MAX + 3} bytes)"


def test_memory_holds_the_newest_attempts_of_each_flow() -> None:
    recent = RecentAttempts()
    for seq in range(RECENT_MAX + 5):
        recent.end(recent.begin(), "f", seq, "0.write", NOW, Done())
    assert (recent.of("f", 4), len(recent.of("f", 5)), recent.of("g", 5)) == ([], 1, [])


def test_an_address_shows_no_user() -> None:
    assert shown_url("https://u:p@host:1/a?api_key=1&q=2#f", Masker()) == "https://host:1/a?api_key=***&q=2"


def test_failed_attempts_survive_a_restart_and_good_ones_are_not_journaled(tmp_path: Path) -> None:
    async def run() -> None:
        outcomes: dict[str, list[Outcome]] = {
            "m1": [Retry("busy", in_doubt=True), Retry("busy"), Done()],
            "m2": [Done()],
        }
        outcomes["m3"] = [Reject("never")]
        room = Room(tmp_path, lambda item: outcomes[item.record["id"]].pop(0))
        await room.open(FunctionFlow("f", one_write, FAST))
        await room.accept(*(message(n) for n in (1, 2, 3)))
        await room.wait_open(0, deadline_s=20)
        await room.close()
        again = Room(tmp_path, lambda item: Done())
        await again.open(FunctionFlow("f", one_write, FAST))
        rows = {row.message.id: row for row in await again.journal.reads.messages()}
        kept = {id: [(one.outcome, one.reason) for one in journaled_attempts(row.results)] for id, row in rows.items()}
        assert kept == {"m1": [("retry", "busy")] * 2, "m2": [], "m3": [("reject", "never")]}
        await again.close()

    asyncio.run(run())
