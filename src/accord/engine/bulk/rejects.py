"""What becomes of rows that are not loaded: the rejects of a chunk, as messages of the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from accord.engine.bulk.mapping import Mapped, Mapper
from accord.engine.ends import dead_letter_of
from accord.errors import Problem
from accord.flow.running import StepRejected
from accord.journal.operations import Rejected, StepResult
from accord.record import Done
from accord.sdk.bulk import Written
from accord.sdk.http import encode_json

RefusedRows: TypeAlias = "dict[int, tuple[str, Problem, tuple[StepResult, ...]]]"  # by number


def rejects_of_steps(mapper: Mapper, mapped: Mapped) -> list[Rejected]:
    why = {one.number: (one.step, one.problems) for one in mapped.refused}
    messages = mapper.rejects(mapped.read, why)
    return [Rejected(messages[n], dead_letter_of(StepRejected(*why[n]))) for n in sorted(messages)]


def rejects_of_targets(mapper: Mapper, mapped: Mapped, refused: RefusedRows) -> list[Rejected]:
    messages = mapper.rejects(mapped.read, refused)
    found = []
    for number, message in sorted(messages.items()):
        step, problem, results = refused[number]
        found.append(Rejected(message, dead_letter_of(StepRejected(step, (problem,))), results))
    return found


def refused_rows(mapped: Mapped, written: Sequence[Written]) -> RefusedRows:
    """By number: rows of which a target refused something; with what the targets have of it, so that a replay leaves that out."""
    found: dict[int, tuple[str, Problem]] = {}
    for portion, one in zip(mapped.portions, written, strict=True):
        for reject in one.rejects:
            path = portion.path_of(reject.row)
            found.setdefault(portion.numbers[reject.row], (path, Problem(reject.code, reject.path, reject.reason)))
    if not found:
        return {}
    done: dict[int, list[StepResult]] = {number: [] for number in found}
    value = encode_json(Done())
    for portion, one in zip(mapped.portions, written, strict=True):
        rejected_rows = {reject.row for reject in one.rejects}
        for row, number in enumerate(portion.numbers):
            if number in done and row not in rejected_rows:
                done[number].append(StepResult(portion.path_of(row), value))
    return {number: (path, problem, tuple(done[number])) for number, (path, problem) in found.items()}
