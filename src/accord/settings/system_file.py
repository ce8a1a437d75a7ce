"""``systems/<name>.yaml``: which connector speaks to a system, its settings and entities."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from accord.errors import NOWHERE, Faults, Place
from accord.settings.decode import decode
from accord.settings.node import Node
from accord.settings.overlay import overlay
from accord.settings.project_file import EnvironmentSpec, RateLimitSpec, SourceBounds

_NAME = r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"
_NAME_HINT = {"x-hint": "letters, digits, _ and -, beginning with a letter, at most 63"}


class SystemFile(msgspec.Struct, frozen=True, kw_only=True):
    """A system. ``settings`` and ``entities`` stay nodes: the connector says what may stand there."""

    system: Annotated[
        str,
        Meta(
            pattern=_NAME,
            extra_json_schema=_NAME_HINT,
            description="The system's name; its entities are <system>.<entity>.",
        ),
    ]
    connector: Annotated[
        str, Meta(min_length=1, description="The connector that speaks its protocol: http, shopify, sql …")
    ]
    settings: Annotated[Node, Meta(description="The connector's settings; secrets as ${secret:name}.")] = msgspec.field(
        default_factory=lambda: Node({})
    )
    entities: Annotated[
        dict[str, Node] | None,
        Meta(description="The kinds of record used, with key and fields."),
    ] = None
    rate_limit: Annotated[RateLimitSpec | None, Meta(description="Tighter bounds than the connector's own.")] = None
    intake: Annotated[SourceBounds, Meta(description="What is taken of its webhooks, if less than of others.")] = (
        SourceBounds()
    )
    summary: str = ""
    place: Place = NOWHERE


def read_system_file(node: Node | None, faults: Faults) -> SystemFile | None:
    """The file with names and shapes checked; settings and entities are read with the connector's own types later."""
    return decode(node, SystemFile, faults, what="this system file")


def in_environment(system: SystemFile, environment: EnvironmentSpec) -> SystemFile:
    """The system as the environment changes it (``environments.<name>.systems.<system>``)."""
    change = environment.systems.get(system.system)
    if change is None:
        return system
    return msgspec.structs.replace(
        system,
        connector=change.connector or system.connector,
        settings=change.settings if change.connector else overlay(system.settings, change.settings),
        rate_limit=change.rate_limit or system.rate_limit,
    )
