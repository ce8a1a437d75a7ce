"""Whether alerts and channels name what there is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from accord.errors import Faults, Place, did_you_mean
from accord.flow.flow import Flow
from accord.flow.parts import DeclaredSystem
from accord.settings.alert_spec import AlertSpec, ChannelSpec

_OF_MAIL = ("host", "port_number", "tls", "user", "password", "from_", "ca_file")  # of the mail connector's settings


def check_alerts(
    alerts: Collection[AlertSpec],
    flows: Mapping[str, Flow],
    systems: Collection[str],
    channels: Collection[str],
    faults: Faults,
    *,
    written_flows: Collection[str] = (),
) -> None:
    """``written_flows``: all that are written; of those not compiled, what is wrong is told already."""
    places: dict[str, Place] = {}
    for spec in alerts:
        if spec.alert in places:
            what = f"An alert '{spec.alert}' is declared already in {places[spec.alert]}."
            faults.add("project.duplicate-name", spec.place, what, "Give one of them another name.")
        places.setdefault(spec.alert, spec.place)
        _check_name("flow", spec.flow, [*flows, *written_flows], spec, faults)
        _check_name("system", spec.system, systems, spec, faults)
        for channel in spec.notify:
            _check_name("channel", channel, channels, spec, faults)
        targets = {effect.target for flow in flows.values() for effect in flow.effects}
        if spec.reaches and spec.reaches not in targets and flows.keys() >= set(written_flows):
            what = f"No flow writes to '{spec.reaches}', so alert '{spec.alert}' would always fire."
            faults.add("project.alert-target", spec.place, what, did_you_mean(spec.reaches, targets))


def complete_channels(
    channels: Mapping[str, ChannelSpec], systems: Mapping[str, DeclaredSystem], folder: Path, faults: Faults
) -> dict[str, ChannelSpec]:
    """Those of a mail system with its server, sender and credentials; files as they lie on this machine."""
    found: dict[str, ChannelSpec] = {}
    for name, channel in channels.items():
        found[name] = channel
        if channel.system:
            system = systems.get(channel.system)
            if system is None or not _is_mail(system):
                what = (
                    f"Channel '{name}' sends mail through '{channel.system}', which is no system of the connector mail."
                )
                near = did_you_mean(channel.system, [one for one in systems if _is_mail(systems[one])])
                faults.add("project.channel-system", channel.place, what, near or "Declare it in systems/.")
                continue
            taken: dict[str, Any] = {field: getattr(system.settings, field) for field in _OF_MAIL}
            port = taken.pop("port_number")
            found[name] = channel = structs.replace(channel, system="", **taken, port=port)
        if channel.ca_file:
            found[name] = structs.replace(channel, ca_file=str(folder / channel.ca_file))
    return found


def _is_mail(system: DeclaredSystem) -> bool:
    return system.connector == "mail"


def _check_name(kind: str, name: str, known: Collection[str], spec: AlertSpec, faults: Faults) -> None:
    if name and name not in known:
        what = f"Alert '{spec.alert}' names the {kind} '{name}', which there is not."
        faults.add("project.alert-name", spec.place, what, did_you_mean(name, known))
