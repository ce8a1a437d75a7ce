"""What commands print: tables whose cells are shown as they are, and JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

WIDTH_WITHOUT_TERMINAL = 200  # columns; a pipe or a log has no width of its own


def console() -> Any:
    """A rich Console on standard output."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, highlight=False)


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str = "",
    right: Sequence[str] = (),
    styles: Sequence[str] = (),
) -> None:
    """Prints a table. Cells are text, not markup: a ``[…]`` in a reason stays. ``right``: columns aligned right. ``styles``: one
    per row, '' for plain."""
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(Text(name), justify="right" if name in right else "left") for name in columns), title=title)
    for index, row in enumerate(rows):
        style = styles[index] if index < len(styles) else ""
        table.add_row(*(Text(str(cell)) for cell in row), style=style)
    console().print(table)


def show_json(value: Any) -> None:
    """Prints a value as one line of JSON."""
    from accord.sdk.http import encode_json

    click.echo(encode_json(value))
