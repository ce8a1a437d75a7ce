"""The files of a project's folder, read as nodes; nothing is interpreted here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.errors import Faults, Place
from accord.settings.node import Node, read_yaml

PROJECT_FILE = "accord.yaml"
FOLDERS = ("systems", "mappings", "flows")
_OTHER_FOLDERS = ("functions", "examples", "data", "tests", "docs")
FILES_MAX = 10_000


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a project is declared by. ``folder`` is where relative paths begin; ``has_functions``: functions/*.py exist."""

    project: Node | None
    systems: tuple[Node, ...] = ()
    mappings: tuple[Node, ...] = ()
    flows: tuple[Node, ...] = ()
    folder: Path = Path()
    has_functions: bool = False

    @classmethod
    def of(
        cls,
        project: Mapping[str, Any],
        systems: Sequence[Mapping[str, Any]] = (),
        mappings: Sequence[Mapping[str, Any]] = (),
        flows: Sequence[Mapping[str, Any]] = (),
        folder: Path = Path(),
    ) -> Sources:
        """The same from plain Python data: dicts of the shape the files have."""
        return cls(
            project=Node.of(dict(project)),
            systems=tuple(Node.of(dict(each)) for each in systems),
            mappings=tuple(Node.of(dict(each)) for each in mappings),
            flows=tuple(Node.of(dict(each)) for each in flows),
            folder=folder,
            has_functions=(folder / "functions").is_dir(),
        )


def read_sources(folder: Path, faults: Faults) -> Sources | None:
    """Reads a project's folder; None when it is no project. Faults and warnings for files that cannot be or are not read."""
    if not (folder / PROJECT_FILE).is_file():
        what = f"The folder {folder.name or folder} holds no {PROJECT_FILE}."
        mend = "Name a project's folder with --project, or write one with `accord init`."
        faults.add("project.no-project", Place(PROJECT_FILE), what, mend)
        return None
    _warn_unread(folder, faults)
    found = {name: tuple(_nodes(folder, name, faults)) for name in FOLDERS}
    return Sources(
        project=read_yaml(folder / PROJECT_FILE, faults, shown_as=PROJECT_FILE),
        systems=found["systems"],
        mappings=found["mappings"],
        flows=found["flows"],
        folder=folder,
        has_functions=(folder / "functions").is_dir(),
    )


def _nodes(folder: Path, name: str, faults: Faults) -> Iterator[Node]:
    paths = sorted(path for path in (folder / name).rglob("*") if path.is_file() and not _is_hidden(path, folder))
    if len(paths) > FILES_MAX:
        faults.add("project.too-many-files", Place(name), f"The folder holds more than {FILES_MAX} files.")
        return
    for path in paths:
        shown = path.relative_to(folder).as_posix()
        if path.suffix == ".yaml":
            node = read_yaml(path, faults, shown_as=shown)
            if node is not None and node.value is not None:
                yield node
            elif node is not None:
                faults.add(
                    "project.empty-file",
                    Place(shown, 1),
                    "The file is empty.",
                    "Fill it or delete it.",
                    severity="warning",
                )
        elif path.suffix in (".yml", ".YAML", ".YML"):
            mend = f"Rename it to {path.with_suffix('.yaml').name}."
            faults.add("project.unread-file", Place(shown), "Only *.yaml is read here.", mend, severity="warning")


def _warn_unread(folder: Path, faults: Faults) -> None:
    """Warns of folders and YAML files beside accord.yaml whose name is nearly one that is read."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in (*FOLDERS, *_OTHER_FOLDERS, PROJECT_FILE):
            continue
        if path.is_dir():
            near = difflib.get_close_matches(path.name.lower(), (*FOLDERS, "functions"), n=1, cutoff=0.75)
            if near:
                what, mend = f"The folder '{path.name}' is not read.", f"Did you mean '{near[0]}'?"
                faults.add("project.unread-file", Place(path.name), what, mend, severity="warning")
        elif path.suffix in (".yaml", ".yml"):
            what = f"'{path.name}' is not read: beside {PROJECT_FILE}, only {', '.join(FOLDERS)} hold declarations."
            faults.add("project.unread-file", Place(path.name), what, "Move it there.", severity="warning")


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
