"""The pages of messages and dead letters: the control's answers made ready for the templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup

from accord.engine.control import LIST_MAX, Control
from accord.engine.control_views import SEQ_MAX, DeadLetterView, query_of
from accord.engine.looks import OPEN_STATES
from accord.journal.search import IN_DOUBT, MessageQuery
from accord.mapping.contract import problems_of
from accord.monitor.causes import Cause, causes_of
from accord.monitor.waterfall import draw_waterfall
from accord.project import Project

STATES = (*OPEN_STATES, "done", "dead", IN_DOUBT)
SEARCHED_BY = ("flow", "key", "id", "state", "source", "since", "until")
PAGE_SIZE = 50
SEARCHED_AT_ONCE = 500_000  # messages that one page looks through: few have an index for what is searched, and pages are to come at once
LETTERS_SHOWN_MAX = 100  # of one cause
STEP_STATES = {"done": "done", "passed over": "quiet", "ended": "quiet", "refused": "dead", "open": "waiting"}

Shown: TypeAlias = tuple[str, dict[str, Any]]  # template and what it is given


class MessageViews:
    def __init__(self, project: Project, control: Control) -> None:
        self._project = project
        self._control = control

    async def messages(self, query: Mapping[str, str]) -> Shown:
        state = query.get("state", "")
        if state and state not in STATES:
            raise ValueError(f"'{state}' is no state; there are {', '.join(STATES)}")
        chosen = {name: query.get(name, "").strip() for name in SEARCHED_BY}
        before = query.get("before") or str(SEQ_MAX)
        search = query_of({**chosen, "before": before, "limit": str(PAGE_SIZE + 1)})
        newest = 0
        if search.since is None and search.until is None:  # else the one who asks has said how far
            newest = await self._newest(search.before_seq)
            search = msgspec.structs.replace(search, after_seq=max(0, newest - SEARCHED_AT_ONCE))
        rows = await self._control.messages(search, source=chosen["source"])
        asked = {name: value for name, value in chosen.items() if value}
        last = rows[PAGE_SIZE - 1].seq if len(rows) > PAGE_SIZE else None
        has_further = last is None and search.after_seq > 0
        return "messages.html", {
            "rows": rows[:PAGE_SIZE],
            "older": urlencode({**asked, "before": last}) if last else "",
            "further": urlencode({**asked, "before": search.after_seq + 1}) if has_further else "",
            "searched": (search.after_seq + 1, newest),
            "newest": urlencode(asked) if "before" in query else None,
            "chosen": chosen,
            "flows": sorted(self._project.flows),
            "sources": sorted({flow.source for flow in self._project.flows.values() if flow.source}),
            "states": STATES,
        }

    async def _newest(self, before_seq: int) -> int:
        """The number of the newest message before this one; 0 when there is none."""
        rows = await self._control.messages(MessageQuery(before_seq=before_seq, limit=1))
        return rows[0].seq if rows else 0

    async def message(self, seq: int) -> Shown | None:
        rows = await self._control.messages(MessageQuery(after_seq=seq - 1, limit=1))
        if not rows or rows[0].seq != seq:
            return None
        flow = self._project.flows.get(rows[0].flow)
        guarantees = {effect.path: effect for effect in flow.effects} if flow else {}
        trace = await self._control.trace(seq)
        drawn = draw_waterfall(rows[0].accepted_at, rows[0].settled_at, trace.attempts)
        return "message.html", {
            "row": rows[0],
            "guarantees": guarantees,
            "is_open": rows[0].state in OPEN_STATES,
            "trace": trace,
            "waterfall": Markup(drawn),  # noqa: S704 (drawing escapes what it is given)
            "step_state": STEP_STATES,
        }

    async def causes(self, flow: str = "") -> list[Cause]:
        return causes_of(await self._control.dead_letters(flow=flow, limit=LIST_MAX))

    async def cause(self, id_: str) -> Cause | None:
        return next((cause for cause in await self.causes() if cause.id == id_), None)

    async def cause_page(self, id_: str) -> Shown | None:
        letters = {letter.seq: letter for letter in await self._control.dead_letters(limit=LIST_MAX)}
        cause = next((cause for cause in causes_of(letters.values()) if cause.id == id_), None)
        if cause is None:
            return None
        return "cause.html", {"cause": cause, "letters": [letters[seq] for seq in cause.seqs[:LETTERS_SHOWN_MAX]]}

    async def letter(self, seq: int, reveal: bool) -> Shown | None:
        letters = await self._control.dead_letters(after_seq=seq - 1, limit=1, with_payload=reveal)
        if not letters or letters[0].seq != seq:
            return None
        letter = letters[0]
        payload = ""
        if letter.payload is not None:
            try:
                payload = msgspec.json.format(letter.payload, indent=2)
            except msgspec.DecodeError:
                payload = letter.payload  # it may be dead because it is no JSON
        return "letter.html", self._letter_page(letter, payload, await self._control.difference(seq), reveal=reveal)

    def _letter_page(
        self,
        letter: DeadLetterView,
        payload: str,
        difference: Any,
        *,
        reveal: bool,
        preview: Any = None,
        from_start: bool = False,
    ) -> dict[str, Any]:
        return {
            "letter": letter,
            "payload": payload,
            "reveal": reveal,
            "difference": difference,
            "preview": preview,
            "from_start": from_start,
            "step_state": STEP_STATES,
        }

    async def previewed(self, seq: int, text: str, *, from_start: bool) -> Shown | None:
        """The letter's page again, with the record as it was mended and what a replay of it would do."""
        letters = await self._control.dead_letters(after_seq=seq - 1, limit=1)
        if not letters or letters[0].seq != seq:
            return None
        preview = await self._control.preview(seq, text.encode(), from_start=from_start)
        difference = await self._control.difference(seq)
        page = self._letter_page(letters[0], text, difference, reveal=True, preview=preview, from_start=from_start)
        return "letter.html", page

    async def problems_of(self, seq: int, body: bytes) -> list[str]:
        """What the letter's flow will say of a mended record; nothing when it is fine."""
        letters = await self._control.dead_letters(after_seq=seq - 1, limit=1)
        flow = self._project.flows.get(letters[0].flow) if letters else None
        return problems_of(flow.contract if flow is not None else None, body)
