"""``accord``: finds the command and runs it. A command's module is imported only when it is used."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys

import click

from accord.errors import AccordError, DeclarationError, did_you_mean

COMMANDS = {
    "init": "write a small working project",
    "check": "check all files of a project, every fault at once",
    "test": "run the examples beside mappings and flows",
    "up": "run the project in this process",
    "send": "give a record to a flow by hand",
    "status": "what runs, waits and fails",
    "bulk": "runs of bulk flows: run, list, show, stop, resume",
    "rejects": "rows that bulk flows refused: list, export, mend, replay",
    "messages": "look at messages",
    "message": "one message and the way it went",
    "dead": "dead letters: list, show, diff, preview, edit, replay, discard",
    "alerts": "what fires: list, silence, test a channel",
    "pause": "keep messages, a flow or a system from going on",
    "resume": "let them go on",
    "cancel": "end messages early, with or without undoing what they did",
    "migrate": "let messages of an earlier version finish on today's",
    "map": "try a mapping on a file",
    "changes": "what databases keep for streams of changes: list, drop",
    "discover": "what a system holds, as entities to copy",
    "systems": "test a system's connection, see its last errors",
    "history": "what a flow or a system did lately, as figures",
    "audit": "who did what on this Accord",
    "monitor": "who may look: password hashes for users of the monitor",
    "secret": "secrets in the encrypted file: set, list, remove, rotate",
    "schema": "JSON Schemas for editors",
    "journal": "verify and measure the journal",
    "sandbox": "stand-ins for business systems, with faults",
}

COLLECT_AFTER = 20_000  # allocations; the default of 700 costs a tenth of a command's start and a twentieth of an engine's throughput
M_ARENA_MAX = -8  # of mallopt(3)
ARENAS = 2  # heaps of C; by default glibc lets threads spread what they free over eight a core
EXIT_STOPPED = 130  # what a shell gives for Ctrl-C


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(f"accord.cli.{cmd_name}")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "accord":
                raise
            what = f"`accord {cmd_name}` needs the package '{error.name}'"
            mend = f"Install it: pip install 'accord-integration[{cmd_name}]'."
            raise AccordError(what, mend=mend, code="cli.missing-package") from error
        command: click.Command = getattr(module, "command", None) or getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Completion in your shell"):
            formatter.write_text('eval "$(_ACCORD_COMPLETE=bash_source accord)"    (or zsh_source, fish_source)')

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"There is no command '{args[0]}'. {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="accord-integration", message="accord %(version)s")
def accord() -> None:
    """Makes separate systems work as if they were one.

    Exit codes: 0 done, 1 a check or a command failed, 2 wrong usage.
    """


def main() -> None:
    """Entry point. What a person can mend is told in a sentence; a traceback is a defect of Accord."""
    _calm_memory()
    try:
        accord.main(prog_name="accord", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(EXIT_STOPPED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DeclarationError as error:
        for fault in error.faults:
            click.echo(str(fault), err=True)
        click.echo(counted(len(error.faults), "fault"), err=True)
        sys.exit(1)
    except AccordError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of the output has gone (`accord messages | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(str(AccordError(f"{where}{error.strerror or error}.", code="cli.system")), err=True)
        sys.exit(1)


def _calm_memory() -> None:
    gc.set_threshold(COLLECT_AFTER, 20, 50)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_ARENA_MAX, ARENAS)


def counted(number: int, noun: str) -> str:
    """``1 fault``, ``2 faults``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    main()
