"""Options that several commands share, and projects read for commands that run no system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from accord.errors import SettingsError

if TYPE_CHECKING:
    from accord.project import Project

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


def limit_options(function: F) -> F:
    """``--after`` and ``--limit`` of listings."""
    function = click.option(
        "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many."
    )(function)
    return click.option(
        "--after", "after_seq", type=click.IntRange(0), default=0, help="Only with a greater sequence number."
    )(function)


def project_of_journal(folder: Path, environment: str) -> Project:
    """The project for work on its journal alone: secrets and addresses of systems need not be there, where the journal is must
    be known. Raises DeclarationError, SettingsError."""
    from accord.project import load_project
    from accord.settings.text import STAND_IN

    project = load_project(folder, environment, resolve_secrets=False)
    if project.environment.spec.store.kind in (
        "postgresql",
        "jetstream",
    ):  # where it is, or who may read it, is a secret
        return load_project(folder, environment)
    if STAND_IN in project.environment.spec.store.path:
        what = "The place of the journal comes from an environment variable that is not set"
        raise SettingsError(what, mend="Set what `store` in accord.yaml refers to.", code="settings.env-missing")
    return project
