"""From a folder to a checked, compiled Project: every fault of every file at once."""

from __future__ import annotations

import os
from collections.abc import Mapping as Map
from collections.abc import Sequence
from pathlib import Path

from accord.errors import DeclarationError, Faults, Place, did_you_mean
from accord.flow.bulk.compile import BulkFlow, compile_bulk
from accord.flow.bulk.read import is_bulk, read_bulk_flow
from accord.flow.commands import ErrorPolicy
from accord.flow.compile import compile_flow
from accord.flow.flow import Flow
from accord.flow.parts import Parts
from accord.flow.policy import read_policy
from accord.flow.read import FlowSpec, read_flow
from accord.flow.trigger import FilesTrigger, PollTrigger
from accord.mapping.contract import compile_contract
from accord.mapping.functions import FunctionTable, load_functions
from accord.mapping.lookup import Lookup, read_lookups
from accord.mapping.mapping import Mapping, compile_mapping
from accord.mapping.spec import MappingSpec, read_mapping
from accord.project.alerts import check_alerts, complete_channels
from accord.project.columns import warn_row_only
from accord.project.connectors import Connectors
from accord.project.project import Project
from accord.project.references import check_references
from accord.project.sources import Sources, read_sources
from accord.project.spark import check_spark
from accord.project.systems import Systems, read_systems
from accord.sdk.connector import ConnectorKind
from accord.settings.environment import choose_environment
from accord.settings.lookup_files import read_lookup_files
from accord.settings.node import Node
from accord.settings.project_file import ProjectFile, StoreSpec, read_project_file

REPLICAS_SAFE = 3  # a majority of them is there without any one


def load_project(
    folder: Path | str,
    environment: str = "",
    resolve_secrets: bool = True,
    *,
    variables: Map[str, str] | None = None,
    connectors: Map[str, ConnectorKind] | None = None,
) -> Project:
    """The project of a folder. Raises DeclarationError with every fault. ``resolve_secrets`` False: missing secrets are no fault."""
    project, faults = check_project(folder, environment, resolve_secrets, variables=variables, connectors=connectors)
    faults.raise_if_any()
    if project is None:
        raise DeclarationError(faults.found)
    return project


def check_project(
    folder: Path | str,
    environment: str = "",
    resolve_secrets: bool = True,
    *,
    variables: Map[str, str] | None = None,
    connectors: Map[str, ConnectorKind] | None = None,
) -> tuple[Project | None, Faults]:
    """The project and everything found, warnings too; the project is None when there are errors. Raises nothing for what files hold.

    ``variables``: the process's environment unless given. ``connectors``: kinds beside the installed ones.
    """
    faults = Faults()
    sources = read_sources(Path(folder), faults)
    if sources is None:
        return None, faults
    project = assemble(
        sources, environment, faults, resolve_secrets=resolve_secrets, variables=variables, connectors=connectors
    )
    return (None if faults.errors else project), faults


def assemble(
    sources: Sources,
    environment: str,
    faults: Faults,
    *,
    resolve_secrets: bool = True,
    variables: Map[str, str] | None = None,
    connectors: Map[str, ConnectorKind] | None = None,
    functions: FunctionTable | None = None,
) -> Project | None:
    """Compiles what the sources declare; None when accord.yaml itself cannot be used. Faults are added, nothing is raised.
    ``functions``: instead of the sources' own.

    The other files are checked even then, against default settings.
    """
    written = read_project_file(sources.project, faults)
    file = written or ProjectFile(name="unnamed")
    known = os.environ if variables is None else variables
    asked = choose_environment(file, environment, sources.folder, known, faults, needs_secrets=resolve_secrets)
    chosen = asked or choose_environment(
        ProjectFile(name=file.name), "default", sources.folder, known, faults, needs_secrets=resolve_secrets
    )
    if chosen is None:
        return None
    kinds = Connectors(connectors)
    systems = read_systems(sources.systems, chosen.spec, chosen.resolver, kinds, faults, folder=sources.folder)
    functions = functions or _functions(sources, faults)
    tables = (sources.project and sources.project.get("lookups")) or file.lookups
    lookups = read_lookups(read_lookup_files(tables, sources.folder, faults), faults)
    for entity in systems.entities.values():
        compile_contract(entity, functions, faults)
    check_references(systems, faults)
    specs, mappings = _mappings(sources, systems, functions, lookups, faults)
    parts = Parts(
        systems=systems.declared,
        entities=systems.entities,
        mappings=mappings,
        mapping_specs=specs,
        functions=functions,
        lookups=lookups,
        broken=frozenset(systems.broken | (set(specs) - set(mappings))),
    )
    flows, bulk_flows = _flows(sources, file, parts, faults)
    _check_readers(flows, systems, faults)
    _warn_unused(sources, systems, mappings, specs, flows, faults)
    warn_row_only(bulk_flows, mappings, specs, faults)
    check_spark(bulk_flows, mappings, systems.declared, faults)
    _warn_few_replicas(chosen.spec.store, faults)
    check_alerts(
        file.alerts, flows, systems.declared, chosen.spec.channels, faults, written_flows=_names(sources.flows)
    )
    channels = complete_channels(chosen.spec.channels, systems.declared, sources.folder, faults)
    warnings = tuple(fault for fault in faults.found if fault.severity != "error")
    if written is None or asked is None:
        return None
    return Project(
        name=file.name,
        summary=file.summary,
        zone=file.zone,
        folder=sources.folder,
        environment=chosen,
        systems=systems.declared,
        mappings=mappings,
        mapping_specs=specs,
        flows=flows,
        bulk_flows=bulk_flows,
        functions=functions,
        lookups=lookups,
        warnings=warnings,
        alerts=tuple(file.alerts),
        channels=channels,
    )


def _names(flows: Sequence[Node]) -> list[str]:
    """Of flows as they are written, also of those that cannot be compiled."""
    found = (node.get("flow") for node in flows)
    return [node.value for node in found if node is not None and isinstance(node.value, str)]


def _functions(sources: Sources, faults: Faults) -> FunctionTable:
    table = FunctionTable.builtin()
    if sources.has_functions:
        load_functions(sources.folder / "functions", table, faults)
    return table


def _mappings(
    sources: Sources, systems: Systems, functions: FunctionTable, lookups: dict[str, Lookup], faults: Faults
) -> tuple[dict[str, MappingSpec], dict[str, Mapping]]:
    specs: dict[str, MappingSpec] = {}
    compiled: dict[str, Mapping] = {}
    places: dict[str, Place] = {}
    for node in sources.mappings:
        spec = read_mapping(node, faults)
        if spec is None or _is_duplicate("mapping", spec.name, node, places, faults):
            continue
        specs[spec.name] = spec
        if any(
            name in systems.broken or name.partition(".")[0] in systems.broken for name in (spec.source, spec.target)
        ):
            continue  # its entity must be mended first
        before = len(faults.errors)
        mapping = compile_mapping(spec, systems.entities, functions, lookups, faults)
        if mapping is not None and len(faults.errors) == before:
            compiled[spec.name] = mapping
    return specs, compiled


def _flows(
    sources: Sources, file: ProjectFile, parts: Parts, faults: Faults
) -> tuple[dict[str, Flow], dict[str, BulkFlow]]:
    """All flows, and those of them that are bulk flows."""
    policy = ErrorPolicy()
    if file.defaults.on_error is not None:
        policy = read_policy(file.defaults.on_error, policy, faults, is_flow=True)
    flows: dict[str, Flow] = {}
    bulk_flows: dict[str, BulkFlow] = {}
    places: dict[str, Place] = {}
    for node in sources.flows:
        before = len(faults.errors)
        if is_bulk(node):
            bulk_spec = read_bulk_flow(node, faults, policy=policy, zone=file.zone)
            if bulk_spec is None or _is_duplicate("flow", bulk_spec.name, node, places, faults):
                continue
            bulk_flow = compile_bulk(bulk_spec, parts, faults)
            if bulk_flow is not None and len(faults.errors) == before:
                bulk_flows[bulk_spec.name] = bulk_flow
                flows[bulk_spec.name] = bulk_flow.flow
            continue
        spec: FlowSpec | None = read_flow(node, faults, policy=policy, zone=file.zone)
        if spec is None or _is_duplicate("flow", spec.name, node, places, faults):
            continue
        flow = compile_flow(spec, parts, faults)
        if flow is not None and len(faults.errors) == before:
            flows[spec.name] = flow
    return flows, bulk_flows


def _check_readers(flows: dict[str, Flow], systems: Systems, faults: Faults) -> None:
    """Each `poll` has a reader of its own; where reading takes the records away, the others would miss them."""
    readers: dict[str, list[tuple[str, PollTrigger | FilesTrigger]]] = {}
    for flow in flows.values():
        for trigger in flow.triggers:
            if isinstance(trigger, PollTrigger | FilesTrigger):
                readers.setdefault(trigger.entity, []).append((flow.name, trigger))
    for entity, found in readers.items():
        system = systems.declared[entity.partition(".")[0]]
        if len(found) < 2 or not system.capabilities(systems.entities[entity]).read_takes_away:
            continue
        for name, trigger in found:
            if isinstance(trigger, PollTrigger):
                others = ", ".join(other for other, _ in found if other != name) or name
                what = f"'{entity}' is read by {others} too, and what one poll has read is moved away from the others."
                faults.add("project.shared-poll", trigger.place, what, f"Write {{files: {entity}}}: read once for all.")


def _is_duplicate(what: str, name: str, node: Node, places: dict[str, Place], faults: Faults) -> bool:
    if name not in places:
        places[name] = node.place_of(what)
        return False
    sentence = f"A {what} '{name}' is declared already in {places[name]}."
    faults.add("project.duplicate-name", node.place_of(what), sentence, "Give one of them another name.")
    return True


def _warn_few_replicas(store: StoreSpec, faults: Faults) -> None:
    if store.kind == "jetstream" and store.replicas < REPLICAS_SAFE:
        servers = f"{store.replicas} server{'s' if store.replicas > 1 else ''}"
        what = f"The journal's log is kept on {servers}: the loss of one stops or loses it."
        mend = f"Run {REPLICAS_SAFE} NATS servers and set `replicas: {REPLICAS_SAFE}`."
        faults.add("project.few-replicas", store.place, what, mend, severity="warning")


def _warn_unused(
    sources: Sources,
    systems: Systems,
    mappings: dict[str, Mapping],
    specs: dict[str, MappingSpec],
    flows: dict[str, Flow],
    faults: Faults,
) -> None:
    """Warns of systems and mappings no flow uses; only when every flow compiled, else a broken one may be what uses them."""
    if len(flows) < len(sources.flows) or not flows:
        return
    used_systems = {name for flow in flows.values() for name in flow.systems}
    used_mappings = {name for flow in flows.values() for name in flow.mappings}
    for name, system in systems.declared.items():
        if name not in used_systems:
            what = f"No flow uses the system '{name}'."
            faults.add("project.unused", system.place, what, "Use it, or delete its file.", severity="warning")
    for name in mappings:
        if name not in used_mappings:
            what = f"No flow uses the mapping '{name}'."
            mend = did_you_mean(name, used_mappings - set(mappings)) or "Use it, or delete its file."
            faults.add("project.unused", specs[name].place, what, mend, severity="warning")
