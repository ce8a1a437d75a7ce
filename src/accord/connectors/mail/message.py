"""A message from the arguments of a step: RFC 5322 through the standard library. Pure but for attachments read by path.

Header injection: a line end or control character in an address, subject, name or header is refused before the message is built.
``to``, ``cc``, ``bcc`` take one address or a list of them; a text is one address, so a comma in a record's field cannot add
another recipient.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import email.errors
import email.policy
import email.utils
import re
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec

from accord.connectors.mail.spec import MailSettings
from accord.connectors.mail.templates import TemplateFault, Templates
from accord.record import Reject

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,70}")
_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")
_OWN_HEADERS = {
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "sender",
    "mime-version",
    "return-path",
}
_SUBJECT_LENGTH_MAX = 900  # a header line has 998 characters (RFC 5322, 2.1.1)


class Bad(Exception):
    """An argument that makes no message; ``reject`` is the outcome."""

    def __init__(self, reason: str, path: str, code: str = "connector.mail-message") -> None:
        self.reject = Reject(reason, path, code)
        super().__init__(reason)


class Envelope(msgspec.Struct, frozen=True):
    """``paths``: for each recipient, the argument it came from. ``needs_utf8``: an address has a part outside ASCII."""

    sender: str
    recipients: tuple[str, ...]
    paths: tuple[str, ...]
    message_id: str
    content: bytes
    needs_utf8: bool = False


class Attachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = ""
    type: str = "application/octet-stream"
    content: str | None = None  # base64
    path: str | None = None  # in the project's folder


def message_id(effect_id: str, settings: MailSettings) -> str:
    domain = settings.message_id_domain or _address(settings.from_, "from").domain or "localhost"
    return f"<{effect_id}@{_ascii_domain(domain)}>"


def build(
    arguments: Mapping[str, Any],
    effect_id: str,
    settings: MailSettings,
    templates: Templates,
    folder: Path,
    now: dt.datetime,
) -> Envelope:
    """The message as bytes with CRLF, and who gets it. Raises Bad."""
    mail = EmailMessage(policy=email.policy.SMTP)
    sender = _address(settings.from_, "from")
    mail["From"] = sender
    recipients: dict[str, str] = {}
    needs_utf8 = not sender.addr_spec.isascii()
    for kind in ("to", "cc", "bcc"):
        found = addresses(arguments.get(kind), kind)
        for index, address in enumerate(found):
            recipients.setdefault(address.addr_spec, f"{kind}[{index}]" if len(found) > 1 else kind)
            needs_utf8 = needs_utf8 or not address.addr_spec.isascii()
        if found and kind != "bcc":
            mail[kind.capitalize()] = found
    if not recipients:
        raise Bad("the message has no recipient", "to")
    if len(recipients) > settings.recipients_max:
        raise Bad(f"the message has more than {settings.recipients_max} recipients (`recipients_max`)", "to")
    reply_to = addresses(arguments.get("reply_to"), "reply_to")
    if reply_to:
        mail["Reply-To"] = reply_to
    parts = _parts(arguments, templates)
    mail["Subject"] = _line(parts.get("subject", ""), "subject")
    mail["Date"] = email.utils.format_datetime(now)
    identity = message_id(effect_id, settings)
    mail["Message-ID"] = identity
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notices in return
    _add_headers(mail, arguments.get("headers"))
    _add_bodies(mail, parts)
    _add_attachments(mail, arguments.get("attachments"), folder, settings.message_size_max)
    policy = email.policy.SMTPUTF8 if needs_utf8 else email.policy.SMTP.clone(cte_type="7bit")
    try:
        content = mail.as_bytes(policy=policy)
    except (email.errors.MessageError, UnicodeError, ValueError) as error:
        raise Bad(f"the message cannot be written ({type(error).__name__})", "") from None
    if len(content) > settings.message_size_max:
        raise Bad(f"the message is larger than {settings.message_size_max} bytes (`message_size_max`)", "attachments")
    everyone = tuple(recipients)
    return Envelope(sender.addr_spec, everyone, tuple(recipients.values()), identity, content, needs_utf8)


def addresses(value: Any, path: str) -> list[Address]:
    """One address as text, or a list of them. Raises Bad."""
    if value is None or value == "" or value == []:
        return []
    if isinstance(value, str):
        return [_address(value, path)]
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return [_address(each, f"{path}[{index}]") for index, each in enumerate(value)]
    raise Bad("must be an address or a list of addresses", path)


def _address(text: str, path: str) -> Address:
    """``ada@example.org`` or ``Ada Lovelace <ada@example.org>``. Raises Bad."""
    if _CONTROL.search(text) or len(text) > 600:
        raise Bad("the address has a line end or control character, or is too long", path)
    name, spec = "", text.strip()
    if spec.endswith(">") and "<" in spec:
        name, _, spec = spec[:-1].rpartition("<")
        name = name.strip().strip('"')
    local, at, domain = spec.rpartition("@")
    if not at or not local or not domain or re.search(r'[\s<>()\[\],;:\\"]', spec) or len(local) > 64:
        raise Bad("this is no mail address", path)
    try:
        return Address(display_name=name, username=local, domain=_ascii_domain(domain))
    except (ValueError, UnicodeError, email.errors.MessageError, IndexError):
        raise Bad("this is no mail address", path) from None


def _ascii_domain(domain: str) -> str:
    """Names like münchen.example travel as xn--mnchen-3ya.example."""
    return domain if domain.isascii() else domain.encode("idna").decode()


def _line(text: Any, path: str) -> str:
    line: str = str(text).strip()
    if _CONTROL.search(line):
        raise Bad("the header has a line end or control character", path)
    if len(line) > _SUBJECT_LENGTH_MAX:
        raise Bad(f"the header is longer than {_SUBJECT_LENGTH_MAX} characters", path)
    return line


def _parts(arguments: Mapping[str, Any], templates: Templates) -> dict[str, str]:
    """Subject, text and HTML: from the template, what the step gives itself taking precedence."""
    parts: dict[str, str] = {}
    if arguments.get("template"):
        data = arguments.get("data")
        try:
            parts = templates.render(str(arguments["template"]), {} if data is None else data)
        except TemplateFault as fault:
            raise Bad(str(fault), "template", "connector.mail-template") from None
    for name in ("subject", "text", "html"):
        if arguments.get(name) is not None:
            parts[name] = str(arguments[name])
    if "text" not in parts and "html" not in parts:
        raise Bad("the message has neither text nor html nor a template with one of them", "text")
    return parts


def _add_headers(mail: EmailMessage, headers: Any) -> None:
    if headers is None:
        return
    if not isinstance(headers, dict):
        raise Bad("must be an object of header names and texts", "headers")
    for name, value in headers.items():
        path = f"headers.{name}"
        if not _HEADER_NAME.fullmatch(str(name)) or name.lower() in _OWN_HEADERS or name.lower().startswith("content-"):
            raise Bad("this header cannot be set here", path)
        mail[name] = _line(value, path)


def _add_bodies(mail: EmailMessage, parts: Mapping[str, str]) -> None:
    if "text" in parts:
        mail.set_content(parts["text"])
        if "html" in parts:
            mail.add_alternative(parts["html"], subtype="html")
    else:
        mail.set_content(parts["html"], subtype="html")


def _add_attachments(mail: EmailMessage, attachments: Any, folder: Path, size_max: int) -> None:
    if attachments is None:
        return
    try:
        given = msgspec.convert(attachments, list[Attachment])
    except msgspec.ValidationError as error:
        raise Bad(f"must be a list of {{name, type, content or path}}: {error}", "attachments") from None
    total = 0
    for index, each in enumerate(given):
        path = f"attachments[{index}]"
        raw = _content(each, folder, size_max, path)
        total += len(raw)
        if total > size_max:
            raise Bad(f"the attachments are larger than {size_max} bytes", path)
        kind = each.type.lower()
        if not _TYPE.fullmatch(kind):
            raise Bad("this is no media type such as application/pdf", f"{path}.type")
        name = _line(each.name or Path(each.path or "attachment").name, f"{path}.name")
        main, _, sub = kind.partition("/")
        if main in ("multipart", "message"):
            main, sub = "application", "octet-stream"
        mail.add_attachment(raw, maintype=main, subtype=sub, filename=name)


def _content(attachment: Attachment, folder: Path, size_max: int, path: str) -> bytes:
    if (attachment.content is None) == (attachment.path is None):
        raise Bad("needs either `content` (base64) or `path`", path)
    if attachment.content is not None:
        try:
            return base64.b64decode(attachment.content, validate=True)
        except (binascii.Error, ValueError):
            raise Bad("is not base64", f"{path}.content") from None
    file = (folder / str(attachment.path)).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise Bad("leads out of the project's folder", f"{path}.path")
    try:
        if file.stat().st_size > size_max:
            raise Bad(f"the file is larger than {size_max} bytes", f"{path}.path")
        return file.read_bytes()
    except OSError as error:
        raise Bad(f"the file cannot be read ({error.strerror})", f"{path}.path") from None
