"""Connector kinds by name: built-in ones and a stranger's enter by the same entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import cast

from accord.errors import Faults, Place, did_you_mean
from accord.sdk.connector import ConnectorKind

GROUP = "accord.connectors"


class Connectors:
    """Finds kinds; each is imported when first asked for. ``given`` go before installed ones (projects built in Python, tests)."""

    def __init__(self, given: Mapping[str, ConnectorKind] | None = None) -> None:
        self._kinds: dict[str, ConnectorKind] = dict(given or {})
        self._entries = {entry.name: entry for entry in entry_points(group=GROUP)}
        self._broken: dict[str, str] = {}

    def find(self, name: str, place: Place, faults: Faults) -> ConnectorKind | None:
        """The kind, or None and a fault at ``place``: unknown, or its package cannot be imported."""
        if name in self._kinds:
            return self._kinds[name]
        entry = self._entries.get(name)
        if entry is None:
            known = did_you_mean(name, {*self._kinds, *self._entries})
            faults.add("project.unknown-connector", place, f"There is no connector '{name}'.", known)
            return None
        if name not in self._broken:
            try:
                kind = entry.load()
            except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything at import
                self._broken[name] = f"cannot be imported: {type(error).__name__}: {error}"
            else:
                if hasattr(kind, "settings") and hasattr(kind, "connect") and hasattr(kind, "capabilities"):
                    self._kinds[name] = cast(ConnectorKind, kind)
                    return self._kinds[name]
                self._broken[name] = f"names no connector kind but {type(kind).__name__}"
        what = f"The connector '{name}' ({entry.value}) {self._broken[name]}."
        mend = "Install what it needs (pip install 'accord-integration[…]'), or mend the package it comes from."
        faults.add("project.broken-connector", place, what, mend)
        return None
