"""The declarations of a project as files, kept so that a flow can be compiled again as it was.

Python functions and connectors are code of the project and of its packages; they are not kept. Of the functions' files only a digest
is, so that a flow that uses them is not run with other ones.
"""

from __future__ import annotations

import hashlib
import inspect
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from accord.errors import AccordError, Faults
from accord.flow.flow import Flow
from accord.mapping.functions import FunctionTable
from accord.project.load import assemble
from accord.project.project import Project
from accord.project.sources import FOLDERS, PROJECT_FILE, read_sources
from accord.settings.node import Node, parse_yaml

SIZE_BYTES_MAX = 16 * 1024 * 1024  # all files together; a larger project's old versions cannot be kept


class VersionGone(AccordError):
    """A flow cannot be had any more as it was."""

    code = "project.version-gone"
    flow: Flow | None = None  # as it was compiled, when that much could be had


class Snapshot(msgspec.Struct, frozen=True):
    """``files`` by path relative to the project's folder; ``functions``: digests of the files of its Python functions, by name."""

    files: Mapping[str, bytes]
    functions: Mapping[str, str] = {}

    @property
    def digests(self) -> dict[str, str]:
        """Of each file."""
        return {path: digest_of(content) for path, content in self.files.items()}


def digest_of(content: bytes) -> str:
    """32 hex digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def take_snapshot(folder: Path) -> Snapshot | None:
    """What is declared in a folder now; None when there is no project on disk, or it is too large to be kept."""
    if not (folder / PROJECT_FILE).is_file():
        return None
    files: dict[str, bytes] = {}
    size = 0
    for path in _declaring(folder):
        size += path.stat().st_size
        if size > SIZE_BYTES_MAX:
            return None
        files[path.relative_to(folder).as_posix()] = path.read_bytes()
    return Snapshot(files, _function_files(folder))


def compile_again(snapshot: Snapshot, flow: str, project: Project) -> Flow:
    """The flow as it was, on the connectors and functions of today's project. Raises VersionGone when it cannot be had, or when
    something it does cannot be done any more."""
    with tempfile.TemporaryDirectory(prefix="accord-version-") as name:
        folder = Path(name)
        for path, content in snapshot.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        faults = Faults()
        sources = read_sources(folder, faults)
        if sources is None:
            raise VersionGone("Its declarations were not kept.")
        mine = tuple(node for node in sources.flows if _name_of(node) == flow)
        found = assemble(
            msgspec.structs.replace(sources, flows=mine),
            project.environment.name,
            faults,
            resolve_secrets=False,
            connectors={system.connector: system.kind for system in project.systems.values()},
            functions=project.functions,
        )
    compiled = found.flows.get(flow) if found is not None else None
    if found is None or compiled is None:
        why = str(faults.errors[0]) if faults.errors else "the flow is not in them"
        raise VersionGone(f"Its declarations cannot be compiled any more: {why}")
    try:
        _check_functions(snapshot, compiled, mine, found, project)
        _check_targets(compiled, found, project)
    except VersionGone as gone:
        gone.flow = compiled
        raise
    return compiled


def _check_functions(snapshot: Snapshot, flow: Flow, nodes: tuple[Node, ...], old: Project, project: Project) -> None:
    today = _function_files(project.folder)
    changed = {name for name, digest in today.items() if snapshot.functions.get(name) != digest}
    builtin = FunctionTable.builtin()
    written = repr([node.plain() for node in nodes]) + repr([old.mapping_specs[name] for name in sorted(flow.mappings)])
    for function in project.functions:
        file = Path(inspect.unwrap(function.call).__code__.co_filename).name if function.name not in builtin else ""
        if file in changed and f"{function.name}(" in written:
            raise VersionGone(f"It calls {function.name}, and functions/{file} has changed since.")


def _function_files(folder: Path) -> dict[str, str]:
    return {path.name: digest_of(path.read_bytes()) for path in sorted((folder / "functions").glob("*.py"))}


def _check_targets(flow: Flow, old: Project, project: Project) -> None:
    for name in sorted(flow.systems):
        system = project.systems.get(name)
        if system is None:
            raise VersionGone(f"The project has no system '{name}' any more.")
        if system.connector != old.systems[name].connector:
            raise VersionGone(f"The system '{name}' has another connector now.")
    entities = project.entities
    for effect in flow.effects:
        short = effect.target.partition(".")[2]
        if effect.target not in entities and short not in project.systems[effect.system].operations():
            raise VersionGone(f"There is no '{effect.target}' any more.")


def _declaring(folder: Path) -> Iterator[Path]:
    yield folder / PROJECT_FILE
    for name in FOLDERS:
        for path in sorted((folder / name).rglob("*.yaml")):
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
                yield path
    node = parse_yaml((folder / PROJECT_FILE).read_text("utf-8"), PROJECT_FILE, Faults())
    tables = node.get("lookups") if node is not None and node.is_map else None
    for _, table in tables.items() if tables is not None and tables.is_map else ():
        csv = table.get("csv") if table.is_map else None
        path = folder / str(csv.value) if csv is not None else folder
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            yield path


def _name_of(node: Node) -> object:
    name = node.get("flow") if node.is_map else None
    return name.value if name is not None else None
