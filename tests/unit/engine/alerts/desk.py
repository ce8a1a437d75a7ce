"""Alerts over figures that a test sets, a real journal, and a clock moved by hand."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

from accord.engine.alerts.watch import Alerts
from accord.engine.control import Control
from accord.flow.effects import EffectInfo
from accord.flow.flow import Flow
from accord.journal.group import Journal
from accord.journal.operations import Accept, CrossReference, SaveReferences, Settle, State, StepResult
from accord.journal.stores.memory import MemoryStore
from accord.observe import Metrics, Observer
from accord.observe.metrics import MetricsView
from accord.record import Message
from accord.settings.alert_spec import AlertSpec, ChannelSpec

BEGIN = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)  # a Monday


class HandClock:
    def __init__(self) -> None:
        self.at = BEGIN

    def monotonic(self) -> float:
        return self.at.timestamp()

    def now(self) -> dt.datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the test looks by itself")

    def pass_(self, **time: float) -> None:
        self.at += dt.timedelta(**time)


class OneFlow:
    """What alerts ask of a flow."""

    name = "orders"
    source = "shop.orders"
    effects = (
        EffectInfo(path="stock", step="call", system="erp", target="erp.decrease", mode="call", guarantee="x"),
        EffectInfo(path="book", step="write", system="books", target="books.invoices", mode="insert", guarantee="x"),
    )


class ErpFlow(OneFlow):
    """Takes paid orders to the ERP; another books what it finds there."""

    name = "paid"
    source = "shop.orders"
    effects = (EffectInfo(path="0", step="write", system="erp", target="erp.orders", mode="insert", guarantee="x"),)


class BookingFlow(OneFlow):
    name = "booking"
    source = "erp.orders"
    effects = (
        EffectInfo(path="0", step="write", system="ledger", target="ledger.invoices", mode="insert", guarantee="x"),
    )


class Figures:
    """The control's, as the test says."""

    def __init__(self) -> None:
        self.counted = Metrics()
        self.dead = 0
        self.is_well = True
        self.oldest: dict[str, float] = {}
        self.differences: list[str] = []

    async def status(self) -> dict[str, Any]:
        return {
            "flows": [{"name": "orders", "dead": self.dead}, {"name": "other", "dead": 0}],
            "systems": [{"name": "erp", "is_well": self.is_well, "held": 3}],
            "bulk": [{"flow": "nightly", "run": {"quality": self.differences}}, {"flow": "new", "run": None}],
        }

    async def metrics(self) -> MetricsView:
        return self.counted.view()

    async def ages(self) -> dict[str, float]:
        return self.oldest


class Desk:
    """Use inside a running loop; ``restart`` is another engine on the same journal."""

    def __init__(self, specs: Sequence[AlertSpec], channels: Mapping[str, ChannelSpec] | None = None) -> None:
        self.specs = specs
        self.channels = channels or {}
        self.clock = HandClock()
        self.figures = Figures()
        self.journal = Journal(MemoryStore())
        self.journal.open()
        self.restart()

    def restart(self) -> None:
        self.log = io.StringIO()
        self.alerts = Alerts(
            self.specs,
            self.channels,
            project="shop",
            zone="Europe/Berlin",
            flows={
                "orders": cast(Flow, OneFlow()),
                "other": cast(Flow, OneFlow()),
                "paid": cast(Flow, ErpFlow()),
                "booking": cast(Flow, BookingFlow()),
            },
            entities={},
            control=cast(Control, self.figures),
            journal=self.journal,
            clock=self.clock,
            observer=Observer(stream=self.log),
        )

    async def look(self, **time: float) -> list[str]:
        """After so much time. The subjects of what fires."""
        self.clock.pass_(**time)
        await self.alerts.look()
        return [one.subject for one in await self.alerts.firing()]

    async def refer(self, *references: tuple[str, str, str, str]) -> None:
        """What writes of other messages left."""
        await self.journal.submit(SaveReferences(tuple(CrossReference(*one) for one in references)))

    async def accept(self, id: str, body: bytes = b"{}", flow: str = "orders") -> int:
        message = Message(id=id, flow=flow, key=id, source="shop.orders", body=body, time=self.clock.now())
        self.figures.counted.flow(flow).accepted += 1
        accepted = await self.journal.submit(Accept((message,)))
        return int(accepted.messages[0].seq)

    async def settle(self, seq: int, state: State, *paths: str, reason: str = "") -> None:
        results = tuple(StepResult(path, b'{"type":"done"}') for path in paths)
        assert await self.journal.submit(
            Settle(seq=seq, state=state, results=results, due=self.clock.now(), reason=reason)
        )
