"""The error tree: every error has a stable code, says where it happened and what to do next.

Receives: nothing.  Hands on: AccordError and its kinds, Place, Fault.  Never: formats for a terminal, logs, or prints.

A code is ``<room>.<what>`` (``mapping.unknown-field``); its page is the heading ``<what>`` in ``docs/errors/<room>.md``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import msgspec


class Place(msgspec.Struct, frozen=True, order=True):
    """Where in the project: a file and its line (counted from 1), both empty for objects built in Python."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        if not self.file:
            return "(built in Python)"
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Place()


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong in a declaration: where, what, and how to mend it."""

    code: str
    place: Place
    what: str
    mend: str = ""
    severity: str = "error"  # error | warning

    def __str__(self) -> str:
        mend = f" {self.mend}" if self.mend else ""
        return f"{self.place}: {self.what}{mend} [{self.code}]"


class Faults:
    """Collects every fault of a check, so that all are reported at once."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, code: str, place: Place, what: str, mend: str = "", *, severity: str = "error") -> None:
        fault = Fault(code, place, what, mend, severity)
        if fault not in self.found:
            self.found.append(fault)

    @property
    def errors(self) -> list[Fault]:
        return [f for f in self.found if f.severity == "error"]

    def raise_if_any(self) -> None:
        """Raises DeclarationError when at least one error was found; warnings alone do not raise."""
        if self.errors:
            raise DeclarationError(self.errors)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, or lists the few known ones; empty when nothing is known."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6) or [n for n in names if n.lower() == word.lower()]
    if near:
        return f"Did you mean '{near[0]}'?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"Known: {shown}."


class AccordError(Exception):
    """Root of all errors Accord raises on purpose."""

    code = "accord.error"

    def __init__(self, what: str, *, mend: str = "", place: Place = NOWHERE, code: str = "") -> None:
        self.what = what
        self.mend = mend
        self.place = place
        if code:
            self.code = code
        super().__init__(what)

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place.file else ""
        mend = f" {self.mend}" if self.mend else ""
        return f"{where}{self.what}{mend} [{self.code}]"


class DeclarationError(AccordError):
    """The project's files are wrong; ``faults`` holds every fault found."""

    code = "project.faults"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(f) for f in faults))

    def __str__(self) -> str:
        return self.what


class SettingsError(AccordError):
    """A setting or secret could not be read or resolved."""

    code = "settings.error"


class RecordError(AccordError):
    """A record does not satisfy its contract or could not be mapped: ``problems`` lists all of them with field paths.

    The engine turns it into a dead letter (or a reject); it never stops other records.
    """

    code = "record.rejected"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(p) for p in problems[:5]) + (" …" if len(problems) > 5 else ""))


class Problem(msgspec.Struct, frozen=True):
    """One fault of one record. ``path`` is dotted with indexes: ``line_items[2].price``; ``value`` is already masked."""

    code: str
    path: str
    reason: str
    value: str = ""

    def __str__(self) -> str:
        shown = f" (got {self.value})" if self.value else ""
        return f"{self.path or '(record)'}: {self.reason}{shown}"


class ConnectorError(AccordError):
    """A connector was used wrongly or could not start; failures of one effect are Outcomes, not exceptions."""

    code = "connector.error"


class JournalError(AccordError):
    """The journal could not be opened, migrated or committed."""

    code = "journal.error"


class JournalFull(JournalError):
    """The disk is full: nothing of the group was kept, the journal stays usable, trying again later makes sense."""

    code = "journal.full"
