"""Choosing an environment: which providers of secrets it has, and what its settings are with references resolved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from accord.errors import Faults
from accord.settings.decode import decode
from accord.settings.node import Node
from accord.settings.project_file import (
    DEFAULT_ENVIRONMENT,
    EnvironmentSpec,
    ProjectFile,
    SecretSource,
    environment_node,
)
from accord.settings.references import Environment, Resolver
from accord.settings.secrets import (
    KeyFile,
    KeyringSecrets,
    MountedSecrets,
    ProviderChain,
    SealedFile,
    SecretProvider,
    VariableSecrets,
    load_keys,
)
from accord.settings.secrets.keys import default_key_path

ENVIRONMENT_VARIABLE = "ACCORD_ENV"


class ChosenEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """``spec``: the settings, resolved. ``resolver``: for the settings of system files. ``environment.secrets``: the providers."""

    name: str
    spec: EnvironmentSpec
    environment: Environment
    resolver: Resolver


def choose_environment(
    file: ProjectFile,
    name: str,
    folder: Path,
    variables: Mapping[str, str],
    faults: Faults,
    *,
    needs_secrets: bool = True,
) -> ChosenEnvironment | None:
    """The environment ``name`` ('' takes ACCORD_ENV, else ``default``); None with every fault recorded."""
    name = name or variables.get(ENVIRONMENT_VARIABLE, "") or DEFAULT_ENVIRONMENT
    node = environment_node(file, name, faults)
    if node is None:
        return None
    chain = ProviderChain(_providers(file, node, folder, variables, faults))
    environment = Environment(variables, chain, needs_secrets=needs_secrets)
    resolver = Resolver(environment)
    spec = decode(_resolve(node, resolver, faults), EnvironmentSpec, faults, what=f"environment '{name}'")
    if spec is None:
        return None
    return ChosenEnvironment(name=name, spec=spec, environment=environment, resolver=resolver)


def sealed_file(
    project: str, source: SecretSource, folder: Path, variables: Mapping[str, str]
) -> tuple[SealedFile, KeyFile]:
    """The encrypted file a source names, and its key file (which need not exist when ACCORD_KEY is set)."""
    path = Path(source.key_file).expanduser() if source.key_file else default_key_path(project, variables)
    key_file = KeyFile(folder / path)
    return SealedFile(folder / source.file, lambda: load_keys(variables, key_file)), key_file


def _resolve(node: Node, resolver: Resolver, faults: Faults) -> Node:
    """Everything but the settings of systems: those are resolved as part of the system they are laid over."""
    if not isinstance(node.value, dict):
        return resolver.resolve(node, faults)
    kept = node.value.get("systems")
    rest = Node({k: v for k, v in node.value.items() if k != "systems"}, node.place, node.key_places)
    resolved = resolver.resolve(rest, faults)
    values = dict(resolved.items()) | ({"systems": kept} if kept else {})
    return Node(values, node.place, node.key_places)


def _providers(
    file: ProjectFile, node: Node, folder: Path, variables: Mapping[str, str], faults: Faults
) -> list[SecretProvider]:
    """The declared providers. Their own settings may use ``${env:…}`` but no secrets: nothing could supply those yet."""
    declared = node.get("secrets")
    sources: list[str | SecretSource] = list(EnvironmentSpec().secrets)
    if declared is not None:
        resolved = Resolver(Environment(variables, ProviderChain(()))).resolve(declared, faults)
        read = decode(resolved, list[str | SecretSource], Faults())
        sources = read if read is not None else []  # what is wrong with them is told when the whole is decoded
    providers: list[SecretProvider] = []
    for source in sources:
        if source == "environment":
            providers.append(VariableSecrets(variables))
        elif source == "keyring":
            providers.append(KeyringSecrets(file.name))
        elif isinstance(source, SecretSource) and source.files:
            providers.append(MountedSecrets(folder / Path(source.files).expanduser()))
        elif isinstance(source, SecretSource):
            sealed, key_file = sealed_file(file.name, source, folder, variables)
            if source.key_file and key_file.path.resolve().is_relative_to(folder.resolve()):
                what = f"The key file {source.key_file} lies inside the project, where git would take it along."
                faults.add("settings.key-in-project", source.place, what, "Keep it elsewhere, like ~/.config/accord.")
            providers.append(sealed)
    return providers
