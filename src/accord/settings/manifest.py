"""A manifest in a file of its own: ``settings: {manifest: manifests/inventory.yaml}``.

The file holds ``settings`` and ``entities`` like a system file. What the system file says itself comes on top of it, so one
manifest serves several systems of the same kind that differ in address and secrets.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from accord.errors import NOWHERE, Faults, Place
from accord.settings.decode import decode
from accord.settings.node import Node, read_yaml
from accord.settings.overlay import overlay
from accord.settings.system_file import SystemFile

KEY = "manifest"


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest may hold."""

    settings: Node = msgspec.field(default_factory=lambda: Node({}))
    entities: dict[str, Node] | None = None
    summary: str = ""
    place: Place = NOWHERE


def with_manifest(system: SystemFile, folder: Path, faults: Faults) -> SystemFile:
    """The system with its manifest under it; unchanged when it names none, or when the manifest cannot be read (a fault).

    ``folder`` is the project's; a manifest outside of it is refused. Call it only for connectors whose settings know the key.
    """
    given = system.settings.get(KEY)
    if given is None or not isinstance(given.value, str) or not given.value:
        return system
    path = (folder / given.value).resolve()
    if not path.is_relative_to(folder.resolve()):
        mend = "Give its path from the project's folder."
        faults.add("settings.unreadable", given.place, f"The manifest {given.value} lies outside of the project.", mend)
        return system
    manifest = decode(read_yaml(path, faults, shown_as=given.value), ManifestFile, faults, what="this manifest")
    if manifest is None:
        return system
    own = Node(
        {key: child for key, child in system.settings.items() if key != KEY},
        system.settings.place,
        system.settings.key_places,
    )
    return msgspec.structs.replace(
        system,
        settings=overlay(manifest.settings, own),
        entities={**(manifest.entities or {}), **(system.entities or {})} or None,
        summary=system.summary or manifest.summary,
    )
