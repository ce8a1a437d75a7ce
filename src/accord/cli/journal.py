"""``accord journal``"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from accord.cli.journal_copies import backup, restore
from accord.cli.main import counted
from accord.cli.operator import Operator
from accord.cli.options import json_option, project_of_journal, project_options
from accord.cli.output import show_json, show_table
from accord.settings.project_file import StoreSpec

STATES = ("ready", "waiting", "held", "done", "dead")


@click.group("journal", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """The journal: verify, measure, back up and restore it."""


command.add_command(backup)
command.add_command(restore)


@command.command("verify")
@project_options
def verify(folder: Path, environment: str) -> None:
    """Read the journal itself and report every violated invariant. Exit code 1 when there is one."""
    store = project_of_journal(folder, environment).environment.spec.store
    if store.kind == "memory":
        click.echo("a journal of kind memory leaves nothing to verify")
        return
    if store.kind == "postgresql":
        from accord.journal.stores.postgresql_verify import verify as verify_schema

        assert store.url is not None
        violations = verify_schema(store.url.reveal(), store.schema)
    elif store.kind == "jetstream":
        violations = _verify_replica(folder, store)
    else:
        from accord.journal.stores.sqlite_verify import verify as verify_file

        violations = verify_file(folder / store.path)
    for violation in violations:
        click.echo(str(violation))
    click.echo(counted(len(violations), "violation"))
    sys.exit(1 if violations else 0)


def _verify_replica(folder: Path, store: StoreSpec) -> list[str]:
    """The file by itself, and against the log it was made from."""
    from accord.engine.build import log_settings_of
    from accord.journal.stores.jetstream_entries import POSITION_CURSOR
    from accord.journal.stores.jetstream_verify import verify_log
    from accord.journal.stores.sqlite_replica import SqliteReplica
    from accord.journal.stores.sqlite_verify import verify as verify_file

    position = SqliteReplica(folder / store.path).cursor(POSITION_CURSOR)
    return verify_file(folder / store.path) + verify_log(log_settings_of(store), position)


@command.command("stats")
@project_options
@json_option
def stats(folder: Path, environment: str, as_json: bool) -> None:
    """How much the journal holds: bytes on disk, messages by flow and state."""
    status = Operator(folder, environment).status()
    flows = {flow["name"]: {state: flow[state] for state in STATES} for flow in status["flows"]}
    total = {state: sum(counts[state] for counts in flows.values()) for state in STATES}
    if as_json:
        show_json({"size_bytes": status["journal_size_bytes"], "messages": total, "flows": flows})
        return
    rows = [(name, *counts.values()) for name, counts in flows.items()]
    show_table(("flow", *STATES), [*rows, ("(all)", *total.values())], right=STATES)
    click.echo(f"{status['journal_size_bytes'] / 1_000_000:.2f} MB on disk")
