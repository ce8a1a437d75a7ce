"""System files: the connector's kind, its settings, and its entities merged with the file's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from accord.errors import Faults, Place, did_you_mean
from accord.flow.parts import DeclaredSystem
from accord.project.connectors import Connectors
from accord.record import Entity
from accord.sdk.connector import ConnectorKind, RateLimit
from accord.settings.decode import decode
from accord.settings.entities import read_entity
from accord.settings.manifest import with_manifest
from accord.settings.node import Node
from accord.settings.project_file import EnvironmentSpec, RateLimitSpec
from accord.settings.references import Resolver
from accord.settings.system_file import SystemFile, in_environment, read_system_file

T = TypeVar("T")


class Systems:
    """``declared`` compiled ones; ``broken`` names of systems and entities whose files have faults; ``nodes`` of entities."""

    def __init__(self) -> None:
        self.declared: dict[str, DeclaredSystem] = {}
        self.broken: set[str] = set()
        self.entity_nodes: dict[str, Node] = {}

    @property
    def entities(self) -> dict[str, Entity]:
        return {e.name: e for system in self.declared.values() for e in system.entities.values()}


def read_systems(
    nodes: tuple[Node, ...],
    spec: EnvironmentSpec,
    resolver: Resolver,
    connectors: Connectors,
    faults: Faults,
    *,
    folder: Path | None = None,
) -> Systems:
    """Declares every system; a system with faults is left out and named in ``broken``. ``folder``: where manifests of their
    own are found."""
    systems = Systems()
    places: dict[str, Place] = {}
    for node in nodes:
        file = read_system_file(node, faults)
        if file is None:
            _note_broken(node, systems)
            continue
        if file.system in places:
            what = f"A system '{file.system}' is declared already in {places[file.system]}."
            faults.add("project.duplicate-name", node.place_of("system"), what, "Give one of them another name.")
            continue
        places[file.system] = node.place_of("system")
        before = len(faults.errors)
        file = _with_manifest(file, connectors, folder, faults)
        system = _declare(in_environment(file, spec), node, resolver, connectors, systems, faults)
        if system is None or len(faults.errors) > before:
            systems.broken.add(file.system)
            systems.broken |= {f"{file.system}.{name}" for name in file.entities or ()}
        if system is not None and file.system not in systems.broken:
            systems.declared[file.system] = system
    for name in spec.systems:
        if name not in places and name not in systems.broken:
            what = f"The environment changes a system '{name}', and there is none."
            faults.add("project.unknown-system", spec.systems[name].place, what, did_you_mean(name, places))
    return systems


def _with_manifest(file: SystemFile, connectors: Connectors, folder: Path | None, faults: Faults) -> SystemFile:
    """The system with the manifest its settings name, for connectors whose settings know that key."""
    if folder is None or file.settings.get("manifest") is None:
        return file
    kind = connectors.find(file.connector, file.place, Faults())
    takes_one = kind is not None and "manifest" in kind.settings.__struct_fields__
    return with_manifest(file, folder, faults) if takes_one else file


def _note_broken(node: Node, systems: Systems) -> None:
    name = node.get("system")
    if name is not None and isinstance(name.value, str):
        systems.broken.add(name.value)


def _declare(
    file: SystemFile, node: Node, resolver: Resolver, connectors: Connectors, systems: Systems, faults: Faults
) -> DeclaredSystem | None:
    kind = connectors.find(file.connector, node.place_of("connector"), faults)
    if kind is None:
        return None
    settings_node = resolver.resolve(file.settings, faults)
    if not settings_node.place.file:
        settings_node = Node(settings_node.value, node.place_of("settings"), settings_node.key_places)
    settings = decode(settings_node, kind.settings, faults, what=f"the settings of system '{file.system}'")
    guard = _Guard(file, node, faults)
    known = guard.ask("entities", lambda: dict(kind.entities(settings))) if settings is not None else None
    entities = _entities(file, kind, known, systems, faults)
    if settings is None or known is None:
        return None
    guard.ask("check", lambda: kind.check(settings, entities, settings_node, faults))
    limit = guard.ask("rate_limit", lambda: kind.rate_limit(settings))
    guard.ask("operations", lambda: kind.operations(settings))
    guard.ask("topics", lambda: kind.topics(settings))
    for entity in entities.values():
        guard.ask("capabilities", lambda entity=entity: kind.capabilities(settings, entity))  # type: ignore[misc]
    return DeclaredSystem(
        name=file.system,
        connector=file.connector,
        kind=kind,
        settings=settings,
        entities=entities,
        rate_limit=_rate_limit(limit or RateLimit(), file.rate_limit),
        intake=file.intake,
        summary=file.summary,
        place=node.place_of("system"),
    )


class _Guard:
    """Asks a connector; what it raises by mistake is a fault of the connector, told with the system's place."""

    def __init__(self, file: SystemFile, node: Node, faults: Faults) -> None:
        self._file = file
        self._place = node.place_of("connector")
        self._faults = faults

    def ask(self, what: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - a stranger's connector may raise anything
            self._faults.add(
                "project.broken-connector",
                self._place,
                f"The connector '{self._file.connector}' failed at '{what}' for system '{self._file.system}': "
                f"{type(error).__name__}: {error}.",
                "This is a defect of the connector; its settings may show which part it could not take.",
            )
            return None


def _entities(
    file: SystemFile, kind: ConnectorKind, known: dict[str, Entity] | None, systems: Systems, faults: Faults
) -> dict[str, Entity]:
    """The connector's own entities under full names, with the file's laid over them."""
    entities = {
        short: msgspec.structs.replace(entity, name=f"{file.system}.{short}") for short, entity in (known or {}).items()
    }
    for short, node in (file.entities or {}).items():
        systems.entity_nodes[f"{file.system}.{short}"] = node
        if known is None and node.get("fields") is None:
            continue  # it may only narrow what the connector knows; its settings must be mended first
        base = entities.pop(short, None)
        entity = read_entity(file.system, short, node, kind.entity_settings, faults, base=base)
        if entity is not None:
            entities[short] = entity
    return entities


def _rate_limit(own: RateLimit, declared: RateLimitSpec | None) -> RateLimit:
    if declared is None:
        return own
    return RateLimit(
        requests=declared.requests if declared.requests is not None else own.requests,
        per_s=declared.per.total_seconds() if declared.requests is not None else own.per_s,
        concurrent=declared.concurrent or own.concurrent,
        adaptive=own.adaptive if declared.adaptive is None else declared.adaptive,
    )
