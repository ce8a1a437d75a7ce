"""Mail stand-in: an SMTP server that keeps what it gets, with an inbox page and a JSON view.

Receives: SMTP.  Hands on: an inbox.  Never: sends anything on.
"""

from accord.sandbox.mail.system import Mail

SYSTEM = Mail
