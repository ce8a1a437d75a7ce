"""Mail out over SMTP, with templates, attachments and a Message-ID that is the same on every attempt.

Receives: messages to send.  Hands on: outcomes.  Never: lets a value break out into a header.
"""

from accord.connectors.mail.kind import MailKind

CONNECTOR = MailKind()

__all__ = ["CONNECTOR"]
