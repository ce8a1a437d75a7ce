"""Backup of a SQLite journal while its engine runs, and restore.

A backup is one read transaction over a connection of its own: it holds every commit that was acknowledged before it began, and
nothing of later ones. Writers go on; only their log cannot begin again until the copy is done. The copy is one file without a log,
checked before it gets its name. SQLite's online backup: https://www.sqlite.org/backup.html
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import msgspec

from accord.errors import JournalError
from accord.journal.stores.sqlite_lock import FileLock
from accord.journal.stores.sqlite_schema import MIGRATIONS, check_is_journal, version_of
from accord.journal.stores.sqlite_verify import verify


class Copied(msgspec.Struct, frozen=True):
    size_bytes: int
    messages: int


def backup(journal: Path, to: Path, *, may_replace: bool = False) -> Copied:
    """Copies the journal to the file ``to``, which is there whole or not at all. Works beside a running engine.

    Raises JournalError: ``journal.path`` (no journal, or no place for the copy), ``journal.exists``, ``journal.corrupt``.
    """
    if not journal.is_file():
        raise JournalError(f"There is no journal at {journal}.", mend="Check the path.", code="journal.path")
    _check_place(to, may_replace=may_replace)
    partial = to.with_name(to.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        copied = copy_online(journal, partial)
        _check_copy(partial)
        sync(partial)
        partial.replace(to)
        sync(to.parent)
    except OSError as error:
        what = f"The backup {to} cannot be written: {error.strerror}."
        raise JournalError(
            what, mend="Give it a folder that can be written, with room.", code="journal.path"
        ) from error
    except sqlite3.Error as error:
        what = f"The journal {journal} could not be copied: {error}."
        raise JournalError(
            what, mend="`accord journal verify` tells more; is there room for the copy?", code="journal.path"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return copied


def restore(journal: Path, source: Path, *, may_replace: bool = False) -> Path | None:
    """Puts a backup in the journal's place; no engine may run on it. The journal that was there is kept: its new path, if any.

    Raises JournalError: ``journal.locked``, ``journal.exists``, ``journal.corrupt``, ``journal.foreign``, ``journal.newer``,
    ``journal.path``.
    """
    if not source.is_file():
        raise JournalError(f"There is no backup at {source}.", mend="Check the path.", code="journal.path")
    _check_copy(source)
    lock = FileLock(journal)
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        lock.take()
        try:
            _check_place(journal, may_replace=may_replace)
            return _put(journal, source)
        finally:
            lock.give_back()
    except OSError as error:
        what = f"The journal {journal} cannot be written: {error.strerror}."
        raise JournalError(what, mend="Give Accord a folder it may write to.", code="journal.path") from error


def _put(journal: Path, source: Path) -> Path | None:
    new = journal.with_name(journal.name + ".restoring")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    shutil.copyfile(source, new)
    sync(new)
    kept = _set_aside(journal) if journal.exists() else None
    new.replace(journal)
    sync(journal.parent)
    return kept


def _set_aside(journal: Path) -> Path:
    """The old journal with its log, under a name that is free. The log goes first: without it the old file is merely older, but
    under the new file it would be wrong."""
    number = 1
    while (kept := journal.with_name(f"{journal.name}.replaced-{number}")).exists():
        number += 1
    log = journal.with_name(journal.name + "-wal")
    if log.exists():
        log.replace(kept.with_name(kept.name + "-wal"))
    journal.with_name(journal.name + "-shm").unlink(missing_ok=True)
    journal.replace(kept)
    return kept


def copy_online(journal: Path, to: Path) -> Copied:
    """Into the empty file ``to``, as of one commit. Raises sqlite3.Error, OSError, JournalError ``journal.foreign``."""
    source = sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(to, isolation_level=None)) as target:
        check_is_journal(source, str(journal))
        source.execute("BEGIN")
        messages = int(source.execute("SELECT count(*) FROM messages").fetchone()[0])
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE").fetchone()
    return Copied(to.stat().st_size, messages)


def _check_copy(copy: Path) -> None:
    """A copy of an older layout is whole when its pages are; it is migrated when it is opened."""
    try:
        db = sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        with contextlib.closing(db):
            check_is_journal(db, str(copy))
            version = version_of(db)
            lines = [line for (line,) in db.execute("PRAGMA integrity_check(5)")] if version < len(MIGRATIONS) else []
    except sqlite3.Error as error:
        version, lines = 0, [str(error)]
    if version > len(MIGRATIONS):
        what = f"{copy} has layout {version}; this Accord knows layouts up to {len(MIGRATIONS)}."
        raise JournalError(what, mend="Use the version of Accord that wrote it, or a newer one.", code="journal.newer")
    violations = verify(copy) if version == len(MIGRATIONS) else [line for line in lines if line != "ok"]
    if version == 0 and not violations:
        violations = ["it holds no journal"]
    if violations:
        what = f"{copy} is damaged: {'; '.join(violations[:3])}."
        raise JournalError(what, mend="Use another backup, or verify the journal it is of.", code="journal.corrupt")


def _check_place(path: Path, *, may_replace: bool) -> None:
    if path.exists() and not may_replace:
        what = f"{path} is there already."
        raise JournalError(what, mend="Choose another place, or replace it with --force.", code="journal.exists")


def sync(path: Path) -> None:
    """A file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
