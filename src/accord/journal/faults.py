"""Errors that every store words alike."""

from __future__ import annotations

from accord.errors import JournalError


def closed() -> JournalError:
    return JournalError("The journal is closed.", mend="Open it before use.", code="journal.closed")


def operation_fault(error: BaseException) -> JournalError:
    """One operation cannot be stored: a text that is no Unicode, a number too large, a time without a zone."""
    return JournalError(
        f"An operation cannot be stored: {type(error).__name__}: {error}.",
        mend="Its text must be Unicode, its times must carry a zone.",
        code="journal.operation",
    )
