"""The page of every command, from their own help: ``python -m accord.cli.reference > docs/guides/command-line.md``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from accord.cli.main import accord

HEAD = """# The command line

Written from the commands' own help by `python -m accord.cli.reference`; a test compares. Every command takes `--help`. Those that
work on a project take `--project` (default: this folder) and `--env` (or the variable `ACCORD_ENV`).

Exit codes: 0 done, 1 a check or a command failed, 2 wrong usage, 130 stopped by Ctrl-C. What a command prints for you goes to standard
output, faults and the log to standard error. For completion in bash: `eval "$(_ACCORD_COMPLETE=bash_source accord)"`.
"""
EVERYWHERE = ("folder", "environment", "help")


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, *_sections(accord, "accord")])


def _sections(group: click.Group, name: str) -> Iterator[str]:
    context = click.Context(group, info_name=name)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        if command is None:
            continue
        if isinstance(command, click.Group):
            yield f"## {name} {each}\n\n{_text(command)}\n"
            yield from _sections(command, f"{name} {each}")
        else:
            yield _section(command, f"{name} {each}", "##" if name == "accord" else "###")


def _section(command: click.Command, name: str, mark: str) -> str:
    usage = " ".join(p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument))
    lines = [f"{mark} {name}", "", "```text", f"{name} {usage}".rstrip(), "```", "", _text(command), ""]
    options = [p for p in command.params if isinstance(p, click.Option) and p.name not in EVERYWHERE]
    if options:
        lines += ["| option | |", "|---|---|", *map(_row, options), ""]
    return "\n".join(lines)


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(click.Command('x')))}".replace("|", r"\|")
    shown = option.show_default and option.default not in (None, "")
    return f"| {names}{value} | {(option.help or '').replace('|', chr(92) + '|')}{f' Default: {option.default}.' if shown else ''} |"


def _text(command: click.Command) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))


if __name__ == "__main__":
    click.echo(page(), nl=False)
