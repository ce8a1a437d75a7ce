"""Statements in the binary log: which of them concern tables whose changes are read. Pure.

With ``binlog_format = ROW`` the log holds statements only for what defines tables, TRUNCATE among them. Anything else that changes rows
and stands there as a statement was written by a session that chose another format; its rows are not told.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping

import msgspec


class Effect(enum.Enum):
    NOTHING = enum.auto()
    BEGIN = enum.auto()
    COMMIT = enum.auto()
    ROLLBACK = enum.auto()  # of all, or of a part that is in the log already
    TRUNCATE = enum.auto()  # also DROP: its rows are gone
    DEFINE = enum.auto()  # ALTER, RENAME, CREATE
    WRITE = enum.auto()  # rows changed by a statement


class Statement(msgspec.Struct, frozen=True):
    effect: Effect
    verb: str
    tables: tuple[tuple[str, str], ...]  # of the wanted ones


_COMMENT = re.compile(r"/\*(?!!|M!).*?\*/|--[ \t][^\n]*|#[^\n]*", re.DOTALL)
_VERBS = re.compile(r"[\s(]*(?:SET\s+STATEMENT\s+.*?\bFOR\s+)?([A-Za-z]+(?:\s+[A-Za-z]+)?)", re.DOTALL)
_WRITES = {"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL"}


def statement_of(text: str, database: str, wanted: Mapping[tuple[str, str], str]) -> Statement:
    """``database``: the session's own. ``wanted``: database and table of what is read."""
    bare = _COMMENT.sub(" ", text)
    match = _VERBS.match(bare)
    verb = " ".join(match[1].upper().split()) if match else ""
    first, _, second = verb.partition(" ")
    effect = _effect(first, second)
    tables = tuple(t for t in wanted if _is_named(bare, t, database)) if effect in _ABOUT_TABLES else ()
    return Statement(effect, verb, tables)


_ABOUT_TABLES = (Effect.TRUNCATE, Effect.DEFINE, Effect.WRITE)


def _effect(first: str, second: str) -> Effect:
    if first in ("BEGIN", "COMMIT"):
        return Effect.BEGIN if first == "BEGIN" else Effect.COMMIT
    if first == "ROLLBACK":
        return Effect.ROLLBACK
    if first == "TRUNCATE" or (first, second) == ("DROP", "TABLE"):
        return Effect.TRUNCATE
    if first in ("ALTER", "RENAME") or (first == "CREATE" and second in ("TABLE", "OR")):
        return Effect.DEFINE
    return Effect.WRITE if first in _WRITES else Effect.NOTHING


def _is_named(text: str, table: tuple[str, str], database: str) -> bool:
    schema, name = table
    quoted = rf"(?:`{re.escape(name)}`|(?<![\w$`]){re.escape(name)}(?![\w$`]))"
    for found in re.finditer(rf"(?:(`[^`]+`|[\w$]+)\s*\.\s*)?{quoted}", text, re.IGNORECASE):
        own = found[1].strip("`") if found[1] else database
        if own.lower() == schema.lower():
            return True
    return False
