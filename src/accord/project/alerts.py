"""Whether alerts name what there is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from accord.errors import Faults, Place, did_you_mean
from accord.flow.flow import Flow
from accord.settings.alert_spec import AlertSpec


def check_alerts(
    alerts: Collection[AlertSpec],
    flows: Mapping[str, Flow],
    systems: Collection[str],
    channels: Collection[str],
    faults: Faults,
    *,
    broken_flows: Collection[str] = (),
) -> None:
    """``broken_flows``: declared and not compiled; what is wrong with them is told already."""
    places: dict[str, Place] = {}
    for spec in alerts:
        if spec.alert in places:
            what = f"An alert '{spec.alert}' is declared already in {places[spec.alert]}."
            faults.add("project.duplicate-name", spec.place, what, "Give one of them another name.")
        places.setdefault(spec.alert, spec.place)
        _check_name("flow", spec.flow, [*flows, *broken_flows], spec, faults)
        _check_name("system", spec.system, systems, spec, faults)
        for channel in spec.notify:
            _check_name("channel", channel, channels, spec, faults)
        targets = {effect.target for flow in flows.values() for effect in flow.effects}
        if spec.reaches and spec.reaches not in targets and not broken_flows:
            what = f"No flow writes to '{spec.reaches}', so alert '{spec.alert}' would always fire."
            faults.add("project.alert-target", spec.place, what, did_you_mean(spec.reaches, targets))


def _check_name(kind: str, name: str, known: Collection[str], spec: AlertSpec, faults: Faults) -> None:
    if name and name not in known:
        what = f"Alert '{spec.alert}' names the {kind} '{name}', which there is not."
        faults.add("project.alert-name", spec.place, what, did_you_mean(name, known))
