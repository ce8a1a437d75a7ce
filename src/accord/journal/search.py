"""Which messages somebody wants to see, and what is told of effects in doubt."""

from __future__ import annotations

import datetime as dt

import msgspec

IN_DOUBT = "in_doubt"


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """'', 0 and None: any. By seq, those after ``after_seq``; with ``before_seq`` newest first, those before it (and after ``after_seq``).
    Accepted from ``since`` until before ``until``. ``state``: a state's name in lower case, or IN_DOUBT: open and dead messages with an
    effect whose last try may have been carried out."""

    flow: str = ""
    key: str = ""
    id: str = ""
    state: str = ""
    after_seq: int = 0
    before_seq: int = 0
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    limit: int = 100


ANY = MessageQuery()


class InDoubt(msgspec.Struct, frozen=True):
    """So many open and dead messages of a flow have exactly these effects (paths, in order) in doubt."""

    flow: str
    paths: tuple[str, ...]
    messages: int
