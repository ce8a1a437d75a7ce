"""A project, checked and compiled."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.errors import Fault
from accord.flow.bulk.compile import BulkFlow
from accord.flow.flow import Flow
from accord.flow.parts import DeclaredSystem
from accord.mapping.functions import FunctionTable
from accord.mapping.lookup import Lookup
from accord.mapping.mapping import Mapping
from accord.mapping.spec import MappingSpec
from accord.record import Entity
from accord.sdk.connector import ConnectorKind
from accord.settings.alert_spec import AlertSpec, ChannelSpec
from accord.settings.environment import ChosenEnvironment


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine runs. ``environment``: the chosen one with its settings (``environment.spec``) and secrets.
    ``mapping_specs`` are the mappings as written (their tests among them). ``bulk_flows`` are among the ``flows`` too, as they run for
    one record. ``channels``: where notices go. ``warnings``: what the check noticed beside errors."""

    name: str
    folder: Path
    environment: ChosenEnvironment
    systems: dict[str, DeclaredSystem]
    mappings: dict[str, Mapping]
    mapping_specs: dict[str, MappingSpec]
    flows: dict[str, Flow]
    bulk_flows: dict[str, BulkFlow] = {}
    functions: FunctionTable
    lookups: dict[str, Lookup]
    summary: str = ""
    zone: str = "UTC"
    warnings: tuple[Fault, ...] = ()
    alerts: tuple[AlertSpec, ...] = ()
    channels: dict[str, ChannelSpec] = {}

    @property
    def entities(self) -> dict[str, Entity]:
        """Every entity by its full name."""
        return {entity.name: entity for system in self.systems.values() for entity in system.entities.values()}

    @classmethod
    def load(cls, folder: Path | str, environment: str = "") -> Project:
        """Loads a folder. Raises DeclarationError with every fault."""
        from accord.project.load import load_project

        return load_project(folder, environment)

    @classmethod
    def build(
        cls,
        project: Map[str, Any],
        *,
        systems: Sequence[Map[str, Any]] = (),
        mappings: Sequence[Map[str, Any]] = (),
        flows: Sequence[Map[str, Any]] = (),
        folder: Path | str = ".",
        environment: str = "",
        variables: Map[str, str] | None = None,
        connectors: Map[str, ConnectorKind] | None = None,
    ) -> Project:
        """The same from Python data of the shape the files have. ``connectors`` go before installed ones. Raises DeclarationError."""
        from accord.errors import DeclarationError, Faults
        from accord.project.load import assemble
        from accord.project.sources import Sources

        faults = Faults()
        sources = Sources.of(project, systems, mappings, flows, Path(folder))
        built = assemble(sources, environment, faults, variables=variables, connectors=connectors)
        faults.raise_if_any()
        if built is None:
            raise DeclarationError(faults.found)
        return built
