"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def project_options(function: F) -> F:
    """``--project`` (default: this folder) and ``--env``."""
    function = click.option(
        "--env", "environment", default="", envvar="ACCORD_ENV", help="Environment of accord.yaml to overlay."
    )(function)
    return click.option(
        "--project",
        "-p",
        "folder",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=Path(),
        help="The project's folder (default: here).",
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)
