"""The step kinds that are installed: built-in ones and a stranger's enter by the same entry points."""

from __future__ import annotations

import functools
from importlib.metadata import entry_points

from accord.errors import Fault, Faults, Place
from accord.flow.step import StepKind

GROUP = "accord.steps"


@functools.cache
def _installed() -> tuple[dict[str, StepKind], tuple[Fault, ...]]:
    kinds: dict[str, StepKind] = {}
    faults: list[Fault] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            kind = entry.load()
        except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything at import
            what = f"The step '{entry.name}' ({entry.value}) cannot be imported: {type(error).__name__}: {error}."
            faults.append(Fault("flow.broken-step", Place(), what, "Mend or uninstall the package it comes from."))
            continue
        if not isinstance(kind, StepKind) or kind.key != entry.name:
            what = f"The entry point '{entry.name}' ({entry.value}) names no StepKind with the key '{entry.name}'."
            faults.append(Fault("flow.broken-step", Place(), what, "Mend the package it comes from."))
            continue
        kinds[kind.key] = kind
    return kinds, tuple(faults)


def step_kinds(faults: Faults) -> dict[str, StepKind]:
    """Every installed step kind by its key; a fault for each that cannot be loaded."""
    kinds, found = _installed()
    for fault in found:
        faults.add(fault.code, fault.place, fault.what, fault.mend)
    return kinds
