"""Where traces and figures go."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from accord.errors import NOWHERE, Place
from accord.settings.secret import Secret


class TelemetrySpec(msgspec.Struct, frozen=True, kw_only=True):
    """Traces and metrics by OpenTelemetry, sent by OTLP over HTTP. Needs accord-integration[telemetry]."""

    otlp: Annotated[
        str,
        Meta(description="The collector's address, like http://127.0.0.1:4318; /v1/traces and /v1/metrics are added."),
    ]
    sample: Annotated[
        float,
        Meta(ge=0, le=1, description="The share of traces that are kept. 0.1 shows what is usual and costs little."),
    ] = 0.1
    metrics_every: Annotated[
        dt.timedelta, Meta(description="How often this engine's figures are sent; traces go as they come.")
    ] = dt.timedelta(minutes=1)
    headers: Annotated[
        dict[str, Secret], Meta(description="Sent with each batch, for a collector that asks who sends.")
    ] = {}
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        if not self.otlp.startswith(("https://", "http://")):
            raise ValueError("`otlp` must begin with https:// or http://")
        if self.metrics_every < dt.timedelta(seconds=1):
            raise ValueError("`metrics_every` is at least 1s")
