"""Carries a notice to a channel: one try, which succeeds or says why not. Addresses and what a server says never get into the reason."""

from __future__ import annotations

import hashlib
import hmac
from email.message import EmailMessage
from email.utils import format_datetime

import msgspec

from accord.engine.alerts.state import Line, Notice
from accord.engine.http import PooledHttpClient
from accord.errors import AccordError
from accord.sdk.http import HttpFailed, HttpRequest
from accord.settings.alert_spec import ChannelSpec

TRY_S = 10.0  # for a whole try; a server that takes longer is tried again later
SUBJECT_LENGTH_MAX = 150
SIGNATURE_HEADER = "x-accord-signature"


class NoticeFailed(AccordError):
    """A notice did not reach its channel this time."""

    code = "engine.notice-failed"


async def carry(channel: ChannelSpec, notice: Notice) -> None:
    """Raises NoticeFailed."""
    if channel.mail:
        await _mail(channel, notice)
    elif channel.slack is not None:
        body = msgspec.json.encode({"text": f"*{_subject(notice)}*\n{_text(notice)}"})
        await _post(channel.slack.reveal(), body, {})
    else:
        body = msgspec.json.encode(notice)
        headers = {"x-accord-notice": notice.id}
        if channel.secret is not None:
            headers[SIGNATURE_HEADER] = signature(channel.secret.reveal(), body)
        await _post(channel.webhook, body, headers)


def signature(secret: str, body: bytes) -> str:
    """Of a notice's body, as the receiver computes it too: HMAC-SHA256 in hex."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


async def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    client = PooledHttpClient(connections_max=1, timeout_s=TRY_S)
    try:
        headers = {"content-type": "application/json", **headers}
        answer = await client.send(HttpRequest(method="POST", url=url, headers=headers, body=body, timeout_s=TRY_S))
    except HttpFailed as error:
        raise NoticeFailed(f"The receiver did not answer ({error.kind}).") from error
    finally:
        await client.close()
    if not 200 <= answer.status < 300:
        raise NoticeFailed(f"The receiver answered {answer.status}.")


async def _mail(channel: ChannelSpec, notice: Notice) -> None:
    import aiosmtplib  # here, since few engines have such a channel

    message = EmailMessage()
    message["From"] = channel.from_
    message["To"] = ", ".join(channel.mail)
    message["Subject"] = _subject(notice)
    message["Date"] = format_datetime(notice.at)
    message["Message-ID"] = f"<{notice.id}@{channel.from_.rpartition('@')[2].rstrip('>') or 'accord.invalid'}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(_text(notice))
    try:
        await aiosmtplib.send(
            message,
            hostname=channel.host,
            port=channel.port,
            username=channel.user or None,
            password=channel.password.reveal() if channel.password is not None else None,
            use_tls=channel.tls == "tls",
            start_tls=channel.tls == "starttls",
            cert_bundle=channel.ca_file or None,
            timeout=TRY_S,
        )
    except aiosmtplib.SMTPResponseException as error:
        raise NoticeFailed(f"The mail server answered {error.code}.") from error
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise NoticeFailed(f"The mail server did not take it ({type(error).__name__}).") from error


def _subject(notice: Notice) -> str:
    firing = [line.alert for line in notice.alerts if line.state == "firing"]
    over = [line.alert for line in notice.alerts if line.state == "resolved"]
    words = [
        f"{', '.join(dict.fromkeys(names))} {state}"
        for names, state in ((firing, "firing"), (over, "resolved"))
        if names
    ]
    return f"[{notice.project}] {'; '.join(words) or 'test notice'}"[:SUBJECT_LENGTH_MAX]


def _text(notice: Notice) -> str:
    return "\n".join(_said(line) for line in notice.alerts) or "A test: notices of alerts arrive here."


def _said(line: Line) -> str:
    return f"{line.state.upper()} {line.severity} {line.alert}: {line.text} (since {line.since:%Y-%m-%d %H:%M} UTC)"
