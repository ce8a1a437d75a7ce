"""Rows through the ordinary flow of a bulk flow: what each row writes, or why it is refused.

This is the meaning of a bulk flow; columns only do the same faster.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Any

import msgspec

from accord.errors import Problem
from accord.flow.commands import All, Command, Resolve, Running, Write
from accord.flow.flow import Flow
from accord.flow.running import StepRejected
from accord.mapping.environment import Query
from accord.record import Done, Message

_INDEX = re.compile(r"\[\d+\]")


class RowWrite(msgspec.Struct, frozen=True):
    """``path`` with the index of a split's item; ``target``: the static path of the write step."""

    path: str
    target: str
    record: dict[str, Any]


class RowOutcome(msgspec.Struct, frozen=True):
    """``step`` and ``problems`` of a row that was refused; ``is_filtered``: it ended quietly. A row that was refused writes nothing."""

    writes: tuple[RowWrite, ...] = ()
    step: str = ""
    problems: tuple[Problem, ...] = ()
    is_filtered: bool = False

    @property
    def is_rejected(self) -> bool:
        return bool(self.step)


class _Row:
    def __init__(self, running: Running) -> None:
        self.running = running
        self.writes: list[RowWrite] = []
        self.outcome: RowOutcome | None = None

    def advance(self, answer: Any) -> tuple[Query, ...]:
        """Goes on until cross-references are asked for; none when the row has ended."""
        while True:
            try:
                command = self.running.send(answer)
            except StopIteration as end:
                is_filtered = bool(end.value.stopped) and not self.writes
                self.outcome = RowOutcome(tuple(self.writes), is_filtered=is_filtered)
                return ()
            except StepRejected as error:
                self.outcome = RowOutcome(step=error.step, problems=error.problems)
                return ()
            if isinstance(command, Resolve):
                return command.queries
            answer = self._answer(command)

    def _answer(self, command: Command) -> Any:
        if isinstance(command, All):
            return [self._answer(each) for each in command.commands]
        assert isinstance(command, Write), "a bulk flow has no other steps that ask"
        self.writes.append(RowWrite(command.path, static_path(command.path), command.record))
        return Done()


def run_rows(
    flow: Flow, messages: Sequence[Message]
) -> Generator[list[Query], dict[Query, str | None], list[RowOutcome]]:
    """An outcome per message. Yields the cross-references that are needed, each once, and is sent their keys."""
    rows = [_Row(flow.run(message)) for message in messages]
    asking = [(row, queries) for row in rows if (queries := row.advance(None))]
    while asking:
        keys = yield list(dict.fromkeys(query for _, queries in asking for query in queries))
        answered = [(row, row.advance([keys[query] for query in queries])) for row, queries in asking]
        asking = [(row, queries) for row, queries in answered if queries]
    return [row.outcome or RowOutcome() for row in rows]


def static_path(path: str) -> str:
    return _INDEX.sub("[]", path)
