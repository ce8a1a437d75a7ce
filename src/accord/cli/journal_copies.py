"""``accord journal backup`` and ``accord journal restore``"""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.main import counted
from accord.cli.options import project_of_journal, project_options
from accord.errors import JournalError


def _journal_file(folder: Path, environment: str) -> Path:
    store = project_of_journal(folder, environment).environment.spec.store
    if store.kind != "sqlite":
        what = f"A journal of kind {store.kind} is no file that could be copied."
        raise JournalError(
            what, mend="Use the server's own backup (pg_dump, nats stream backup).", code="journal.no-file"
        )
    return folder / store.path


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE when it is there.")
@project_options
def backup(file: Path, force: bool, folder: Path, environment: str) -> None:
    """Copy the journal to FILE, also while the engine runs.

    The copy holds all that was accepted before it began, and is verified before it gets its name.
    """
    from accord.journal.stores.sqlite_copies import backup as copy_journal

    copied = copy_journal(_journal_file(folder, environment), file, may_replace=force)
    click.echo(f"{file}: {counted(copied.messages, 'message')}, {copied.size_bytes / 1_000_000:.2f} MB, verified")


@click.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace the journal that is there; it is kept under another name.")
@project_options
def restore(file: Path, force: bool, folder: Path, environment: str) -> None:
    """Put the backup FILE in the journal's place, while no engine runs.

    What was open when the backup was made goes on. Effects that were done since are done again, with the same ids: targets that
    recognise them do them once.
    """
    from accord.journal.stores.sqlite_copies import restore as put_back

    journal = _journal_file(folder, environment)
    kept = put_back(journal, file, may_replace=force)
    click.echo(f"{journal}: restored" + (f"; what was there is kept as {kept}" if kept else ""))
