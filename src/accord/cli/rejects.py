"""``accord rejects``: rows that bulk flows refused. They are dead letters; these commands work on many of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from accord.cli.main import counted
from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table
from accord.errors import AccordError

PAGE = 1000
HEAD = ("seq", "run", "origin", "step", "code", "path", "reason")
FIELD = "record."  # before the name of a field, in the columns of a CSV


def _chosen(function: Any) -> Any:
    function = click.option("--flow", default="", help="Only of this flow.")(function)
    return click.option("--run", "run_id", default="", help="Only of this run.")(function)


@click.group("rejects", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Rejects of bulk flows: kept whole with row and reason, until mended and replayed."""


@command.command("list")
@project_options
@json_option
@_chosen
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
def list_(folder: Path, environment: str, as_json: bool, flow: str, run_id: str, limit: int) -> None:
    """List rejects, oldest first, and how many there are of each reason."""
    found = list(_rejects(Operator(folder, environment), flow, run_id))
    if as_json:
        show_json(found[:limit])
        return
    columns = ("seq", "flow", "origin", "step", "code", "path", "reason")
    show_table(columns, [[one[name] for name in columns] for one in found[:limit]], right=("seq",))
    by_reason: dict[tuple[str, str], int] = {}
    for one in found:
        by_reason[one["code"], one["path"]] = by_reason.get((one["code"], one["path"]), 0) + 1
    for (code, path), count in sorted(by_reason.items(), key=lambda pair: -pair[1]):
        click.echo(f"{count:>8} {code} {path}")
    click.echo(f"{counted(len(found), 'reject')}" + (f", {limit} shown" if len(found) > limit else ""))


@command.command("export")
@project_options
@_chosen
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(folder: Path, environment: str, flow: str, run_id: str, file: Path) -> None:
    """Write rejects with their reasons to a file (.csv or .jsonl), to be edited and given to `accord rejects mend`.

    The records are whole: personal data stands in the file.
    """
    found = list(_rejects(Operator(folder, environment), flow, run_id, with_payload=True))
    file.write_text(_jsonl(found) if _form(file) == ".jsonl" else _csv(found), "utf-8")
    click.echo(f"{counted(len(found), 'reject')} in {file}")


@command.command("mend")
@project_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def mend(folder: Path, environment: str, file: Path) -> None:
    """Take records from an edited file: those that were changed are checked as their flow will check them, and replayed.

    Exit code 1 when some do not satisfy their contract; the others are replayed.
    """
    from accord.cli.dead import checker

    operator = Operator(folder, environment)
    kept = {one["seq"]: one for one in _rejects(operator, "", "", with_payload=True)}
    edited = _read_jsonl(file) if _form(file) == ".jsonl" else _read_csv(file, kept)
    checks: dict[tuple[str, str], Any] = {}
    replayed = bad = 0
    for seq, body in sorted(edited.items()):
        one = kept.get(seq)
        if one is None:
            raise AccordError(f"{file}: {seq} is no reject (any more).", mend="Export again.", code="engine.command")
        if _same(one["payload"], body):
            continue
        name = (one["flow"], one["source"])
        if name not in checks:
            checks[name] = checker(folder, environment, *name)
        problems = checks[name](body)
        for problem in problems:
            click.echo(f"{seq}: {problem}", err=True)
        if problems:
            bad += 1
            continue
        operator.replay(seq, body, from_start=False)
        replayed += 1
    click.echo(f"{replayed} mended and replayed, {bad} still refused, {len(edited) - replayed - bad} unchanged")
    if bad:
        raise SystemExit(1)


@command.command("replay")
@project_options
@_chosen
def replay(folder: Path, environment: str, flow: str, run_id: str) -> None:
    """Put rejects back on their way as they are, in the order of their keys: when their target or mapping was mended."""
    operator = Operator(folder, environment)
    found = sorted(_rejects(operator, flow, run_id), key=lambda one: (one["flow"], one["key"], one["seq"]))
    for one in found:
        operator.replay(one["seq"], None, from_start=False)
    click.echo(f"{len(found)} replayed")


def _rejects(operator: Operator, flow: str, run_id: str, *, with_payload: bool = False) -> Iterable[dict[str, Any]]:
    after = 0
    while page := operator.dead_letters(flow, after, PAGE, with_payload=with_payload):
        yield from (one for one in page if one["run"] and run_id in ("", one["run"]))
        after = page[-1]["seq"]


def _form(file: Path) -> str:
    form = file.suffix.lower()
    if form not in (".csv", ".jsonl"):
        raise click.UsageError("The file is .csv or .jsonl.")
    return form


def _record(payload: str) -> Any:
    import msgspec

    from accord.sdk.http import decode_json

    try:
        return decode_json(payload.encode())
    except msgspec.DecodeError:
        return payload


def _same(payload: str, body: bytes) -> bool:
    return bool(_record(payload) == _record(body.decode()))


def _jsonl(found: list[dict[str, Any]]) -> str:
    from accord.sdk.http import encode_json

    lines = [
        encode_json({**{name: one[name] for name in HEAD}, "record": _record(one["payload"])}).decode() for one in found
    ]
    return "".join(line + "\n" for line in lines)


def _read_jsonl(file: Path) -> dict[int, bytes]:
    import msgspec

    from accord.sdk.http import decode_json, encode_json

    found: dict[int, bytes] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = decode_json(line.encode())
            found[int(row["seq"])] = encode_json(row["record"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise AccordError(f"{file}:{number}: {error}", mend="Keep seq and record.", code="cli.rejects") from error
    return found


def _csv(found: list[dict[str, Any]]) -> str:
    records = [(one, record if isinstance(record := _record(one["payload"]), dict) else {}) for one in found]
    names = list(dict.fromkeys(name for _, record in records for name in record))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*HEAD, *(FIELD + name for name in names)])
    for one, record in records:
        writer.writerow([*(one[name] for name in HEAD), *(_cell(record.get(name)) for name in names)])
    return out.getvalue()


def _cell(value: Any) -> str:
    from accord.sdk.http import encode_json

    return value if isinstance(value, str) else "" if value is None else encode_json(value).decode()


def _read_csv(file: Path, kept: dict[int, dict[str, Any]]) -> dict[int, bytes]:
    """A cell that was not touched keeps the value it had; another is JSON where the field held no text, else text."""
    import msgspec

    from accord.sdk.http import decode_json, encode_json

    found: dict[int, bytes] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            try:
                seq = int(row["seq"])
            except (KeyError, ValueError) as error:
                mend = "Keep the column seq as it was exported."
                raise AccordError(f"{file}: a row has no number in 'seq'.", mend=mend, code="cli.rejects") from error
            before = _record(kept[seq]["payload"]) if seq in kept else {}
            record: dict[str, Any] = dict(before) if isinstance(before, dict) else {}
            for column, cell in row.items():
                name = (column or "").removeprefix(FIELD)
                if not (column or "").startswith(FIELD) or cell == _cell(record.get(name)):
                    continue
                record[name] = cell
                if not cell:
                    record[name] = None
                elif not isinstance(before.get(name), str) or kept[seq]["path"] == name:
                    try:
                        record[name] = decode_json(cell.encode())
                    except msgspec.DecodeError:
                        record[name] = cell
            found[seq] = encode_json(record)
    return found
