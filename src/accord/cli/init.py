"""``accord init``"""

from __future__ import annotations

import re
import secrets
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import click

from accord.errors import AccordError

PLACEHOLDER = "@NAME@"
SECRET = "shop_webhook_secret"  # noqa: S105 (its name)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
# Names a package cannot carry as they are: a hidden file, and Python that is no module of Accord.
_WRITTEN_AS = {"gitignore.txt": ".gitignore", "functions/numbers.py.txt": "functions/numbers.py"}


@click.command("init")
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Write a small working project into the new folder NAME.

    A shop's paid orders become invoices in an archive of files: it checks, tests and runs at once, without any outside system.
    Its secrets lie encrypted in the folder, their key outside (~/.config/accord/NAME.key, unless ACCORD_KEY is set).
    """
    name = folder.resolve().name
    if not _NAME.fullmatch(name):
        what = f"'{name}' cannot be a project's name."
        raise AccordError(what, mend="Use letters, digits, _ and -, beginning with a letter.", code="cli.bad-name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = f"{folder} exists already and is not empty."
        raise AccordError(what, mend="Nothing was written; choose another name.", code="cli.exists")
    is_new = not folder.exists()
    try:
        _write(folder, name)
        from accord.cli.schema import write_schemas

        write_schemas(folder)
        key_at = _seal(folder)
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    click.echo(f"{folder} is written.")
    if key_at:
        click.echo(f"The key of its secrets is {key_at}: keep it safe and out of git.")
    click.echo(f"Next: cd {folder} && accord check && accord test && accord up")


def _write(folder: Path, name: str) -> None:
    with as_file(files("accord.cli") / "templates" / "init") as templates:
        for source in sorted(path for path in templates.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            shown = source.relative_to(templates).as_posix()
            target = folder / _WRITTEN_AS.get(shown, shown)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text(encoding="utf-8").replace(PLACEHOLDER, name), encoding="utf-8")


def _seal(folder: Path) -> str:
    """A random webhook secret, until the shop's own is set. Returns where a new key was written, '' when there was one."""
    from accord.cli.secret import ensure_key, secrets_file

    sealed, key_file = secrets_file(folder, "")
    made = ensure_key(sealed, key_file)
    sealed.set(SECRET, secrets.token_urlsafe(32))
    return str(key_file.path) if made else ""
