"""What PostgreSQL's errors mean for the journal: one place for all of them."""

from __future__ import annotations

import psycopg
from psycopg import errors

from accord.errors import JournalError, JournalFull

# What one bad operation raises (text that is no Unicode, a number too large, a time without a zone): its own fault alone.
OPERATION_FAULTS = (ValueError, TypeError, OverflowError, AttributeError, KeyError, psycopg.DataError)


def unavailable(error: BaseException | None) -> JournalError:
    if isinstance(error, JournalError):
        return JournalError(error.what, mend=error.mend, code=error.code)
    why = f": {' '.join(str(error).split())[:300]}" if error is not None and str(error) else ""
    return JournalError(
        f"The journal's database cannot be reached{why}.",
        mend="Accord connects again by itself as soon as it can; nothing was kept.",
        code="journal.unavailable",
    )


def fenced() -> JournalError:
    return JournalError(
        "Another engine has taken over what this one had of the journal.",
        mend="Stop this engine; start it again once the others are meant to share the journal with it.",
        code="journal.fenced",
    )


def not_owner(part: int) -> JournalError:
    return JournalError(
        f"Part {part} of the journal is another member's.",
        mend="Hand the message to the part's owner; nothing of it was kept here.",
        code="journal.not-owner",
    )


def translate(error: psycopg.Error) -> JournalError:
    """Of a connection that still works."""
    if isinstance(error, errors.DiskFull):
        return JournalFull(
            "The disk of the journal's database is full.",
            mend="Free space or shorten the retention; nothing of this group was kept, try it again.",
        )
    return JournalError(
        f"The journal's database refused: {' '.join(str(error).split())[:300]}.",
        mend="Look at the server's log; nothing of this group was kept.",
        code="journal.commit",
    )
