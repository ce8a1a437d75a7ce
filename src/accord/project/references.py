"""Fields that hold another entity's key: the entity they name must exist."""

from __future__ import annotations

from collections.abc import Iterator

from accord.errors import Faults, did_you_mean
from accord.project.systems import Systems
from accord.record import Field
from accord.record.types import List, Object


def check_references(systems: Systems, faults: Faults) -> None:
    """A fault for every ``references`` that names no entity, at the line of the field."""
    entities = systems.entities
    for entity in entities.values():
        node = systems.entity_nodes.get(entity.name)
        fields_node = node.get("fields") if node is not None else None
        for name, field in entity.fields.items():
            for path, target in _references(name, field):
                if target in entities or target in systems.broken or target.partition(".")[0] in systems.broken:
                    continue
                place = fields_node.place_of(name) if fields_node is not None else entity.place
                what = f"The field '{path}' of '{entity.name}' references '{target}', and there is no such entity."
                faults.add("project.unknown-reference", place, what, did_you_mean(target, entities))


def _references(path: str, field: Field) -> Iterator[tuple[str, str]]:
    if field.references:
        yield path, field.references
    type_ = field.type.item if isinstance(field.type, List) else field.type
    if isinstance(type_, Object):
        for name, inner in type_.fields.items():
            yield from _references(f"{path}.{name}", inner)
