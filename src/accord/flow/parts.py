"""What a flow is compiled against: the project's systems, entities, mappings, functions and look-up tables."""

from __future__ import annotations

import msgspec

from accord.errors import NOWHERE, Place
from accord.mapping.functions import FunctionTable
from accord.mapping.lookup import Lookup
from accord.mapping.mapping import Mapping
from accord.mapping.spec import MappingSpec
from accord.record import Entity
from accord.sdk.connector import Capabilities, ConnectorKind, Operation, RateLimit
from accord.settings.project_file import SourceBounds


class DeclaredSystem(msgspec.Struct, frozen=True, kw_only=True):
    """A system file, read and checked. ``settings`` is an instance of the kind's ``settings`` Struct; ``entities`` by short
    name, the connector's own merged with the file's. ``summary`` is the file's."""

    name: str
    connector: str
    kind: ConnectorKind
    settings: msgspec.Struct
    entities: dict[str, Entity]
    rate_limit: RateLimit = RateLimit()
    intake: SourceBounds = SourceBounds()
    summary: str = ""
    place: Place = NOWHERE

    def capabilities(self, entity: Entity) -> Capabilities:
        return self.kind.capabilities(self.settings, entity)

    def operations(self) -> dict[str, Operation]:
        return dict(self.kind.operations(self.settings))

    def topics(self) -> dict[str, str]:
        """Webhook topics with the short name of their entity."""
        return dict(self.kind.topics(self.settings))


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """``entities`` by full name (``shop.orders``); ``mappings`` compiled, by name, with their ``mapping_specs``.

    ``broken`` are names of systems, entities and mappings whose own file has faults: using them is no further fault.
    """

    systems: dict[str, DeclaredSystem]
    entities: dict[str, Entity]
    mappings: dict[str, Mapping]
    mapping_specs: dict[str, MappingSpec]
    functions: FunctionTable
    lookups: dict[str, Lookup]
    broken: frozenset[str] = frozenset()

    @property
    def system_names(self) -> list[str]:
        """Every system there is, those with faults among them."""
        return [*self.systems, *(n for n in self.broken if "." not in n and n not in self.mapping_specs)]
