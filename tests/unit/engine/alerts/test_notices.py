"""What channels are told: once, together, again after a while, and of the end; over real HTTP and SMTP."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import pytest

from accord.engine.alerts.channels import SIGNATURE_HEADER, NoticeFailed, signature
from accord.engine.alerts.watch import AlertError
from accord.settings.alert_spec import AlertSpec, ChannelSpec
from accord.settings.secret import Secret
from unit.engine.alerts.desk import Desk
from unit.engine.alerts.receivers import HttpReceiver, http_receiver, mail_receiver


def dead(*channels: str, name: str = "dead") -> AlertSpec:
    return AlertSpec(
        alert=name, when="dead_letters", flow="orders", notify=list(channels), repeat_every=dt.timedelta(hours=4)
    )


def sick(*channels: str) -> AlertSpec:
    return AlertSpec(alert="sick", when="breaker_open", notify=list(channels), severity="critical")


def hook(receiver: HttpReceiver) -> dict[str, ChannelSpec]:
    return {"ops": ChannelSpec(webhook=receiver.address, secret=Secret("signing-key"))}


def states(receiver: HttpReceiver) -> list[list[tuple[str, str]]]:
    notices = [json.loads(body) for _, body in receiver.taken]
    return [[(line["alert"], line["state"]) for line in notice["alerts"]] for notice in notices]


def test_together_once_again_later_and_over():
    async def story(receiver: HttpReceiver) -> None:
        desk = Desk([dead("ops"), sick("ops")], hook(receiver))
        desk.figures.dead, desk.figures.is_well = 1, False
        await desk.look()
        assert states(receiver) == [[("dead", "firing"), ("sick", "firing")]]
        headers, body = receiver.taken[0]
        assert headers[SIGNATURE_HEADER] == signature("signing-key", body)
        assert headers["x-accord-notice"] == json.loads(body)["id"]
        await desk.look(hours=3)
        assert len(receiver.taken) == 1
        await desk.look(hours=1)
        assert len(receiver.taken) == 2
        desk.figures.dead = 0
        await desk.look(minutes=1)
        assert states(receiver)[2:] == [[("dead", "resolved")]]

    with http_receiver() as receiver:
        asyncio.run(story(receiver))


def test_a_restart_forgets_and_repeats_nothing():
    async def story(receiver: HttpReceiver) -> None:
        desk = Desk([dead("ops")], hook(receiver))
        desk.figures.dead = 1
        await desk.look()
        desk.restart()
        await desk.look(minutes=1)
        assert states(receiver) == [[("dead", "firing")]]
        desk.restart()
        desk.figures.dead = 0
        await desk.look(minutes=1)
        assert states(receiver) == [[("dead", "firing")], [("dead", "resolved")]]

    with http_receiver() as receiver:
        asyncio.run(story(receiver))


def test_what_was_not_taken_is_sent_again_with_its_id():
    async def story(receiver: HttpReceiver) -> None:
        desk = Desk([dead("ops")], hook(receiver))
        receiver.status = 500
        desk.figures.dead = 1
        await desk.look()
        assert "alert.notice-not-sent channel=ops" in desk.log.getvalue()
        assert receiver.address not in desk.log.getvalue()
        await desk.look(seconds=5)
        assert len(receiver.taken) == 1, "it is too early to try again"
        desk.restart()
        receiver.status = 204
        await desk.look(seconds=10)
        await desk.look(hours=1)
        assert [headers["x-accord-notice"] for headers, _ in receiver.taken] == [
            json.loads(receiver.taken[0][1])["id"]
        ] * 2

    with http_receiver() as receiver:
        asyncio.run(story(receiver))


def test_what_nobody_takes_is_dropped_after_a_day_and_said_so():
    async def story(receiver: HttpReceiver) -> None:
        desk = Desk([dead("ops")], hook(receiver))
        receiver.status = 500
        desk.figures.dead = 1
        await desk.look()
        desk.figures.dead = 0
        await desk.look(hours=1)
        await desk.look(hours=24)
        assert desk.log.getvalue().count("alert.notice-dropped") == 1

    with http_receiver() as receiver:
        asyncio.run(story(receiver))


def test_a_silenced_alert_is_told_when_its_silence_is_over():
    async def story(receiver: HttpReceiver) -> None:
        desk = Desk([dead("ops")], hook(receiver))
        with pytest.raises(AlertError, match="Did you mean"):
            await desk.alerts.silence("daed", 60)
        await desk.alerts.silence("*", 3600, "moving house")
        desk.figures.dead = 1
        assert await desk.look() == []
        (view,) = await desk.alerts.view()
        assert (view.silenced_reason, len(view.active)) == ("moving house", 1)
        assert receiver.taken == []
        assert await desk.look(minutes=61) == ["orders"]
        assert states(receiver) == [[("dead", "firing")]]
        await desk.alerts.silence("dead", 3600)
        await desk.alerts.silence("dead", 0)
        assert await desk.alerts.silences() == []

    with http_receiver() as receiver:
        asyncio.run(story(receiver))


def test_mail_and_slack():
    async def story(receiver: HttpReceiver, port: int) -> None:
        mail = ChannelSpec(
            mail=["ops@example.com", "it@example.com"],
            host="127.0.0.1",
            port=port,
            tls="none",
            from_="accord@example.com",
        )
        desk = Desk([dead("mail", "chat")], {"mail": mail, "chat": ChannelSpec(slack=Secret(receiver.address))})
        desk.figures.dead = 2
        await desk.look()
        await desk.alerts.test("mail")

    with http_receiver() as receiver, mail_receiver() as mails:
        asyncio.run(story(receiver, mails.port))
    first, test = mails.mails
    assert first["Subject"] == "[shop] dead firing"
    assert first["To"] == "ops@example.com, it@example.com"
    assert "FIRING warning dead: 2 dead letters in flow orders" in first.get_content()
    assert test["Subject"] == "[shop] test notice"
    told = json.loads(receiver.taken[0][1])
    assert told.keys() == {"text"}
    assert "2 dead letters in flow orders" in told["text"]


def test_a_server_that_is_not_there_is_said_without_its_address():
    async def story() -> None:
        mail = ChannelSpec(mail=["a@b.example"], host="127.0.0.1", port=1, tls="none", from_="x@y.example")
        slack = ChannelSpec(slack=Secret("http://127.0.0.1:1/secret-path"))
        desk = Desk([dead("mail", "chat")], {"mail": mail, "chat": slack})
        for name in ("mail", "chat"):
            with pytest.raises(NoticeFailed) as failed:
                await desk.alerts.test(name)
            assert "secret-path" not in str(failed.value)
            assert "127.0.0.1" not in str(failed.value)

    asyncio.run(story())
