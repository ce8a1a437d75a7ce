"""Accord makes separate systems work as if they were one. These are its public names.

A name is imported from its room when it is first used, so that ``import accord`` costs nothing; what it is stands for type
checkers in ``__init__.pyi``. A name that is here is kept.
"""

from __future__ import annotations

import importlib
from typing import Any

_ROOMS = {
    "accord.engine.build": ("engine_of",),
    "accord.engine.engine": ("Engine", "EngineSettings"),
    "accord.errors": (
        "AccordError",
        "ConnectorError",
        "DeclarationError",
        "Fault",
        "JournalError",
        "Place",
        "Problem",
        "RecordError",
        "SettingsError",
    ),
    "accord.mapping.functions": ("Rejected", "function"),
    "accord.project": ("Project", "check_project", "load_project"),
    "accord.record": ("Done", "End", "Entity", "Field", "Message", "Partial", "Reconnect", "Reject", "Retry"),
    "accord.settings.secret": ("Secret",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "AccordError",
    "ConnectorError",
    "DeclarationError",
    "Done",
    "End",
    "Engine",
    "EngineSettings",
    "Entity",
    "Fault",
    "Field",
    "JournalError",
    "Message",
    "Partial",
    "Place",
    "Problem",
    "Project",
    "Reconnect",
    "RecordError",
    "Reject",
    "Rejected",
    "Retry",
    "Secret",
    "SettingsError",
    "check_project",
    "engine_of",
    "function",
    "load_project",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("accord-integration")
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'accord' has no attribute '{name}'")
    return getattr(importlib.import_module(_ROOM_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
