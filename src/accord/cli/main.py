"""``accord``: finds the command and runs it. A command's module is imported only when it is used."""

from __future__ import annotations

import importlib
import sys

import click

from accord.errors import AccordError, DeclarationError

COMMANDS = {
    "init": "write a small working project",
    "check": "check all files of a project, every fault at once",
    "test": "run the examples beside mappings and flows",
    "up": "run the project in this process",
    "send": "give a record to a flow by hand",
    "status": "what runs, waits and fails",
    "messages": "look at messages",
    "dead": "dead letters: list, show, mend, replay, discard",
    "map": "try a mapping on a file",
    "discover": "what a system holds, as entities to copy",
    "secret": "secrets in the encrypted file: set, list, remove, rotate",
    "schema": "JSON Schemas for editors",
    "journal": "verify and measure the journal",
    "sandbox": "stand-ins for business systems, with faults",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"accord.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from accord.errors import did_you_mean

            ctx.fail(f"There is no command '{args[0]}'. {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="accord-integration", message="accord %(version)s")
def accord() -> None:
    """Makes separate systems work as if they were one."""


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 a check or command failed, 2 wrong usage."""
    try:
        accord.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DeclarationError as error:
        for fault in error.faults:
            click.echo(str(fault), err=True)
        click.echo(f"{len(error.faults)} faults", err=True)
        sys.exit(1)
    except AccordError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
