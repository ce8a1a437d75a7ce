"""Chunks that are on their way to targets: what the journal holds of each before a target hears of it.

A run that was cut off may have left such a chunk in its targets without a checkpoint behind it, and meanwhile the source may hold other
rows in its place: some were changed and moved to the end, others were added. So a chunk that every target has is settled as it was
given then, and reading goes on behind it. Any other is read again, and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from accord.engine.bulk.mapping import Mapped, Mapper
from accord.engine.bulk.overlap import SeenPart
from accord.engine.bulk.rejects import rejects_of_steps
from accord.engine.bulk.state import Begun, RunRecord
from accord.engine.bulk.writing import joined_sums, sum_and_order_of, sum_of
from accord.journal.operations import Rejected
from accord.sdk.bulk import LoadMode, Written

# rows that are there are written over by themselves
REWRITTEN = (LoadMode.UPSERT, LoadMode.DELETE_MISSING, LoadMode.HISTORY)


class Ready(NamedTuple):
    """A mapped chunk with what its steps refused, as messages, and the checksums of each portion: without and with the order of rows.
    ``profile``: of all rows up to its end."""

    mapped: Mapped
    rejects: list[Rejected]
    sums: list[tuple[str, str]]
    profile: bytes


def rejects_and_sums(mapper: Mapper, mapped: Mapped) -> tuple[list[Rejected], list[tuple[str, str]]]:
    sums = [(one.staged.checksum, "") if one.staged else sum_and_order_of(one.frame) for one in mapped.portions]
    return rejects_of_steps(mapper, mapped), sums


def begun_of(id: str, number: int, ready: Ready, part: SeenPart) -> Begun:
    mapped, rejects, sums, _ = ready
    batch = mapped.read.batch
    return Begun(
        id=id,
        number=number,
        rows=mapped.rows,
        passed=mapped.passed,
        known=mapped.known,
        filtered=mapped.filtered,
        rejected=len(mapped.refused),
        refused=_digest(rejects),
        given=tuple(portion.rows for portion in mapped.portions),
        checksums=tuple(checksum for checksum, _ in sums),
        orders=tuple(order for _, order in sums),
        position=batch.position,
        is_last=batch.is_last,
        ended=mapped.read.ended,
        largest=msgspec.to_builtins(part.largest),
        seen=part.pairs,
    )


def taken_sums(begun: Begun, mapped: Mapped, written: Sequence[Written]) -> tuple[str, ...]:
    """Checksums of what the targets took."""
    found = []
    for checksum, portion, one in zip(begun.checksums, mapped.portions, written, strict=True):
        if one.rejects:
            rows = {reject.row for reject in one.rejects}
            taken = portion.frame[[row for row in range(portion.frame.height) if row not in rows]]
            checksum = sum_of(taken)
        found.append(checksum)
    return tuple(found)


def count(run: RunRecord, begun: Begun, written: Sequence[Written], refused: int, sums: Sequence[str]) -> None:
    """Adds the chunk, of whose rows targets ``refused`` so many, to the run."""
    run.rows += begun.rows
    run.known += begun.known
    run.filtered += begun.filtered
    run.rejected += begun.rejected + refused
    run.passed += begun.passed - refused
    for counts, given, one, checksum in zip(run.writes, begun.given, written, sums, strict=True):
        counts.given += given
        counts.written += one.rows
        counts.refused += len(one.rejects)
        counts.checksum = joined_sums(counts.checksum, checksum)


def is_given_alike(a: Begun, b: Begun) -> bool:
    """Every target is given the same rows, maybe in another order."""
    return (a.given, a.checksums) == (b.given, b.checksums)


def is_refused_alike(a: Begun, b: Begun) -> bool:
    """The other rows are the same too."""
    return _not_given(a) == _not_given(b)


def _not_given(begun: Begun) -> tuple[int | str, ...]:
    return begun.rows, begun.passed, begun.known, begun.filtered, begun.rejected, begun.refused


def _digest(rejects: Sequence[Rejected]) -> str:
    """Of what the rejected rows hold, in any order, wherever they stood."""
    if not rejects:
        return ""
    each = sorted(hashlib.blake2b(one.message.body, digest_size=16).digest() for one in rejects)
    return hashlib.blake2b(b"".join(each), digest_size=16).hexdigest()
